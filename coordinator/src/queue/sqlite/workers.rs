//! Workers.

use fivefold_common::ids::JobId;
use sqlx::SqliteConnection;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{NewWorker, Worker};

pub(super) async fn register(
    connection: &mut SqliteConnection,
    now: Timestamp,
    worker: &NewWorker,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO workers (name, device, version, last_seen_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET device = excluded.device, version = excluded.version, last_seen_ms = excluded.last_seen_ms",
        worker.name,
        worker.device,
        worker.version,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn see(connection: &mut SqliteConnection, now: Timestamp, name: &str) -> Result<(), Error> {
    let changed =
        sqlx::query!("UPDATE workers SET last_seen_ms = ? WHERE name = ?", now.0, name).execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: format!("{name:?}: register it first") });
    }
    Ok(())
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Worker>, Error> {
    let rows = sqlx::query!(
        r#"SELECT name, device, version, last_seen_ms, draining AS "draining: bool",
                  (SELECT max(id) FROM jobs WHERE worker_name = workers.name AND state = 'leased') AS "job_id?: i64"
           FROM workers ORDER BY name"#
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    let workers = rows.map(|row| Worker {
        name: row.name,
        device: row.device,
        version: row.version,
        last_seen: Timestamp(row.last_seen_ms),
        job: row.job_id.map(JobId),
        draining: row.draining,
    });
    Ok(workers.collect())
}

pub(super) async fn set_draining(connection: &mut SqliteConnection, name: &str, draining: bool) -> Result<(), Error> {
    let changed =
        sqlx::query!("UPDATE workers SET draining = ? WHERE name = ?", draining, name).execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: name.to_owned() });
    }
    Ok(())
}
