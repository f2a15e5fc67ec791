//! Exit statuses.

use std::process::ExitCode;

use tonic::Code;

use crate::error::{Refused, Unreachable, UsageError};

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
        if error.is::<UsageError>() {
            Self::Usage
        } else if error.is::<Unreachable>() {
            Self::Unreachable
        } else if let Some(Refused(status)) = error.downcast_ref()
            && matches!(status.code(), Code::InvalidArgument | Code::NotFound)
        {
            Self::Usage
        } else {
            Self::Failed
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
