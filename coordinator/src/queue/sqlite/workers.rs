//! Workers.

use fivefold_common::ids::JobId;
use sqlx::SqliteConnection;

use super::exclusions;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{ImageAccess, NewWorker, Worker};

pub(super) async fn register(
    connection: &mut SqliteConnection,
    now: Timestamp,
    worker: &NewWorker,
) -> Result<(), Error> {
    let has_image_folder = worker.images == ImageAccess::Folder;
    sqlx::query!(
        "INSERT INTO workers (name, device, version, has_image_folder, last_seen_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET device = excluded.device, version = excluded.version,
             has_image_folder = excluded.has_image_folder, last_seen_ms = excluded.last_seen_ms, has_left = 0",
        worker.name,
        worker.device,
        worker.version,
        has_image_folder,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    exclusions::lift_of_worker(connection, &worker.name).await
}

/// Notes a sign of life of a job's worker, if it is known.
pub(super) async fn see_worker_of(connection: &mut SqliteConnection, now: Timestamp, job: JobId) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE workers SET last_seen_ms = ?, has_left = 0 WHERE name = (SELECT worker_name FROM jobs WHERE id = ?)",
        now.0,
        job.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn see(connection: &mut SqliteConnection, now: Timestamp, name: &str) -> Result<(), Error> {
    let seen = sqlx::query!("UPDATE workers SET last_seen_ms = ?, has_left = 0 WHERE name = ?", now.0, name);
    let changed = seen.execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: format!("{name:?}: register it first") });
    }
    Ok(())
}

pub(super) async fn unregister(connection: &mut SqliteConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE workers SET has_left = 1 WHERE name = ?", name).execute(connection).await?;
    Ok(())
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Worker>, Error> {
    let rows = sqlx::query!(
        r#"SELECT name, device, version, last_seen_ms, draining AS "draining: bool", has_left AS "has_left: bool",
                  has_image_folder AS "has_image_folder: bool",
                  (SELECT max(id) FROM jobs WHERE worker_name = workers.name AND state = 'leased') AS "job_id?: i64"
           FROM workers ORDER BY name"#
    );
    let mut workers = Vec::new();
    for row in rows.fetch_all(&mut *connection).await? {
        workers.push(Worker {
            excluded_from: exclusions::of_worker(&mut *connection, &row.name).await?,
            name: row.name,
            device: row.device,
            version: row.version,
            images: if row.has_image_folder { ImageAccess::Folder } else { ImageAccess::Pushed },
            last_seen: Timestamp(row.last_seen_ms),
            job: row.job_id.map(JobId),
            draining: row.draining,
            has_left: row.has_left,
        });
    }
    Ok(workers)
}

/// Removes workers that were last heard of before `since`, hold no lease and are not draining, and returns their names.
pub(super) async fn forget(connection: &mut SqliteConnection, since: Timestamp) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(
        "DELETE FROM workers WHERE last_seen_ms < ? AND draining = 0
             AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.worker_name = workers.name AND j.state = 'leased')
         RETURNING name",
        since.0
    );
    let names = names.fetch_all(&mut *connection).await?;
    for name in &names {
        exclusions::lift_of_worker(&mut *connection, name).await?;
    }
    Ok(names)
}

pub(super) async fn set_draining(connection: &mut SqliteConnection, name: &str, draining: bool) -> Result<(), Error> {
    let changed =
        sqlx::query!("UPDATE workers SET draining = ? WHERE name = ?", draining, name).execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: name.to_owned() });
    }
    Ok(())
}
