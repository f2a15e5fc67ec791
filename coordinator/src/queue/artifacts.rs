//! Blobs that are whole.

use std::collections::HashSet;

use fivefold_common::ids::{Digest, JobId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// Records a whole blob. Recording it again changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn record(
    connection: &mut SqliteConnection,
    now: Timestamp,
    digest: Digest,
    kind: &str,
    size_bytes: u64,
) -> Result<(), Error> {
    let (digest, size_bytes) = (digest.to_string(), size_bytes as i64);
    sqlx::query!(
        "INSERT INTO artifacts (digest, kind, size_bytes, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (digest) DO UPDATE SET created_ms = excluded.created_ms",
        digest,
        kind,
        size_bytes,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The size of a whole blob in bytes; `None` when it is not held.
///
/// # Errors
/// When the database fails.
pub async fn size_bytes(executor: impl SqliteExecutor<'_>, digest: Digest) -> Result<Option<u64>, Error> {
    let digest = digest.to_string();
    let size = sqlx::query_scalar!("SELECT size_bytes FROM artifacts WHERE digest = ?", digest);
    Ok(size.fetch_optional(executor).await?.map(|size| size as u64))
}

/// Whether a job works with this blob: a list, the folds, the weights, a checkpoint of its own, or the one that it scores with.
///
/// # Errors
/// When the database fails.
pub async fn belongs_to(executor: impl SqliteExecutor<'_>, job: JobId, digest: Digest) -> Result<bool, Error> {
    let digest = digest.to_string();
    let found = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id
         WHERE j.id = ?1 AND (
             ?2 IN (s.train_digest, s.hpa_digest, s.test_digest, s.weights_digest, s.folds_digest)
             OR EXISTS (SELECT 1 FROM checkpoints c WHERE c.job_id = j.id AND c.digest = ?2)
             OR EXISTS (SELECT 1 FROM jobs t WHERE t.job_set_id = j.job_set_id AND t.fold = j.fold AND t.kind = 'train'
                        AND t.result_checkpoint_digest = ?2))",
        job.0,
        digest
    );
    Ok(found.fetch_optional(executor).await?.is_some())
}

/// The digests of all blobs.
///
/// # Errors
/// When the database fails.
pub async fn digests(executor: impl SqliteExecutor<'_>) -> Result<HashSet<String>, Error> {
    Ok(sqlx::query_scalar!("SELECT digest FROM artifacts").fetch_all(executor).await?.into_iter().collect())
}

/// Forgets checkpoints that nothing names and that were stored before `before`, and returns their digests: their files may go
/// once this is committed.
///
/// # Errors
/// When the database fails.
pub async fn forget_unnamed_checkpoints(
    connection: &mut SqliteConnection,
    before: Timestamp,
) -> Result<Vec<Digest>, Error> {
    let digests = sqlx::query_scalar!(
        "DELETE FROM artifacts
         WHERE kind = 'checkpoint' AND created_ms < ?
           AND digest NOT IN (SELECT digest FROM checkpoints)
           AND digest NOT IN (SELECT result_checkpoint_digest FROM jobs WHERE result_checkpoint_digest IS NOT NULL)
           AND digest NOT IN (SELECT checkpoint_digest FROM fit_folds WHERE checkpoint_digest IS NOT NULL)
           AND digest NOT IN (SELECT weights_digest FROM job_sets WHERE weights_digest IS NOT NULL)
         RETURNING digest",
        before.0
    );
    let digests = digests.fetch_all(connection).await?;
    digests.iter().map(|digest| digest.parse().map_err(|error| Error::Stored(format!("{error}")))).collect()
}
