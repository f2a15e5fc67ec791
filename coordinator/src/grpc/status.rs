//! The one mapping of errors to gRPC statuses.

use fivefold_proto::convert::WireError;
use fivefold_proto::status::{Reason, status};
use tonic::Status;

use crate::error::Error;

fn reason(error: &Error) -> Reason {
    match error {
        Error::StaleAttempt(_) => Reason::StaleAttempt,
        Error::NotFound { .. } => Reason::NotFound,
        Error::RoleNotEnough(_) => Reason::RoleNotEnough,
        Error::RequestIdReused(_) => Reason::RequestIdReused,
        Error::WrongState(_) => Reason::WrongState,
        Error::BadContent(_) => Reason::BadContent,
        Error::BadField { .. } => Reason::BadField,
        Error::WrongOffset { .. } => Reason::WrongOffset,
        Error::DigestMismatch { .. } => Reason::DigestMismatch,
        Error::Exhausted(_) => Reason::Exhausted,
        Error::Busy(_) => Reason::Busy,
        Error::TokenRevoked => Reason::TokenNeeded,
        Error::Unavailable(_) => Reason::Unavailable,
        Error::Database(_) | Error::File { .. } | Error::Stored(_) | Error::EndedEarly(_) => Reason::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let reason = reason(&error);
        if reason == Reason::Internal {
            tracing::error!("a call failed: {error}");
        }
        match error {
            Error::BadField { field, problem } => WireError { field, problem }.into(),
            error => status(reason, error.to_string()),
        }
    }
}

impl From<WireError> for Error {
    fn from(WireError { field, problem }: WireError) -> Error {
        Error::BadField { field, problem }
    }
}
