//! The effects of decisions, as SQL. A job's state changes only from the state that its transition starts in.

use fivefold_common::checkpoint::CheckpointRole;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, JobId, JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, Transition};
use fivefold_common::job_set::JobSetState;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteQueryResult;

use super::rows::folds_column;
use super::{checkpoints, events, exclusions, job_sets, results};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::Effect;

/// Stores one effect on a job set.
pub(super) async fn apply(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    effect: &Effect,
) -> Result<(), Error> {
    match effect {
        Effect::Complete { lease, transition, table, checkpoint, made_by_json, keep_last, keep_best } => {
            complete(&mut *c, *lease, *transition, (*table, *checkpoint), made_by_json).await?;
            checkpoints::remove_superseded(&mut *c, lease.job, CheckpointRole::Last, *keep_last).await?;
            checkpoints::remove_superseded(c, lease.job, CheckpointRole::Best, *keep_best).await
        }
        Effect::EndAttempt { lease, transition, cause, message, reason, not_before, .. } => {
            record_failure(&mut *c, now, *lease, (*cause, message)).await?;
            end_attempt(c, *lease, *transition, reason, *not_before).await
        }
        Effect::MarkStalled { lease } => mark_stalled(c, *lease).await,
        Effect::Exclude { worker, message } => exclusions::add(c, now, id, (worker, message)).await,
        Effect::LiftExclusions => exclusions::lift_of_job_set(c, id).await,
        Effect::Cancel { job, transition, reason } | Effect::GiveUp { job, transition, reason } => {
            end(c, *job, *transition, reason).await
        }
        Effect::Retry { job, transition } => retry(c, *job, *transition).await,
        Effect::TrainAgain { job, transition, reason } => train_again(c, *job, *transition, reason).await,
        Effect::TrainOn { job, transition, reason } => unfinish(c, *job, *transition, reason).await,
        Effect::SetEpochs { epochs } => set_epochs(c, id, *epochs).await,
        Effect::AddJob { kind, fold } => job_sets::add_job(c, id, *kind, *fold).await,
        Effect::RemoveJob { job } => remove(c, *job).await,
        Effect::SetState { state, reason } => set_state(c, now, id, *state, reason).await,
        Effect::SetPaused { paused } => set_paused(c, now, id, *paused).await,
        Effect::SetPauseAt { at } => set_pause_at(c, now, id, *at).await,
        Effect::SetTest { test, folds } => set_test(c, now, id, (*test, *folds)).await,
        Effect::SetKept { folds } => set_kept(c, now, id, *folds).await,
        Effect::StoreFit { oof, report, scores } => results::store_fit(c, now, id, (*oof, *report), *scores).await,
        Effect::ClearFit => results::clear_fit(c, now, id).await,
        Effect::StoreSubmission { submission, folds } => {
            results::store_submission(c, now, id, (*submission, *folds)).await
        }
        Effect::ClearSubmission => results::clear_submission(c, now, id).await,
        Effect::Delete => job_sets::delete(c, now, id).await,
        Effect::Log(event) => events::append(c, now, id, event).await,
    }
}

fn require_lease(changed: &SqliteQueryResult, lease: LeaseRef) -> Result<(), Error> {
    if changed.rows_affected() == 1 { Ok(()) } else { Err(Error::StaleAttempt(lease)) }
}

fn require_job(changed: &SqliteQueryResult, job: JobId, transition: Transition) -> Result<(), Error> {
    if changed.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::WrongState(format!("job {job} is not {}", transition.from())))
}

async fn complete(
    c: &mut SqliteConnection,
    lease: LeaseRef,
    transition: Transition,
    (table, checkpoint): (Digest, Option<Digest>),
    made_by_json: &str,
) -> Result<(), Error> {
    let (from, to) = (transition.from().word(), transition.to().word());
    let (table, checkpoint) = (table.to_string(), checkpoint.map(|digest| digest.to_string()));
    let changed = sqlx::query!(
        "UPDATE jobs SET state = ?, state_reason = '', result_digest = ?, result_checkpoint_digest = ?, made_by_json = ?
         WHERE id = ? AND attempt = ? AND state = ?",
        to,
        table,
        checkpoint,
        made_by_json,
        lease.job.0,
        lease.attempt.0,
        from
    );
    require_lease(&changed.execute(c).await?, lease)
}

async fn record_failure(
    c: &mut SqliteConnection,
    now: Timestamp,
    lease: LeaseRef,
    (cause, message): (FailureCause, &str),
) -> Result<(), Error> {
    let cause = cause.word();
    let recorded = sqlx::query!(
        "INSERT INTO failures (job_id, attempt, cause, message, worker_name, time_ms)
         SELECT id, attempt, ?, ?, worker_name, ? FROM jobs WHERE id = ? AND attempt = ?",
        cause,
        message,
        now.0,
        lease.job.0,
        lease.attempt.0
    );
    require_lease(&recorded.execute(c).await?, lease)
}

async fn end_attempt(
    c: &mut SqliteConnection,
    lease: LeaseRef,
    transition: Transition,
    reason: &str,
    not_before: Timestamp,
) -> Result<(), Error> {
    let (from, to) = (transition.from().word(), transition.to().word());
    let changed = sqlx::query!(
        "UPDATE jobs SET state = ?, state_reason = ?, worker_name = '', lease_request_id = '', not_before_ms = ?, images_per_second = 0
         WHERE id = ? AND attempt = ? AND state = ?",
        to,
        reason,
        not_before.0,
        lease.job.0,
        lease.attempt.0,
        from
    );
    require_lease(&changed.execute(c).await?, lease)
}

async fn mark_stalled(c: &mut SqliteConnection, lease: LeaseRef) -> Result<(), Error> {
    let changed = sqlx::query!(
        "UPDATE jobs SET stalled = 1 WHERE id = ? AND attempt = ? AND state = 'leased'",
        lease.job.0,
        lease.attempt.0
    );
    require_lease(&changed.execute(c).await?, lease)
}

/// Ends a job without a result.
async fn end(c: &mut SqliteConnection, job: JobId, transition: Transition, reason: &str) -> Result<(), Error> {
    let (from, to) = (transition.from().word(), transition.to().word());
    let changed =
        sqlx::query!("UPDATE jobs SET state = ?, state_reason = ? WHERE id = ? AND state = ?", to, reason, job.0, from);
    require_job(&changed.execute(c).await?, job, transition)
}

async fn forgive(c: &mut SqliteConnection, job: JobId) -> Result<(), Error> {
    sqlx::query!("UPDATE failures SET forgiven = 1 WHERE job_id = ?", job.0).execute(c).await?;
    Ok(())
}

async fn retry(c: &mut SqliteConnection, job: JobId, transition: Transition) -> Result<(), Error> {
    let (from, to) = (transition.from().word(), transition.to().word());
    let changed = sqlx::query!(
        "UPDATE jobs SET state = ?, state_reason = '', not_before_ms = 0, worker_name = '', lease_request_id = ''
         WHERE id = ? AND state = ?",
        to,
        job.0,
        from
    );
    require_job(&changed.execute(&mut *c).await?, job, transition)?;
    forgive(c, job).await
}

/// Queues a job that has its result for more training.
async fn unfinish(c: &mut SqliteConnection, job: JobId, transition: Transition, reason: &str) -> Result<(), Error> {
    let (from, to) = (transition.from().word(), transition.to().word());
    let changed = sqlx::query!(
        "UPDATE jobs SET state = ?, state_reason = ?, result_digest = NULL, result_checkpoint_digest = NULL,
             made_by_json = '', not_before_ms = 0, worker_name = '', lease_request_id = '', report_sequence = 0, phase = 0, epoch = 0,
             step = 0, step_count = 0, loss = NULL, learning_rate = NULL, images_per_second = 0
         WHERE id = ? AND state = ?",
        to,
        reason,
        job.0,
        from
    );
    require_job(&changed.execute(&mut *c).await?, job, transition)?;
    forgive(c, job).await
}

async fn train_again(c: &mut SqliteConnection, job: JobId, transition: Transition, reason: &str) -> Result<(), Error> {
    unfinish(&mut *c, job, transition, reason).await?;
    for &role in CheckpointRole::ALL {
        checkpoints::remove_superseded(&mut *c, job, role, 0).await?;
    }
    sqlx::query!("DELETE FROM epoch_metrics WHERE job_id = ?", job.0).execute(c).await?;
    Ok(())
}

async fn set_epochs(c: &mut SqliteConnection, id: &JobSetId, epochs: u32) -> Result<(), Error> {
    let id = id.as_str();
    // Keys that only a newer version knows stay.
    sqlx::query!("UPDATE job_sets SET spec_json = json_set(spec_json, '$.epochs', ?) WHERE id = ?", epochs, id)
        .execute(c)
        .await?;
    Ok(())
}

async fn remove(c: &mut SqliteConnection, job: JobId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM jobs WHERE id = ?", job.0).execute(c).await?;
    Ok(())
}

async fn set_state(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    state: JobSetState,
    reason: &str,
) -> Result<(), Error> {
    let (id, state) = (id.as_str(), state.word());
    sqlx::query!(
        "UPDATE job_sets SET state = ?, state_reason = ?, updated_ms = ? WHERE id = ?",
        state,
        reason,
        now.0,
        id
    )
    .execute(c)
    .await?;
    Ok(())
}

async fn set_paused(c: &mut SqliteConnection, now: Timestamp, id: &JobSetId, paused: bool) -> Result<(), Error> {
    let id = id.as_str();
    sqlx::query!("UPDATE job_sets SET paused = ?, updated_ms = ? WHERE id = ?", paused, now.0, id)
        .execute(&mut *c)
        .await?;
    sqlx::query!("UPDATE jobs SET paused = ? WHERE job_set_id = ?", paused, id).execute(c).await?;
    Ok(())
}

async fn set_pause_at(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    at: Option<Timestamp>,
) -> Result<(), Error> {
    let (id, at) = (id.as_str(), at.map(|at| at.0));
    sqlx::query!("UPDATE job_sets SET pause_at_ms = ?, updated_ms = ? WHERE id = ?", at, now.0, id).execute(c).await?;
    Ok(())
}

async fn set_test(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    (test, folds): (Digest, Option<FoldSet>),
) -> Result<(), Error> {
    let (id, test, folds) = (id.as_str(), test.to_string(), folds.map(folds_column));
    sqlx::query!(
        "UPDATE job_sets SET test_digest = ?, predict_folds = ?, updated_ms = ? WHERE id = ?",
        test,
        folds,
        now.0,
        id
    )
    .execute(c)
    .await?;
    Ok(())
}

async fn set_kept(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    folds: Option<FoldSet>,
) -> Result<(), Error> {
    let (id, folds) = (id.as_str(), folds.map(folds_column));
    sqlx::query!("UPDATE job_sets SET kept_folds = ?, updated_ms = ? WHERE id = ?", folds, now.0, id)
        .execute(c)
        .await?;
    Ok(())
}
