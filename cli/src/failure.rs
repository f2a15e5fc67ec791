//! What can go wrong for the user, in words, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use fivefold_proto::status::{Reason, has_reason, reason_word};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How a command ended, as a script sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what it was asked to; a watched job set succeeded.
    Succeeded,
    /// It could not; a watched job set failed.
    Failed,
    /// The command line, the spec or a request cannot be what it is.
    Usage,
    /// The watched job set was cancelled.
    Cancelled,
    /// The coordinator was not there within `--wait-seconds`.
    Unreachable,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        ExitCode::from(match ending {
            Ending::Succeeded => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::Cancelled => 3,
            Ending::Unreachable => 4,
            Ending::Interrupted => 130,
        })
    }
}

/// A value on the command line or in a spec file that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The coordinator was not there in time.
#[derive(Debug, thiserror::Error)]
#[error("no coordinator at {url} within {wait_seconds} s ({problem}); is it running, and is --coordinator right?")]
pub(crate) struct Unreachable {
    pub(crate) url: String,
    pub(crate) wait_seconds: u64,
    pub(crate) problem: String,
}

/// The coordinator's refusal of a call.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Status);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    /// Which field is wrong and why, or else the coordinator's message; then its reason, then what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused(status) = self;
        let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
        if violations.is_empty() {
            f.write_str(&one_line(&problem_of(status)))?;
        }
        for (place, violation) in violations.iter().enumerate() {
            // A key of the spec is known to the user without the message that carries it.
            let field = violation.field.strip_prefix("spec.").unwrap_or(&violation.field);
            let separator = if place == 0 { "" } else { "; " };
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
        "; leave --request-id out, or choose another"
    } else if has_reason(status, Reason::Exhausted) {
        "; make room at the coordinator, then run the same command again"
    } else if has_reason(status, Reason::Internal) {
        "; the coordinator's log says more"
    } else if status.code() == Code::Unimplemented {
        "; is this a Fivefold coordinator of this version?"
    } else {
        ""
    }
}

/// What a status says, with the innermost cause that its message leaves out.
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

/// Text from elsewhere on one line, without anything that a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The ending of a command that stopped with `error`.
pub(crate) fn ending_of(error: &anyhow::Error) -> Ending {
    if error.is::<Usage>() {
        Ending::Usage
    } else if error.is::<Unreachable>() {
        Ending::Unreachable
    } else if let Some(Refused(status)) = error.downcast_ref()
        && matches!(status.code(), Code::InvalidArgument | Code::NotFound)
    {
        Ending::Usage
    } else {
        Ending::Failed
    }
}

/// Whether nobody reads our output any more, as in `fivefold status | head -1`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use fivefold_proto::convert::WireError;
    use fivefold_proto::status::status;

    use super::*;

    #[test]
    fn refusals_name_field_reason_and_advice() {
        let bad = Refused(WireError::new("spec.tta", "0 is out of its limits").into());
        assert_eq!(bad.to_string(), "tta: 0 is out of its limits (BAD_FIELD)");
        let unknown = Refused(status(Reason::NotFound, "there is no job set\njs-abcdefgh"));
        let words = "there is no job set js-abcdefgh (NOT_FOUND); `fivefold status` lists the job sets";
        assert_eq!(unknown.to_string(), words);
        assert_eq!(ending_of(&unknown.into()), Ending::Usage);
        let foreign = Refused(Status::internal("oh"));
        assert_eq!(foreign.to_string(), "oh (Internal)");
        assert_eq!(ending_of(&anyhow::Error::from(foreign).context("while waiting")), Ending::Failed);
    }

    #[test]
    fn context_does_not_hide_the_ending() {
        let error = anyhow::Error::from(Usage("tta: 0".into())).context("spec.toml");
        assert_eq!(ending_of(&error), Ending::Usage);
    }
}
