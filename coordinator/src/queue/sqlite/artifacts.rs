//! Artifacts whose bytes are held whole.

use std::collections::BTreeMap;

use fivefold_common::artifact::Artifact;
use fivefold_common::ids::Digest;
use sqlx::SqliteConnection;

use super::rows;
use crate::clock::Timestamp;
use crate::error::Error;

pub(super) async fn record(connection: &mut SqliteConnection, now: Timestamp, artifact: Artifact) -> Result<(), Error> {
    let (digest, kind) = (artifact.digest.to_string(), artifact.kind.word());
    let size_bytes = rows::size_column(artifact.size_bytes)?;
    sqlx::query!(
        "INSERT INTO artifacts (digest, kind, size_bytes, created_ms, times_wanted) VALUES (?, ?, ?, ?, 1)
         ON CONFLICT (digest) DO UPDATE SET created_ms = max(created_ms, excluded.created_ms),
             times_wanted = times_wanted + 1",
        digest,
        kind,
        size_bytes,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that an artifact is wanted now. One that is kept for longer stays so.
pub(super) async fn touch(
    connection: &mut SqliteConnection,
    now: Timestamp,
    digest: Digest,
) -> Result<Option<u64>, Error> {
    let digest = digest.to_string();
    let touched = sqlx::query_scalar!(
        "UPDATE artifacts SET created_ms = max(created_ms, ?), times_wanted = times_wanted + 1 WHERE digest = ?
         RETURNING size_bytes",
        now.0,
        digest
    );
    touched.fetch_optional(connection).await?.map(rows::size).transpose()
}

/// Like [`touch`], for several artifacts. Returns the sizes in bytes of those that are held.
pub(super) async fn touch_each(
    connection: &mut SqliteConnection,
    now: Timestamp,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, u64>, Error> {
    let digests = serde_json::json!(digests).to_string();
    let touched = sqlx::query!(
        "UPDATE artifacts SET created_ms = max(created_ms, ?), times_wanted = times_wanted + 1
         WHERE digest IN (SELECT value FROM json_each(?)) RETURNING digest, size_bytes",
        now.0,
        digests
    );
    let rows = touched.fetch_all(connection).await?.into_iter();
    rows.map(|row| Ok((rows::digest(&row.digest)?, rows::size(row.size_bytes)?))).collect()
}

/// Uploads from before a restart may still be referred to. Released ones stay so.
pub(super) async fn touch_all(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    let touched = sqlx::query!("UPDATE artifacts SET created_ms = ?1 WHERE created_ms >= 0 AND created_ms < ?1", now.0);
    touched.execute(connection).await?;
    Ok(())
}

/// Releases an artifact whose reference was removed, unless it was wanted again after it was referred to. Unreferenced
/// artifacts that were released are not kept for a while.
pub(super) async fn release(connection: &mut SqliteConnection, digest: &str, times_wanted: i64) -> Result<(), Error> {
    let released = sqlx::query!(
        "UPDATE artifacts SET created_ms = -1 WHERE digest = ? AND times_wanted = ?",
        digest,
        times_wanted
    );
    released.execute(connection).await?;
    Ok(())
}

pub(super) async fn size_bytes(connection: &mut SqliteConnection, digest: Digest) -> Result<Option<u64>, Error> {
    let digest = digest.to_string();
    let size = sqlx::query_scalar!("SELECT size_bytes FROM artifacts WHERE digest = ?", digest);
    size.fetch_optional(connection).await?.map(rows::size).transpose()
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Artifact>, Error> {
    let rows = sqlx::query!("SELECT digest, kind, size_bytes FROM artifacts").fetch_all(connection).await?.into_iter();
    rows.map(|row| {
        let (kind, digest, size_bytes) =
            (rows::parsed(&row.kind)?, rows::digest(&row.digest)?, rows::size(row.size_bytes)?);
        Ok(Artifact { kind, digest, size_bytes })
    })
    .collect()
}

/// Replaced checkpoints, results of attempts that lost their lease, lists that were never submitted, and what belonged to
/// deleted job sets.
pub(super) async fn unreferenced(connection: &mut SqliteConnection, since: Timestamp) -> Result<Vec<Digest>, Error> {
    let digests = sqlx::query_scalar!(
        "SELECT digest FROM artifacts a
         WHERE created_ms < ?
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE result_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE result_checkpoint_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM warm_starts WHERE checkpoint_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM fit_folds WHERE result_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM fit_folds WHERE checkpoint_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM fits WHERE oof_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM fits WHERE report_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM fits WHERE submission_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM submissions WHERE submission_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM submissions WHERE test_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE train_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE hpa_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE test_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE weights_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE folds_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM job_sets WHERE images_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM image_segments WHERE segment_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM data_sets WHERE train_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM data_sets WHERE hpa_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM data_sets WHERE test_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM data_sets WHERE folds_digest = a.digest)
           AND NOT EXISTS (SELECT 1 FROM data_sets WHERE images_digest = a.digest)",
        since.0
    );
    digests.fetch_all(connection).await?.iter().map(|digest| rows::digest(digest)).collect()
}

/// Foreign keys refuse to delete a row that is referred to.
pub(super) async fn forget(connection: &mut SqliteConnection, digest: Digest, since: Timestamp) -> Result<bool, Error> {
    let digest = digest.to_string();
    let deleted = sqlx::query!("DELETE FROM artifacts WHERE digest = ? AND created_ms < ?", digest, since.0);
    match deleted.execute(connection).await {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
