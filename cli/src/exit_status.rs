//! Exit statuses.
//!
//! A value on the command line or in a settings file that cannot be used is wrong usage, whoever finds it: one that is out of
//! range or unknown, and one that names no job set, fold, fit, submission or worker, or several. Lists and other files that
//! cannot be read or used, and job sets whose state does not allow the command, are failures.

use std::process::ExitCode;

use fivefold_client::CallError;
use fivefold_proto::status::Reason;
use tonic::Code;

use crate::error::{UsageError, call_error};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The command succeeded; a watched job set succeeded.
    Succeeded,
    /// The command failed; a watched job set failed.
    Failed,
    /// A value that cannot be used, on the command line or in a settings file.
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
            CallError::Refused(refusal) => match (refusal.reason(), refusal.status().code()) {
                // Like a list that is refused before it is uploaded.
                (Some(Reason::BadContent), _) => Self::Failed,
                (Some(Reason::RequestIdReused), _) | (_, Code::InvalidArgument | Code::NotFound) => Self::Usage,
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
