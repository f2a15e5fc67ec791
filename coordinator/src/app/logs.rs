//! What workers say during attempts.

use fivefold_common::ids::{Fold, JobSetId};
use fivefold_common::one_line::one_line;

use super::Coordinator;
use crate::error::Error;
use crate::queue::{LogLimit, NewLogLines, StoredLogLine};

/// What is kept.
pub const LOG_LIMIT: LogLimit = LogLimit { lines_per_attempt: 2000, attempts_per_job: 10 };
/// The most lines of one call.
pub const LINES_PER_CALL: usize = 200;
/// The most characters of a line.
const CHARACTERS: usize = 2000;

/// Stores lines of an attempt, which may have ended.
///
/// # Errors
/// [`Error::StaleAttempt`] if its job has had no such attempt; if there are too many lines.
pub async fn append_log(coordinator: &Coordinator, mut new: NewLogLines) -> Result<(), Error> {
    let count = new.lines.len();
    if count > LINES_PER_CALL {
        return Err(Error::bad_field("lines", format!("{count} lines: at most {LINES_PER_CALL} are taken")));
    }
    for line in &mut new.lines {
        line.message = one_line(&line.message).chars().take(CHARACTERS).collect();
    }
    coordinator.queue.append_log(new, LOG_LIMIT).await
}

/// At most `limit` lines of a job set, or of one fold, after `cursor`, in the order in which they came.
///
/// # Errors
/// [`Error::NotFound`] for a job set or a fold that does not exist.
pub async fn log(
    coordinator: &Coordinator,
    id: &JobSetId,
    fold: Option<Fold>,
    cursor: i64,
    limit: u32,
) -> Result<Vec<StoredLogLine>, Error> {
    check_fold(coordinator, id, fold).await?;
    coordinator.queue.log_lines(id, fold, cursor, limit).await
}

/// At most `limit` of the newest lines, in the order in which they came.
///
/// # Errors
/// As for [`log`].
pub async fn newest_log(
    coordinator: &Coordinator,
    id: &JobSetId,
    fold: Option<Fold>,
    limit: u32,
) -> Result<Vec<StoredLogLine>, Error> {
    check_fold(coordinator, id, fold).await?;
    let mut lines = coordinator.queue.newest_log_lines(id, fold, limit).await?;
    lines.reverse();
    Ok(lines)
}

async fn check_fold(coordinator: &Coordinator, id: &JobSetId, fold: Option<Fold>) -> Result<(), Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    match fold.filter(|fold| job_set.jobs.iter().all(|job| job.fold != *fold)) {
        Some(fold) => Err(Error::NotFound { what: "fold", name: format!("{fold} in {id}") }),
        None => Ok(()),
    }
}
