//! The workers that were heard of.

use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// A worker, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: String,
    /// Its program's version.
    pub version: String,
    /// When it was last heard of, in milliseconds since 1970.
    pub last_seen_ms: i64,
    /// The job that it holds; 0 when it holds none.
    pub job_id: i64,
    /// 1 when it is given no more jobs.
    pub draining: i64,
}

/// Makes a worker known, or known again.
///
/// # Errors
/// When the database fails.
pub async fn register(
    connection: &mut SqliteConnection,
    now: Timestamp,
    name: &str,
    device: &str,
    version: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO workers (name, device, version, last_seen_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET device = excluded.device, version = excluded.version, last_seen_ms = excluded.last_seen_ms",
        name,
        device,
        version,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a worker was heard of.
///
/// # Errors
/// When it never registered.
pub async fn seen(connection: &mut SqliteConnection, now: Timestamp, name: &str) -> Result<(), Error> {
    let changed =
        sqlx::query!("UPDATE workers SET last_seen_ms = ? WHERE name = ?", now.0, name).execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: format!("{name:?}: register it first") });
    }
    Ok(())
}

/// All workers, by name.
///
/// # Errors
/// When the database fails.
pub async fn all(executor: impl SqliteExecutor<'_>) -> Result<Vec<Worker>, Error> {
    let rows = sqlx::query_as!(
        Worker,
        r#"SELECT name, device, version, last_seen_ms, draining,
                  COALESCE((SELECT max(id) FROM jobs WHERE worker_name = workers.name AND state = 'leased'), 0) AS "job_id!: i64"
           FROM workers ORDER BY name"#
    );
    Ok(rows.fetch_all(executor).await?)
}

/// Stops giving a worker jobs, or starts again.
///
/// # Errors
/// When it is not known.
pub async fn set_draining(connection: &mut SqliteConnection, name: &str, draining: bool) -> Result<(), Error> {
    let changed =
        sqlx::query!("UPDATE workers SET draining = ? WHERE name = ?", draining, name).execute(connection).await?;
    if changed.rows_affected() == 0 {
        return Err(Error::NotFound { what: "worker", name: name.to_owned() });
    }
    Ok(())
}
