//! The reasons of errors over gRPC. Every error of Fivefold has an `ErrorInfo` (AIP-193) with the domain `fivefold` and
//! the word of a [`Reason`].

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::convert::WireError;

/// The domain of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "fivefold";

/// Why a call failed, as a word that programs may act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The lease that a write names is no longer the current one: stop the job.
    StaleAttempt,
    /// A field of the request has an invalid value.
    BadField,
    /// An uploaded list, table or file cannot be used.
    BadContent,
    /// There is no such job set, job, worker or artifact.
    NotFound,
    /// The call has no valid token.
    TokenNeeded,
    /// The token's role does not allow the call.
    RoleNotEnough,
    /// The request id was used for another request.
    RequestIdReused,
    /// The state does not allow the call.
    WrongState,
    /// An upload continues at another offset: ask again with GetUpload.
    WrongOffset,
    /// The bytes do not have the announced digest.
    DigestMismatch,
    /// The disk is full: try again when there is room.
    Exhausted,
    /// Too many such calls are in progress: try again soon.
    Busy,
    /// The coordinator is starting or stopping: try again.
    Unavailable,
    /// A fault in the coordinator; its log says more.
    Internal,
}

impl Reason {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        self.into()
    }

    fn code(self) -> Code {
        match self {
            Reason::StaleAttempt | Reason::WrongState => Code::FailedPrecondition,
            Reason::BadField | Reason::BadContent => Code::InvalidArgument,
            Reason::NotFound => Code::NotFound,
            Reason::TokenNeeded => Code::Unauthenticated,
            Reason::RoleNotEnough => Code::PermissionDenied,
            Reason::RequestIdReused => Code::AlreadyExists,
            Reason::WrongOffset => Code::OutOfRange,
            Reason::DigestMismatch => Code::DataLoss,
            Reason::Exhausted | Reason::Busy => Code::ResourceExhausted,
            Reason::Unavailable => Code::Unavailable,
            Reason::Internal => Code::Internal,
        }
    }
}

/// The status of an error with a reason. `Exhausted`, `Busy` and `Unavailable` also say when to try again.
pub fn status(reason: Reason, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.word(), ERROR_DOMAIN, HashMap::new());
    let retry_seconds = match reason {
        Reason::Exhausted => Some(5),
        Reason::Busy => Some(2),
        Reason::Unavailable => Some(1),
        _ => None,
    };
    if let Some(seconds) = retry_seconds {
        details.set_retry_info(Some(Duration::from_secs(seconds)));
    }
    Status::with_error_details(reason.code(), message, details)
}

/// The word of a status's reason; `None` if the error is not from Fivefold.
pub fn reason_word(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN).map(|info| info.reason)
}

/// The reason of a status; `None` if the error is not from Fivefold, or if this version does not know the reason.
pub fn reason(status: &Status) -> Option<Reason> {
    reason_word(status)?.parse().ok()
}

/// Whether `reason` is the reason of a status.
pub fn has_reason(status: &Status, reason: Reason) -> bool {
    self::reason(status) == Some(reason)
}

/// The shortest time to wait before the call is tried again, if the status has one.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// [`retry_delay`] of a call that was refused because of a limit; `None` for any other error.
pub fn busy_delay(status: &Status) -> Option<Duration> {
    if has_reason(status, Reason::Busy) { retry_delay(status) } else { None }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        let mut details = ErrorDetails::with_error_info(Reason::BadField.word(), ERROR_DOMAIN, HashMap::new());
        details.add_bad_request_violation(&error.field, &error.problem);
        Status::with_error_details(Reason::BadField.code(), error.to_string(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_the_wire() {
        let stale = status(Reason::StaleAttempt, "attempt 1 of job 3 is over");
        assert_eq!(stale.code(), Code::FailedPrecondition);
        assert!(has_reason(&stale, Reason::StaleAttempt));
        assert_eq!(retry_delay(&stale), None);
        assert_eq!(retry_delay(&status(Reason::Unavailable, "starting")), Some(Duration::from_secs(1)));
        let busy = status(Reason::Busy, "64 uploads are under way");
        assert_eq!((busy.code(), busy_delay(&busy)), (Code::ResourceExhausted, Some(Duration::from_secs(2))));
        assert_eq!(busy_delay(&stale), None);
        let bad = Status::from(WireError::new("spec.tta", "0 is out of its limits"));
        assert_eq!(bad.get_details_bad_request().unwrap().field_violations[0].field, "spec.tta");
    }
}
