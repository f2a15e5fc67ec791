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

/// Fields of requests, and the flags that give them; no flag where the problem names what it is about.
const FIELDS: [(&str, &str); 10] = [
    ("manifests.train_digest", "--train-csv"),
    ("manifests.hpa_digest", "--hpa-csv"),
    ("manifests.test_digest", "--test-csv"),
    ("manifests.weights_digest", "--weights"),
    ("manifests.folds_digest", "--folds-csv"),
    ("manifests.warm_start_job_set_id", "--warm-start"),
    ("test_digest", "--test-csv"),
    ("request_id", "--request-id"),
    ("text", ""),
    ("fold", ""),
];

/// The message of `error`, in the words of the command line.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let Some(CallError::Refused(refusal)) = call_error(error) else { return text };
    if refusal.reason() != Some(Reason::BadField) {
        return text;
    }
    let refusal = refusal.to_string();
    let problem_of = |field: &str| refusal.strip_prefix(field)?.strip_prefix(": ");
    let Some((flag, problem)) = FIELDS.iter().find_map(|(field, flag)| Some((flag, problem_of(field)?))) else {
        return text;
    };
    let separator = if flag.is_empty() { "" } else { ": " };
    text.replace(&refusal, &format!("{flag}{separator}{problem}"))
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
    use fivefold_proto::convert::WireError;
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
        let reused = refused(status(Reason::RequestIdReused, "the request id was used for another request"));
        assert_eq!(ExitStatus::of(&reused), ExitStatus::Usage);
        let list = refused(status(Reason::BadContent, "train.csv, line 2: no label"));
        assert_eq!(ExitStatus::of(&list), ExitStatus::Failed);
        let foreign = refused(Status::internal("oh")).context("while waiting");
        assert_eq!((advice(&foreign), ExitStatus::of(&foreign)), ("", ExitStatus::Failed));
    }

    #[test]
    fn fields_of_requests_are_named_by_their_flags() {
        for (field, expected) in [
            ("manifests.warm_start_job_set_id", "--warm-start: js-a has no models (BAD_FIELD)"),
            ("text", "js-a has no models (BAD_FIELD)"),
            ("spec.tta", "tta: js-a has no models (BAD_FIELD)"),
        ] {
            let error = refused(WireError::new(field, "js-a has no models").into());
            assert_eq!(message(&error), expected);
            assert_eq!(message(&error.context("while waiting")), format!("while waiting: {expected}"));
        }
        assert_eq!(
            message(&refused(status(Reason::WrongState, "text: it has ended"))),
            "text: it has ended (WRONG_STATE)"
        );
    }

    #[test]
    fn context_does_not_hide_the_exit_status() {
        let error = anyhow::Error::from(UsageError("tta: 0".into())).context("spec.toml");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
    }
}
