//! Reports of running jobs.

use fivefold_common::ids::LeaseRef;
use fivefold_common::job::JobState;
use fivefold_common::progress::{EpochReport, Progress};

use super::{Coordinator, Count};
use crate::error::Error;
use crate::queue::{NewReport, Reported};

/// What a worker hears after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Stored(Reported),
    /// A user cancelled the job.
    Cancelled,
}

/// Extends a lease and stores what is new in a report. `sequence` counts the reports of an attempt from 1.
///
/// # Errors
/// [`Error::StaleAttempt`].
pub async fn report(
    coordinator: &Coordinator,
    lease: LeaseRef,
    sequence: u64,
    progress: Option<Progress>,
    epochs: Vec<EpochReport>,
) -> Result<Answer, Error> {
    let report = NewReport { lease, expires: coordinator.lease_expires(), sequence, progress, epochs };
    match coordinator.queue.report(coordinator.now(), report).await {
        Ok(reported) => {
            coordinator.counts.add(Count::Reports, 1);
            Ok(Answer::Stored(reported))
        }
        Err(Error::StaleAttempt(_)) if coordinator.queue.attempt(lease).await?.state == JobState::Cancelled => {
            Ok(Answer::Cancelled)
        }
        Err(error) => Err(error),
    }
}
