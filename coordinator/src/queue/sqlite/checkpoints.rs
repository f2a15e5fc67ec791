//! Checkpoints of jobs.

use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{JobId, LeaseRef};
use sqlx::SqliteConnection;

use super::rows::{count, digest, parsed, size};
use super::{artifacts, leases};
use crate::clock::Timestamp;
use crate::error::Error;

pub(super) async fn record(
    connection: &mut SqliteConnection,
    now: Timestamp,
    lease: LeaseRef,
    checkpoint: &Checkpoint,
    keep: u32,
) -> Result<(), Error> {
    leases::require(&mut *connection, lease).await?;
    if artifacts::size_bytes(&mut *connection, checkpoint.digest).await?.is_none() {
        return Err(Error::no_artifact(checkpoint.digest));
    }
    if !is_later(&mut *connection, lease, checkpoint).await? {
        return Ok(());
    }
    let (role, digest) = (checkpoint.role.word(), checkpoint.digest.to_string());
    sqlx::query!(
        "INSERT INTO checkpoints (job_id, attempt, role, digest, epoch, step, macro_f1, created_ms, times_wanted)
         SELECT ?1, ?2, ?3, digest, ?4, ?5, ?6, ?7, times_wanted FROM artifacts WHERE digest = ?8",
        lease.job.0,
        lease.attempt.0,
        role,
        checkpoint.point.epoch,
        checkpoint.point.step,
        checkpoint.macro_f1,
        now.0,
        digest
    )
    .execute(&mut *connection)
    .await?;
    remove_superseded(connection, lease.job, checkpoint.role, keep).await
}

/// Removes all checkpoints of a role but the newest `keep`, and releases their artifacts. A lease names the checkpoints that
/// are there when it is given, and only its own attempt records further ones, so they stay until that has resumed.
pub(super) async fn remove_superseded(
    connection: &mut SqliteConnection,
    job: JobId,
    role: CheckpointRole,
    keep: u32,
) -> Result<(), Error> {
    let role = role.word();
    let removed = sqlx::query!(
        "DELETE FROM checkpoints WHERE job_id = ?1 AND role = ?2
           AND id NOT IN (SELECT id FROM checkpoints WHERE job_id = ?1 AND role = ?2 ORDER BY id DESC LIMIT ?3)
         RETURNING digest, times_wanted",
        job.0,
        role,
        keep
    );
    for row in removed.fetch_all(&mut *connection).await? {
        artifacts::release(&mut *connection, &row.digest, row.times_wanted).await?;
    }
    Ok(())
}

/// Whether a checkpoint is later than the attempt's newest of its role. A call that is repeated or was overtaken brings one
/// that is not.
async fn is_later(connection: &mut SqliteConnection, lease: LeaseRef, new: &Checkpoint) -> Result<bool, Error> {
    let role = new.role.word();
    let newest = sqlx::query!(
        "SELECT attempt, epoch, step FROM checkpoints WHERE job_id = ? AND role = ? ORDER BY id DESC LIMIT 1",
        lease.job.0,
        role
    );
    let Some(newest) = newest.fetch_optional(connection).await? else { return Ok(true) };
    let point = TrainingPoint { epoch: count(newest.epoch)?, step: count(newest.step)? };
    Ok(count(newest.attempt)? != lease.attempt.0 || new.point > point)
}

/// A job's checkpoints: `last` before `best`, newest first.
pub(super) async fn of_job(connection: &mut SqliteConnection, job: JobId) -> Result<Vec<Checkpoint>, Error> {
    let rows = sqlx::query!(
        "SELECT c.digest, a.size_bytes, c.role, c.epoch, c.step, c.macro_f1
         FROM checkpoints c JOIN artifacts a ON a.digest = c.digest WHERE c.job_id = ? ORDER BY c.id DESC",
        job.0
    );
    let mut checkpoints = Vec::new();
    for row in rows.fetch_all(connection).await? {
        checkpoints.push(Checkpoint {
            digest: digest(&row.digest)?,
            size_bytes: size(row.size_bytes)?,
            role: parsed(&row.role)?,
            point: TrainingPoint { epoch: count(row.epoch)?, step: count(row.step)? },
            macro_f1: row.macro_f1,
        });
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.role);
    Ok(checkpoints)
}
