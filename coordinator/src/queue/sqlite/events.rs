//! The event log.

use fivefold_common::ids::{JobId, JobSetId};
use sqlx::SqliteConnection;

use super::rows::parsed;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Event, NewEvent};

struct EventRow {
    cursor: i64,
    job_id: i64,
    time_ms: i64,
    name: String,
    message: String,
}

pub(super) async fn append(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    event: &NewEvent,
) -> Result<(), Error> {
    let (id, job, name) = (id.as_str(), event.job.map_or(0, |job| job.0), event.name.word());
    sqlx::query!(
        "INSERT INTO events (job_set_id, job_id, time_ms, name, message) VALUES (?, ?, ?, ?, ?)",
        id,
        job,
        now.0,
        name,
        event.message
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn after(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    cursor: i64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let id = id.as_str();
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT cursor, job_id, time_ms, name, message FROM events WHERE job_set_id = ? AND cursor > ? ORDER BY cursor LIMIT ?",
        id,
        cursor,
        limit
    );
    rows.fetch_all(connection).await?.into_iter().map(event).collect()
}

pub(super) async fn newest(connection: &mut SqliteConnection, id: &JobSetId, limit: u32) -> Result<Vec<Event>, Error> {
    let id = id.as_str();
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT cursor, job_id, time_ms, name, message FROM events WHERE job_set_id = ? ORDER BY cursor DESC LIMIT ?",
        id,
        limit
    );
    rows.fetch_all(connection).await?.into_iter().map(event).collect()
}

fn event(row: EventRow) -> Result<Event, Error> {
    Ok(Event {
        cursor: row.cursor,
        time: Timestamp(row.time_ms),
        job: (row.job_id != 0).then_some(JobId(row.job_id)),
        name: parsed(&row.name)?,
        message: row.message,
    })
}
