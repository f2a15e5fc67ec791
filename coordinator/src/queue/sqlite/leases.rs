//! Leases: taken, looked up, and found when they are due.

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::job::JobKind;
use fivefold_common::progress::Phase;
use sqlx::SqliteConnection;

use super::rows::{self, count, digest, fold, optional_digest, parsed};
use super::{checkpoints, events};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Attempted, ImageAccess, InitialModel, Inputs, LeaseRequest, Leased, NameLock, Standstill, Task};

pub(super) async fn has_free_job(
    connection: &mut SqliteConnection,
    now: Timestamp,
    worker: &str,
    images: ImageAccess,
) -> Result<bool, Error> {
    let has_folder = images == ImageAccess::Folder;
    let found = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j WHERE j.state = 'queued' AND j.paused = 0 AND j.not_before_ms <= ?1
             AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.name = ?2 AND w.draining = 1)
             AND NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.job_set_id = j.job_set_id AND e.worker_name = ?2)
             AND (?3 OR EXISTS (SELECT 1 FROM job_sets s WHERE s.id = j.job_set_id AND s.images_digest IS NOT NULL))
         LIMIT 1",
        now.0,
        worker,
        has_folder
    );
    Ok(found.fetch_optional(connection).await?.is_some())
}

pub(super) async fn acquire(
    connection: &mut SqliteConnection,
    now: Timestamp,
    request: &LeaseRequest,
) -> Result<Option<Leased>, Error> {
    if let Some(lease) = extend(&mut *connection, request).await? {
        return Ok(Some(leased(connection, lease, &request.worker).await?));
    }
    let Some(lease) = take(&mut *connection, now, request).await? else { return Ok(None) };
    let leased = leased(&mut *connection, lease, &request.worker).await?;
    events::append(connection, now, &leased.job_set, &(request.event)(&leased)).await?;
    Ok(Some(leased))
}

/// The lease that the same request got before.
async fn extend(connection: &mut SqliteConnection, request: &LeaseRequest) -> Result<Option<LeaseRef>, Error> {
    let extended = sqlx::query!(
        "UPDATE jobs SET lease_expires_ms = ? WHERE state = 'leased' AND worker_name = ? AND lease_request_id = ?
         RETURNING id, attempt",
        request.expires.0,
        request.worker,
        request.request_id
    );
    extended.fetch_optional(connection).await?.map(|row| lease(row.id, row.attempt)).transpose()
}

async fn take(
    connection: &mut SqliteConnection,
    now: Timestamp,
    request: &LeaseRequest,
) -> Result<Option<LeaseRef>, Error> {
    let (from, to) = (request.transition.from().word(), request.transition.to().word());
    let lock = request.name_lock.as_ref();
    let (lock, lock_taken) = lock.map_or(("", 0), |lock| (lock.id.as_str(), lock.taken_centiseconds));
    let has_folder = request.images == ImageAccess::Folder;
    let taken = sqlx::query!(
        "UPDATE jobs
         SET state = ?6, attempt = attempt + 1, worker_name = ?1, lease_request_id = ?2,
             lease_expires_ms = ?3, report_sequence = 0, phase = 0, images_per_second = 0, advanced_ms = ?4, stalled = 0,
             name_lock = ?7, name_lock_taken = ?8
         WHERE state = ?5 AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.name = ?1 AND w.draining = 1)
           AND id = coalesce(
             (SELECT j.id FROM jobs j WHERE j.state = 'queued' AND j.paused = 0 AND j.not_before_ms <= ?4
                 AND NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.job_set_id = j.job_set_id AND e.worker_name = ?1)
                 AND (?9 OR EXISTS (SELECT 1 FROM job_sets s WHERE s.id = j.job_set_id AND s.images_digest IS NOT NULL))
                 AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.job_id = j.id AND f.worker_name = ?1
                                 AND f.cause NOT IN ('worker_lost', 'drained'))
              ORDER BY j.pick_order LIMIT 1),
             (SELECT j.id FROM jobs j WHERE j.state = 'queued' AND j.paused = 0 AND j.not_before_ms <= ?4
                 AND NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.job_set_id = j.job_set_id AND e.worker_name = ?1)
                 AND (?9 OR EXISTS (SELECT 1 FROM job_sets s WHERE s.id = j.job_set_id AND s.images_digest IS NOT NULL))
              ORDER BY j.pick_order LIMIT 1))
         RETURNING id, attempt",
        request.worker,
        request.request_id,
        request.expires.0,
        now.0,
        from,
        to,
        lock,
        lock_taken,
        has_folder
    );
    taken.fetch_optional(connection).await?.map(|row| lease(row.id, row.attempt)).transpose()
}

fn lease(job: i64, attempt: i64) -> Result<LeaseRef, Error> {
    Ok(LeaseRef { job: JobId(job), attempt: Attempt(count(attempt)?) })
}

/// Everything that a worker needs to work under a lease.
async fn leased(connection: &mut SqliteConnection, lease: LeaseRef, worker: &str) -> Result<Leased, Error> {
    let Attempted { job_set, kind, fold, spec, inputs, .. } = attempt(&mut *connection, lease).await?;
    let task = match kind {
        JobKind::Train => Task::Train { checkpoints: checkpoints::of_job(&mut *connection, lease.job).await? },
        JobKind::Predict => Task::Predict { checkpoint: scoring_checkpoint(&mut *connection, &job_set, fold).await? },
    };
    let initial_model = initial_model(connection, &job_set, fold).await?;
    Ok(Leased { lease, worker: worker.to_owned(), job_set, fold, task, spec, inputs, initial_model })
}

/// The model of another job set that a fold begins from.
async fn initial_model(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    fold: Fold,
) -> Result<Option<InitialModel>, Error> {
    let id = id.as_str();
    let row = sqlx::query!(
        r#"SELECT s.warm_start_of AS "of!", w.checkpoint_digest FROM warm_starts w JOIN job_sets s ON s.id = w.job_set_id
           WHERE w.job_set_id = ? AND w.fold = ?"#,
        id,
        fold.0
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(InitialModel { of: parsed(&row.of)?, checkpoint: digest(&row.checkpoint_digest)? }))
}

/// The checkpoint that made a fold's out-of-fold table.
async fn scoring_checkpoint(connection: &mut SqliteConnection, id: &JobSetId, fold: Fold) -> Result<Artifact, Error> {
    let text = id.as_str();
    let row = sqlx::query!(
        "SELECT a.digest, a.size_bytes FROM jobs j JOIN artifacts a ON a.digest = j.result_checkpoint_digest
         WHERE j.job_set_id = ? AND j.kind = 'train' AND j.fold = ?",
        text,
        fold.0
    );
    let row = row.fetch_optional(connection).await?;
    let row = row.ok_or_else(|| Error::Stored(format!("fold {fold} of {id} has no checkpoint to predict with")))?;
    let (digest, size_bytes) = (digest(&row.digest)?, rows::size(row.size_bytes)?);
    Ok(Artifact { kind: ArtifactKind::Checkpoint, digest, size_bytes })
}

pub(super) async fn attempt(connection: &mut SqliteConnection, lease: LeaseRef) -> Result<Attempted, Error> {
    let row = sqlx::query!(
        "SELECT j.job_set_id, j.kind, j.fold, j.state, s.spec_json, s.train_digest, s.hpa_digest, s.test_digest,
                s.weights_digest, s.folds_digest, s.images_digest
         FROM jobs j JOIN job_sets s ON s.id = j.job_set_id WHERE j.id = ? AND j.attempt = ?",
        lease.job.0,
        lease.attempt.0
    );
    let row = row.fetch_optional(connection).await?.ok_or(Error::StaleAttempt(lease))?;
    Ok(Attempted {
        job_set: parsed(&row.job_set_id)?,
        kind: parsed(&row.kind)?,
        fold: fold(row.fold)?,
        state: parsed(&row.state)?,
        spec: rows::spec(&row.spec_json)?,
        inputs: Inputs {
            train: digest(&row.train_digest)?,
            hpa: optional_digest(row.hpa_digest.as_deref())?,
            test: optional_digest(row.test_digest.as_deref())?,
            weights: optional_digest(row.weights_digest.as_deref())?,
            folds: digest(&row.folds_digest)?,
            images: optional_digest(row.images_digest.as_deref())?,
        },
    })
}

/// Refuses a lease that is not its job's current one.
pub(super) async fn require(connection: &mut SqliteConnection, lease: LeaseRef) -> Result<(), Error> {
    let held = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE id = ? AND attempt = ? AND state = 'leased'",
        lease.job.0,
        lease.attempt.0
    );
    held.fetch_optional(connection).await?.map(|_| ()).ok_or(Error::StaleAttempt(lease))
}

pub(super) async fn expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
    let rows =
        sqlx::query!("SELECT id, attempt, job_set_id FROM jobs WHERE state = 'leased' AND lease_expires_ms < ?", now.0);
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok((parsed(&row.job_set_id)?, lease(row.id, row.attempt)?))).collect()
}

/// The leases of a worker's processes that held the lock on its name before the present one.
pub(super) async fn of_earlier(
    connection: &mut SqliteConnection,
    worker: &str,
    present: &NameLock,
) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
    let rows = sqlx::query!(
        "SELECT id, attempt, job_set_id FROM jobs
         WHERE state = 'leased' AND worker_name = ? AND name_lock = ? AND name_lock_taken < ?",
        worker,
        present.id,
        present.taken_centiseconds
    );
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok((parsed(&row.job_set_id)?, lease(row.id, row.attempt)?))).collect()
}

pub(super) async fn standing_still(
    connection: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Vec<Standstill>, Error> {
    // The time of an upload is the network's, and its calls have their own limits.
    let uploading = rows::phase_column(Phase::Uploading);
    let rows = sqlx::query!(
        r#"SELECT id, attempt, job_set_id, advanced_ms, stalled AS "stalled: bool" FROM jobs
           WHERE state = 'leased' AND phase <> ? AND advanced_ms < ?"#,
        uploading,
        since.0
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    rows.map(|row| {
        let (job_set, lease) = (parsed(&row.job_set_id)?, lease(row.id, row.attempt)?);
        Ok(Standstill { job_set, lease, since: Timestamp(row.advanced_ms), marked: row.stalled })
    })
    .collect()
}

pub(super) async fn extend_all(
    connection: &mut SqliteConnection,
    now: Timestamp,
    expires: Timestamp,
) -> Result<u64, Error> {
    let extended = sqlx::query!(
        "UPDATE jobs SET lease_expires_ms = max(lease_expires_ms, ?), advanced_ms = ? WHERE state = 'leased'",
        expires.0,
        now.0
    );
    Ok(extended.execute(connection).await?.rows_affected())
}

/// Whether a job needs an artifact.
pub(super) async fn is_needed_by(connection: &mut SqliteConnection, job: JobId, digest: Digest) -> Result<bool, Error> {
    let digest = digest.to_string();
    let found = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id
         WHERE j.id = ?1 AND (
             ?2 IN (s.train_digest, s.hpa_digest, s.test_digest, s.weights_digest, s.folds_digest, s.images_digest)
             OR EXISTS (SELECT 1 FROM image_segments i WHERE i.images_digest = s.images_digest AND i.segment_digest = ?2)
             OR EXISTS (SELECT 1 FROM warm_starts w WHERE w.job_set_id = j.job_set_id AND w.fold = j.fold
                        AND w.checkpoint_digest = ?2)
             OR EXISTS (SELECT 1 FROM checkpoints c WHERE c.job_id = j.id AND c.digest = ?2)
             OR EXISTS (SELECT 1 FROM jobs t WHERE t.job_set_id = j.job_set_id AND t.fold = j.fold AND t.kind = 'train'
                        AND t.result_checkpoint_digest = ?2))",
        job.0,
        digest
    );
    Ok(found.fetch_optional(connection).await?.is_some())
}
