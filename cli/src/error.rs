//! The errors that have an exit status or advice of their own.

use fivefold_client::{CallError, Refusal, TransferError};
use fivefold_proto::status::Reason;
use tonic::Code;

/// An invalid value on the command line or in a spec file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The failed call behind `error`, if there is one.
pub(crate) fn call_error(error: &anyhow::Error) -> Option<&CallError> {
    error.downcast_ref().or_else(|| match error.downcast_ref()? {
        TransferError::Call(error) => Some(error),
        _ => None,
    })
}

/// What the user can do about `error`: the end of its message, or nothing.
pub(crate) fn advice(error: &anyhow::Error) -> &'static str {
    match call_error(error) {
        Some(CallError::Refused(refusal)) => refusal_advice(refusal),
        Some(CallError::Unreachable(_) | CallError::LeaseLost(_) | CallError::Cancelled) | None => "",
    }
}

fn refusal_advice(refusal: &Refusal) -> &'static str {
    match refusal.reason() {
        Some(Reason::NotFound) => "; `fivefold status` lists the job sets",
        Some(Reason::RoleNotEnough) => {
            "; name another token with --token-file, or ask for one (`fivefold-coordinator token create`)"
        }
        Some(Reason::RequestIdReused) => "; omit --request-id or choose another",
        Some(Reason::Exhausted) => "; free disk space on the coordinator's machine, then run the command again",
        Some(Reason::Internal) => "; see the coordinator's log",
        None if refusal.status().code() == Code::Unimplemented => "; is this a Fivefold coordinator of this version?",
        Some(_) | None => "",
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::status::status;
    use tonic::Status;

    use super::*;
    use crate::exit_status::ExitStatus;

    fn refused(status: Status) -> anyhow::Error {
        CallError::from(Refusal::new(status)).into()
    }

    #[test]
    fn refusals_have_advice_and_an_exit_status() {
        let unknown = refused(status(Reason::NotFound, "there is no job set js-abcdefgh"));
        assert_eq!(advice(&unknown), "; `fivefold status` lists the job sets");
        assert_eq!(ExitStatus::of(&unknown), ExitStatus::Usage);
        let upload = TransferError::from(CallError::from(Refusal::new(status(Reason::Exhausted, "the disk is full"))));
        let upload = anyhow::Error::from(upload).context("train.csv");
        assert!(advice(&upload).contains("free disk space"));
        assert_eq!(ExitStatus::of(&upload), ExitStatus::Failed);
        let foreign = refused(Status::internal("oh")).context("while waiting");
        assert_eq!((advice(&foreign), ExitStatus::of(&foreign)), ("", ExitStatus::Failed));
    }

    #[test]
    fn context_does_not_hide_the_exit_status() {
        let error = anyhow::Error::from(UsageError("tta: 0".into())).context("spec.toml");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
    }
}
