//! Why the coordinator could not do what it was asked.

use fivefold_common::ids::{Digest, LeaseRef};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write names a lease that is no longer the job's current one.
    #[error("attempt {} of job {} no longer holds its lease: stop it", .0.attempt, .0.job)]
    StaleAttempt(LeaseRef),
    #[error("there is no {what} {name}")]
    NotFound { what: &'static str, name: String },
    /// The caller's role does not allow the call.
    #[error("{0}")]
    RoleNotEnough(String),
    #[error("the request id {0:?} was used for another request: choose a new one")]
    RequestIdReused(String),
    /// The state of the job set, job or worker does not allow the call.
    #[error("{0}")]
    WrongState(String),
    /// An uploaded file cannot be used.
    #[error("{0}")]
    BadContent(String),
    /// A field of the request cannot be used.
    #[error("{field}: {problem}")]
    BadField { field: String, problem: String },
    /// An upload does not start where the held bytes end.
    #[error("the upload of {digest} goes on at byte {held_bytes}")]
    WrongOffset { digest: Digest, held_bytes: u64 },
    /// Uploaded bytes do not have their announced digest; they are deleted.
    #[error("the uploaded bytes have the digest {found}, not {announced}: upload them again")]
    DigestMismatch { announced: Digest, found: Digest },
    /// The disk is full.
    #[error("{0}")]
    Exhausted(String),
    /// The limit of concurrent calls of this kind is reached.
    #[error("{0}")]
    Busy(String),
    /// The token of a stream was revoked after its start, or the stream began before tokens were required.
    #[error("the token is not good any more, or one is needed now")]
    TokenRevoked,
    /// The call may be repeated unchanged.
    #[error("{0}")]
    Unavailable(String),
    #[error("database: {0}")]
    Database(String),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File { what: String, source: std::io::Error },
    /// The coordinator cannot understand what it stored itself.
    #[error("stored data: {0}")]
    Stored(String),
    /// A task of the coordinator ended early, by a panic or at shutdown.
    #[error("{0} ended early")]
    EndedEarly(&'static str),
}

impl Error {
    /// The error of a file operation. A full disk is [`Error::Exhausted`].
    pub fn file(what: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let what = what.into();
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            return Self::Exhausted(format!("{what}: the coordinator's disk is full; free some space, then try again"));
        }
        Self::File { what, source }
    }

    pub fn bad_field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadField { field: field.into(), problem: problem.into() }
    }

    pub fn no_job_set(id: &fivefold_common::ids::JobSetId) -> Self {
        Self::NotFound { what: "job set", name: id.to_string() }
    }

    pub fn no_artifact(digest: Digest) -> Self {
        Self::NotFound { what: "artifact", name: digest.to_string() }
    }
}
