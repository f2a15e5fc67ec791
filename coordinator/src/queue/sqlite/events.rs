//! The event log.

use fivefold_common::ids::{JobId, JobSetId};
use sqlx::SqliteConnection;

use super::rows::parsed;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Event, NewEvent};

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
    let rows = sqlx::query!(
        "SELECT cursor, job_id, time_ms, name, message FROM events WHERE job_set_id = ? AND cursor > ? ORDER BY cursor LIMIT ?",
        id,
        cursor,
        limit
    );
    let mut events = Vec::new();
    for row in rows.fetch_all(connection).await? {
        events.push(Event {
            cursor: row.cursor,
            time: Timestamp(row.time_ms),
            job: (row.job_id != 0).then_some(JobId(row.job_id)),
            name: parsed(&row.name)?,
            message: row.message,
        });
    }
    Ok(events)
}
