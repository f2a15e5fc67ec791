//! What workers said during attempts.

use fivefold_common::ids::{Attempt, Fold, JobSetId};
use fivefold_common::log_line::LogLine;
use sqlx::SqliteConnection;

use super::rows::{self, count, parsed};
use crate::error::Error;
use crate::queue::{LogLimit, NewLogLines, StoredLogLine};

/// How many lines may be missing before a line. More would be a mistake, and would push out what is stored.
const MOST_AHEAD: i64 = 100_000;

pub(super) async fn append(
    connection: &mut SqliteConnection,
    NewLogLines { lease, worker, lines }: &NewLogLines,
    limit: LogLimit,
) -> Result<(), Error> {
    let (job, attempt) = (lease.job.0, lease.attempt.0);
    let job_set = sqlx::query_scalar!("SELECT job_set_id FROM jobs WHERE id = ? AND attempt >= ?", job, attempt);
    let job_set = job_set.fetch_optional(&mut *connection).await?.ok_or(Error::StaleAttempt(*lease))?;
    let stored = sqlx::query_scalar!(
        r#"SELECT max(number) AS "number: i64" FROM log_lines WHERE job_id = ? AND attempt = ?"#,
        job,
        attempt
    );
    let mut newest = stored.fetch_one(&mut *connection).await?.unwrap_or(0);
    let most = newest + MOST_AHEAD;
    for line in lines {
        let number = i64::try_from(line.number).ok().filter(|number| (1..=most).contains(number));
        let number =
            number.ok_or_else(|| Error::bad_field("lines.number", format!("{} is out of range", line.number)))?;
        newest = newest.max(number);
        let level = line.level.word();
        sqlx::query!(
            "INSERT INTO log_lines (job_set_id, job_id, attempt, number, worker_name, time_ms, level, message)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, attempt, number) DO NOTHING",
            job_set,
            job,
            attempt,
            number,
            worker,
            line.time_ms,
            level,
            line.message
        )
        .execute(&mut *connection)
        .await?;
    }
    let (lines_before, attempts_before) =
        (newest - i64::from(limit.lines_per_attempt), i64::from(attempt) - i64::from(limit.attempts_per_job));
    sqlx::query!("DELETE FROM log_lines WHERE job_id = ? AND attempt = ? AND number <= ?", job, attempt, lines_before)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM log_lines WHERE job_id = ? AND attempt <= ?", job, attempts_before)
        .execute(connection)
        .await?;
    Ok(())
}

struct LineRow {
    cursor: i64,
    kind: String,
    fold: i64,
    attempt: i64,
    number: i64,
    worker_name: String,
    time_ms: i64,
    level: String,
    message: String,
}

/// Selects lines of a job set, of all folds if the fold is NULL, by the end of a literal.
macro_rules! select_lines {
    ($end:literal, $($value:expr),+) => {
        sqlx::query_as!(
            LineRow,
            "SELECT l.cursor, j.kind, j.fold, l.attempt, l.number, l.worker_name, l.time_ms, l.level, l.message
             FROM log_lines l JOIN jobs j ON j.id = l.job_id
             WHERE l.job_set_id = ?1 AND (?2 IS NULL OR j.fold = ?2) " + $end,
            $($value),+
        )
    };
}

pub(super) async fn after(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    fold: Option<Fold>,
    cursor: i64,
    limit: u32,
) -> Result<Vec<StoredLogLine>, Error> {
    let (id, fold) = (id.as_str(), fold.map(|fold| i64::from(fold.0)));
    let rows = select_lines!("AND l.cursor > ?3 ORDER BY l.cursor LIMIT ?4", id, fold, cursor, limit);
    rows.fetch_all(connection).await?.into_iter().map(stored).collect()
}

pub(super) async fn newest(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    fold: Option<Fold>,
    limit: u32,
) -> Result<Vec<StoredLogLine>, Error> {
    let (id, fold) = (id.as_str(), fold.map(|fold| i64::from(fold.0)));
    let rows = select_lines!("ORDER BY l.cursor DESC LIMIT ?3", id, fold, limit);
    rows.fetch_all(connection).await?.into_iter().map(stored).collect()
}

fn stored(row: LineRow) -> Result<StoredLogLine, Error> {
    let number = u64::try_from(row.number).map_err(|_| Error::Stored(format!("line {} of a log", row.number)))?;
    let line = LogLine { number, time_ms: row.time_ms, level: parsed(&row.level)?, message: row.message };
    Ok(StoredLogLine {
        cursor: row.cursor,
        kind: parsed(&row.kind)?,
        fold: rows::fold(row.fold)?,
        attempt: Attempt(count(row.attempt)?),
        worker: row.worker_name,
        line,
    })
}
