//! What the failure of a call means to the caller.

use std::fmt;
use std::time::Duration;

use fivefold_proto::status::{Reason, reason, reason_word};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::address::Address;
use crate::problem::{ConnectionProblem, words};

/// What a failed try of a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The coordinator could not be reached, or the connection broke.
    Away(ConnectionProblem),
    /// The coordinator serves as many such calls as it may, and says so in these words.
    Busy(String),
    /// The coordinator's disk is full.
    DiskFull(String),
    /// A fault inside the coordinator.
    Fault(String),
    /// The lease that the call names is no longer held.
    LeaseLost(String),
    /// The same call would be refused again.
    Refused,
}

impl Failure {
    /// The meaning of a status.
    pub fn of(status: &Status) -> Self {
        let message = || status.message().to_owned();
        match reason(status) {
            Some(Reason::StaleAttempt) => Self::LeaseLost(message()),
            Some(Reason::Busy) => Self::Busy(message()),
            Some(Reason::Exhausted) => Self::DiskFull(message()),
            Some(Reason::Internal) => Self::Fault(message()),
            Some(Reason::Unavailable) => Self::Away(ConnectionProblem::NotReady(message())),
            Some(
                Reason::BadField
                | Reason::BadContent
                | Reason::NotFound
                | Reason::TokenNeeded
                | Reason::RoleNotEnough
                | Reason::RequestIdReused
                | Reason::WrongState
                | Reason::WrongOffset
                | Reason::DigestMismatch,
            ) => Self::Refused,
            None => Self::of_foreign(status),
        }
    }

    /// The meaning of a status without a reason of ours: from the transport, a proxy, or another version.
    fn of_foreign(status: &Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Unknown | Code::Cancelled => {
                Self::Away(ConnectionProblem::of(status))
            }
            // A broken connection comes in several codes. Below it there is an error of the transport.
            Code::Internal if std::error::Error::source(status).is_some() => Self::Away(ConnectionProblem::of(status)),
            Code::Internal => Self::Fault(status.message().to_owned()),
            Code::ResourceExhausted => Self::DiskFull(status.message().to_owned()),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => Self::Refused,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(problem) => write!(f, "{problem}"),
            Self::Busy(message) | Self::DiskFull(message) | Self::Fault(message) | Self::LeaseLost(message) => {
                f.write_str(message)
            }
            Self::Refused => f.write_str("the call was refused"),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The lease belongs to another attempt, or the job has ended.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// The coordinator refused the call and would refuse it again.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The coordinator could not be reached in the time that the [`RetryPolicy`](crate::RetryPolicy) allows.
    #[error(transparent)]
    Unreachable(#[from] Box<Unreachable>),
    /// The caller cancelled it.
    #[error("cancelled")]
    Cancelled,
}

/// The coordinator's refusal of a call. Its text names the wrong fields, or gives the coordinator's message, and then the reason.
#[derive(Debug)]
pub struct Refusal(Box<Status>);

impl Refusal {
    /// The refusal in a status.
    pub fn new(status: Status) -> Self {
        Self(Box::new(status))
    }

    /// Its reason; `None` when it is not from Fivefold, or from a version with other reasons.
    pub fn reason(&self) -> Option<Reason> {
        reason(&self.0)
    }

    /// The status as it came.
    pub fn status(&self) -> &Status {
        &self.0
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.0;
        let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
        if violations.is_empty() {
            f.write_str(&words(status))?;
        }
        for (place, violation) in violations.iter().enumerate() {
            // A key of the spec is known to the user without the message that carries it.
            let field = violation.field.strip_prefix("spec.").unwrap_or(&violation.field);
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {}", violation.description)?;
        }
        match reason_word(status) {
            Some(reason) => write!(f, " ({reason})"),
            None => write!(f, " ({:?})", status.code()),
        }
    }
}

/// A coordinator that could not be reached in time, or that waiting does not help to reach.
#[derive(Debug)]
pub struct Unreachable {
    /// Its address.
    pub address: Address,
    /// How long was waited for it.
    pub patience: Duration,
    /// The last failure.
    pub failure: Failure,
}

impl std::error::Error for Unreachable {}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, patience, failure } = self;
        match failure {
            Failure::Away(problem) if problem.is_lasting() => {
                write!(f, "cannot connect to {address}: {problem}")?;
                problem.remedy().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
            }
            _ => write!(
                f,
                "no coordinator at {address} within {} s ({failure}); check the address and that the coordinator is running",
                patience.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::convert::WireError;
    use fivefold_proto::status::status;

    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let of = |status: Status| Failure::of(&status);
        assert_eq!(
            of(status(Reason::StaleAttempt, "attempt 1 is over")),
            Failure::LeaseLost("attempt 1 is over".into())
        );
        assert_eq!(of(status(Reason::Busy, "64 uploads")), Failure::Busy("64 uploads".into()));
        let stopping = ConnectionProblem::NotReady("stopping".into());
        assert_eq!(of(status(Reason::Unavailable, "stopping")), Failure::Away(stopping));
        assert_eq!(of(status(Reason::WrongState, "it has ended")), Failure::Refused);
        assert_eq!(of(Status::deadline_exceeded("")), Failure::Away(ConnectionProblem::NoAnswer));
        assert_eq!(of(Status::internal("cannot decode")), Failure::Fault("cannot decode".into()));
        assert_eq!(of(Status::unimplemented("")), Failure::Refused);
    }

    #[test]
    fn refusals_name_the_fields_and_the_reason() {
        let bad = Refusal::new(WireError::new("spec.tta", "0 is out of its limits").into());
        assert_eq!(bad.to_string(), "tta: 0 is out of its limits (BAD_FIELD)");
        let unknown = Refusal::new(status(Reason::NotFound, "there is no job set js-abcdefgh"));
        assert_eq!(unknown.to_string(), "there is no job set js-abcdefgh (NOT_FOUND)");
        assert_eq!(unknown.reason(), Some(Reason::NotFound));
        assert_eq!(Refusal::new(Status::internal("oh")).to_string(), "oh (Internal)");
    }
}
