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

/// Notes that somebody wants a whole blob now, so that it is not forgotten before it is named, and returns its size in bytes;
/// `None` when it is not held.
///
/// # Errors
/// When the database fails.
pub async fn touch(connection: &mut SqliteConnection, now: Timestamp, digest: Digest) -> Result<Option<u64>, Error> {
    let digest = digest.to_string();
    let touched =
        sqlx::query_scalar!("UPDATE artifacts SET created_ms = ? WHERE digest = ? RETURNING size_bytes", now.0, digest);
    Ok(touched.fetch_optional(connection).await?.map(|size| size as u64))
}

/// After a restart: what workers uploaded before it may still be named, as long after as if it had come now.
///
/// # Errors
/// When the database fails.
pub async fn touch_all(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    let touched = sqlx::query!(
        "UPDATE artifacts SET created_ms = ? WHERE kind IN ('checkpoint', 'oof', 'predictions') AND created_ms < ?",
        now.0,
        now.0
    );
    touched.execute(connection).await?;
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

/// What workers uploaded before `before` and nothing names: checkpoints that were replaced, results of attempts that lost their
/// lease.
///
/// # Errors
/// When the database fails.
pub async fn unnamed(executor: impl SqliteExecutor<'_>, before: Timestamp) -> Result<Vec<Digest>, Error> {
    let digests = sqlx::query_scalar!(
        "SELECT digest FROM artifacts
         WHERE kind IN ('checkpoint', 'oof', 'predictions') AND created_ms < ?
           AND digest NOT IN (SELECT digest FROM checkpoints)
           AND digest NOT IN (SELECT result_digest FROM jobs WHERE result_digest IS NOT NULL)
           AND digest NOT IN (SELECT result_checkpoint_digest FROM jobs WHERE result_checkpoint_digest IS NOT NULL)
           AND digest NOT IN (SELECT result_digest FROM fit_folds)
           AND digest NOT IN (SELECT checkpoint_digest FROM fit_folds WHERE checkpoint_digest IS NOT NULL)
           AND digest NOT IN (SELECT oof_digest FROM fits)
           AND digest NOT IN (SELECT weights_digest FROM job_sets WHERE weights_digest IS NOT NULL)",
        before.0
    );
    let digests = digests.fetch_all(executor).await?;
    digests.iter().map(|digest| digest.parse().map_err(|error| Error::Stored(format!("{error}")))).collect()
}

/// Forgets a blob, unless something names it or somebody wanted it since `before`. Whether it did: then its file may go once
/// this is committed. What names a blob refers to its row, so the database itself refuses to lose one that is named.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut SqliteConnection, digest: Digest, before: Timestamp) -> Result<bool, Error> {
    let digest = digest.to_string();
    let deleted = sqlx::query!("DELETE FROM artifacts WHERE digest = ? AND created_ms < ?", digest, before.0);
    match deleted.execute(connection).await {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
