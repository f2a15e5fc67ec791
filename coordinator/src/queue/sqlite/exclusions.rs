//! Workers that cannot use the images of a job set.

use std::collections::BTreeMap;

use fivefold_common::ids::JobSetId;
use sqlx::SqliteConnection;

use super::rows;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::Exclusion;

pub(super) async fn add(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    (worker, message): (&str, &str),
) -> Result<(), Error> {
    let id = id.as_str();
    sqlx::query!(
        "INSERT INTO exclusions (job_set_id, worker_name, message, since_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET message = excluded.message, since_ms = excluded.since_ms",
        id,
        worker,
        message,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn lift_of_job_set(connection: &mut SqliteConnection, id: &JobSetId) -> Result<(), Error> {
    let id = id.as_str();
    sqlx::query!("DELETE FROM exclusions WHERE job_set_id = ?", id).execute(connection).await?;
    Ok(())
}

pub(super) async fn lift_of_worker(connection: &mut SqliteConnection, worker: &str) -> Result<(), Error> {
    sqlx::query!("DELETE FROM exclusions WHERE worker_name = ?", worker).execute(connection).await?;
    Ok(())
}

/// Lets every exclusion begin now.
pub(super) async fn renew_all(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query!("UPDATE exclusions SET since_ms = ?", now.0).execute(connection).await?;
    Ok(())
}

/// The exclusions of job sets, oldest first, by job set.
pub(super) async fn of_job_sets(
    connection: &mut SqliteConnection,
    ids: &str,
) -> Result<BTreeMap<String, Vec<Exclusion>>, Error> {
    let rows = sqlx::query!(
        "SELECT job_set_id, worker_name, message, since_ms FROM exclusions
         WHERE job_set_id IN (SELECT value FROM json_each(?)) ORDER BY since_ms, worker_name",
        ids
    );
    let mut exclusions: BTreeMap<String, Vec<Exclusion>> = BTreeMap::new();
    for row in rows.fetch_all(connection).await? {
        let exclusion = Exclusion { worker: row.worker_name, message: row.message, since: Timestamp(row.since_ms) };
        exclusions.entry(row.job_set_id).or_default().push(exclusion);
    }
    Ok(exclusions)
}

/// Unfinished job sets that exclude a worker.
pub(super) async fn of_worker(connection: &mut SqliteConnection, worker: &str) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT e.job_set_id FROM exclusions e JOIN job_sets s ON s.id = e.job_set_id
         WHERE e.worker_name = ? AND s.state IN ('training', 'predicting') ORDER BY s.number",
        worker
    );
    ids.fetch_all(connection).await?.iter().map(|id| rows::job_set_id(id)).collect()
}

pub(super) async fn without_a_worker(
    connection: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT job_set_id AS "job_set_id!" FROM exclusions
         WHERE EXISTS (SELECT 1 FROM jobs j
                       WHERE j.job_set_id = exclusions.job_set_id AND j.state = 'queued' AND j.paused = 0)
           AND EXISTS (SELECT 1 FROM workers WHERE last_seen_ms >= ?1)
           AND NOT EXISTS (
               SELECT 1 FROM workers
               WHERE (workers.has_image_folder = 1
                      OR EXISTS (SELECT 1 FROM job_sets s WHERE s.id = exclusions.job_set_id AND s.images_digest IS NOT NULL))
                 AND NOT EXISTS (
                   SELECT 1 FROM exclusions x WHERE x.job_set_id = exclusions.job_set_id AND x.worker_name = workers.name))
         GROUP BY job_set_id HAVING max(since_ms) < ?1"#,
        since.0
    );
    ids.fetch_all(connection).await?.iter().map(|id| rows::job_set_id(id)).collect()
}
