//! Why a call failed, and the one mapping to gRPC statuses.

use fivefold_common::ids::{Attempt, Digest, JobId};
use fivefold_proto::convert::WireError;
use fivefold_proto::status::{Reason, status};
use tonic::Status;

/// Why the coordinator could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write that names an attempt which is no longer the current one.
    #[error("attempt {attempt} of job {job} no longer holds its lease: stop it")]
    StaleAttempt {
        /// The job.
        job: JobId,
        /// The attempt that the write named.
        attempt: Attempt,
    },
    /// A thing that is not there.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The caller's role may not do it.
    #[error("{0}")]
    RoleNotEnough(String),
    /// A request id that was used before, for something else.
    #[error("the request id {0:?} was used for another request: choose a new one")]
    RequestIdReused(String),
    /// The state does not allow it.
    #[error("{0}")]
    WrongState(String),
    /// An uploaded file that cannot be used.
    #[error("{0}")]
    BadContent(String),
    /// A field that cannot be what it is.
    #[error(transparent)]
    BadField(#[from] WireError),
    /// An upload that starts at another place than where the held bytes end.
    #[error("the upload of {digest} goes on at byte {held_bytes}")]
    WrongOffset {
        /// The artifact.
        digest: Digest,
        /// Bytes that are held.
        held_bytes: u64,
    },
    /// Bytes that are not what they were announced as; they were thrown away.
    #[error("the uploaded bytes have the digest {found}, not {announced}: upload them again")]
    DigestMismatch {
        /// The announced digest.
        announced: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The disk is full.
    #[error("{0}")]
    Exhausted(String),
    /// As many such calls are under way as are served at a time.
    #[error("{0}")]
    Busy(String),
    /// The token that began a stream was revoked meanwhile, or the stream began before tokens were asked for.
    #[error("the token is not good any more, or one is needed now")]
    TokenRevoked,
    /// Try again.
    #[error("{0}")]
    Unavailable(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// The file, and what was done with it.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the coordinator itself stored cannot be understood.
    #[error("stored data: {0}")]
    Stored(String),
}

impl Error {
    /// The error of a file operation; a full disk is told apart.
    pub fn file(what: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let what = what.into();
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            return Self::Exhausted(format!("{what}: the coordinator's disk is full; free some space, then try again"));
        }
        Self::File { what, source }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::StaleAttempt { .. } => Reason::StaleAttempt,
            Self::NotFound { .. } => Reason::NotFound,
            Self::RoleNotEnough(_) => Reason::RoleNotEnough,
            Self::RequestIdReused(_) => Reason::RequestIdReused,
            Self::WrongState(_) => Reason::WrongState,
            Self::BadContent(_) => Reason::BadContent,
            Self::BadField(_) => Reason::BadField,
            Self::WrongOffset { .. } => Reason::WrongOffset,
            Self::DigestMismatch { .. } => Reason::DigestMismatch,
            Self::Exhausted(_) => Reason::Exhausted,
            Self::Busy(_) => Reason::Busy,
            Self::TokenRevoked => Reason::TokenNeeded,
            Self::Unavailable(_) => Reason::Unavailable,
            Self::Database(error) if is_full(error) => Reason::Exhausted,
            Self::Database(_) | Self::File { .. } | Self::Stored(_) => Reason::Internal,
        }
    }
}

/// SQLITE_FULL: the disk has no room for the database.
pub fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "13")
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let reason = error.reason();
        if reason == Reason::Internal {
            tracing::error!("a call failed: {error}");
        }
        match error {
            Error::BadField(error) => error.into(),
            error => status(reason, error.to_string()),
        }
    }
}
