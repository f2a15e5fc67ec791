//! Exit statuses.

use std::process::ExitCode;

use fivefold_client::CallError;
use tonic::Code;

use crate::error::{UsageError, call_error};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The command succeeded; a watched job set succeeded.
    Succeeded,
    /// The command failed; a watched job set failed.
    Failed,
    /// A wrong command line, spec or request.
    Usage,
    /// The watched job set was cancelled.
    Cancelled,
    /// No coordinator within `--wait-seconds`.
    Unreachable,
    /// Ctrl-C.
    Interrupted,
}

impl ExitStatus {
    /// The status of a command that failed with `error`.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<UsageError>() { Self::Usage } else { call_error(error).map_or(Self::Failed, Self::of_call) }
    }

    fn of_call(error: &CallError) -> Self {
        match error {
            CallError::Unreachable(_) => Self::Unreachable,
            CallError::Refused(refusal) => match refusal.status().code() {
                Code::InvalidArgument | Code::NotFound => Self::Usage,
                _ => Self::Failed,
            },
            CallError::LeaseLost(_) | CallError::Cancelled => Self::Failed,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(match status {
            ExitStatus::Succeeded => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Cancelled => 3,
            ExitStatus::Unreachable => 4,
            ExitStatus::Interrupted => 130,
        })
    }
}
