//! The errors that have an exit status of their own.

use std::fmt;

use fivefold_common::one_line::one_line;
use fivefold_proto::status::{Reason, has_reason, reason_word};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An invalid value on the command line or in a spec file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// No coordinator within `--wait-seconds`.
#[derive(Debug, thiserror::Error)]
#[error(
    "no coordinator at {url} within {wait_seconds} s ({problem}); check --coordinator and that the coordinator is running"
)]
pub(crate) struct Unreachable {
    pub(crate) url: String,
    pub(crate) wait_seconds: u64,
    pub(crate) problem: String,
}

/// A call that the coordinator refused.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Status);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    /// The invalid fields, or else the coordinator's message; then the reason, then advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused(status) = self;
        let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
        if violations.is_empty() {
            f.write_str(&one_line(&problem_of(status)))?;
        }
        for (index, violation) in violations.iter().enumerate() {
            // Users know a spec's keys without the name of the message around them.
            let field = violation.field.strip_prefix("spec.").unwrap_or(&violation.field);
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", one_line(field), one_line(&violation.description))?;
        }
        match reason_word(status) {
            Some(reason) => write!(f, " ({})", one_line(&reason))?,
            None => write!(f, " ({:?})", status.code())?,
        }
        f.write_str(advice(status))
    }
}

fn advice(status: &Status) -> &'static str {
    if has_reason(status, Reason::NotFound) {
        "; `fivefold status` lists the job sets"
    } else if has_reason(status, Reason::RequestIdReused) {
        "; omit --request-id or choose another"
    } else if has_reason(status, Reason::Exhausted) {
        "; free disk space on the coordinator's machine, then run the command again"
    } else if has_reason(status, Reason::Internal) {
        "; see the coordinator's log"
    } else if status.code() == Code::Unimplemented {
        "; is this a Fivefold coordinator of this version?"
    } else {
        ""
    }
}

/// The message of a status, with its innermost cause if the message does not name it.
pub(crate) fn problem_of(status: &Status) -> String {
    let mut problem = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    if let Some(cause) = innermost.filter(|cause| !problem.contains(cause.as_str())) {
        problem = if problem.is_empty() { cause } else { format!("{problem}: {cause}") };
    }
    problem
}

#[cfg(test)]
mod tests {
    use fivefold_proto::convert::WireError;
    use fivefold_proto::status::status;

    use super::*;
    use crate::exit_status::ExitStatus;

    #[test]
    fn refusals_name_field_reason_and_advice() {
        let bad = Refused(WireError::new("spec.tta", "0 is out of its limits").into());
        assert_eq!(bad.to_string(), "tta: 0 is out of its limits (BAD_FIELD)");
        let unknown = Refused(status(Reason::NotFound, "there is no job set\njs-abcdefgh"));
        let words = r"there is no job set\njs-abcdefgh (NOT_FOUND); `fivefold status` lists the job sets";
        assert_eq!(unknown.to_string(), words);
        assert_eq!(ExitStatus::of(&unknown.into()), ExitStatus::Usage);
        let foreign = Refused(Status::internal("oh"));
        assert_eq!(foreign.to_string(), "oh (Internal)");
        assert_eq!(ExitStatus::of(&anyhow::Error::from(foreign).context("while waiting")), ExitStatus::Failed);
    }

    #[test]
    fn context_does_not_hide_the_exit_status() {
        let error = anyhow::Error::from(UsageError("tta: 0".into())).context("spec.toml");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
    }
}
