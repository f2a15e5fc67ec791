//! What happens without being asked: leases expire, stalled attempts end, jobs that no worker can take fail, job sets are
//! paused at their time, results are made, old job sets and unreferenced artifacts are deleted.

use std::time::Duration;

use fivefold_common::event::EventName;
use fivefold_common::ids::{JobSetId, LeaseRef};
use fivefold_common::job::FailureCause;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::control::pause_due;
use super::decision::Decision;
use super::fail::{self, end_attempt};
use super::{Coordinator, advance, delete_old, disk, exclude};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Effect, JobSet, RELEASED, Standstill};

const SWEEP: Duration = Duration::from_millis(500);
const SWEEPS_PER_CLEANING: u32 = 240;
/// Age of the last sign of life after which a worker is not listed any more.
const FORGOTTEN_AFTER_SECONDS: u32 = 24 * 3600;

/// After a restart: no lease expires before its worker has had a whole period to report, and steps that were interrupted are
/// due. Returns the number of leases.
///
/// # Errors
/// If the database fails.
pub async fn resume_work(coordinator: &Coordinator) -> Result<u64, Error> {
    find_due(coordinator).await?;
    coordinator.queue.resume(coordinator.now(), coordinator.lease_expires()).await
}

/// Adds the job sets whose next step the queue shows as due. A change that was stored after its caller had gone away is not
/// among those that changed.
async fn find_due(coordinator: &Coordinator) -> Result<(), Error> {
    coordinator.due.add(coordinator.queue.waiting_for_results().await?);
    Ok(())
}

/// Runs upkeep until `stopping` is cancelled. A failure is logged once and tried again.
pub async fn run_upkeep(coordinator: Coordinator, stopping: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps: u32 = 0;
    let mut last_problem = String::new();
    let mut is_low = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        let mut swept = sweep(&coordinator).await.map(|_| ());
        if swept.is_ok() && sweeps.is_multiple_of(SWEEPS_PER_CLEANING) {
            swept = async {
                find_due(&coordinator).await?;
                delete_old(&coordinator).await?;
                forget_workers(&coordinator).await?;
                clean(&coordinator).await?;
                is_low = watch_disk(&coordinator, is_low).await?;
                Ok(())
            }
            .await;
        }
        sweeps = sweeps.wrapping_add(1);
        let problem = swept.err().map(|error| error.to_string()).unwrap_or_default();
        if !problem.is_empty() && problem != last_problem {
            tracing::error!("upkeep: {problem}; it is tried again");
        }
        last_problem = problem;
    }
}

/// Logs once that little of the disk is free. Returns whether it is so.
async fn watch_disk(coordinator: &Coordinator, was_low: bool) -> Result<bool, Error> {
    let warning = disk::low_disk(coordinator.blobs.disk_space().await?);
    match &warning {
        Some(warning) if !was_low => tracing::warn!("{warning}"),
        _ => {}
    }
    Ok(warning.is_some())
}

/// Does what is due. Returns the attempts that it ended.
///
/// # Errors
/// If the database or the disk fails. What is left is done by the next sweep.
pub async fn sweep(coordinator: &Coordinator) -> Result<Vec<LeaseRef>, Error> {
    let mut ended = Vec::new();
    for (id, lease) in coordinator.queue.expired(coordinator.now()).await? {
        if end(coordinator, &id, lease, FailureCause::WorkerLost, String::new()).await? {
            ended.push(lease);
        }
    }
    if coordinator.settings.stall_seconds > 0 {
        ended.extend(end_stalled(coordinator).await?);
    }
    exclude::give_up(coordinator).await?;
    pause_due(coordinator).await?;
    advance_due(coordinator).await?;
    delete_unreferenced(coordinator, RELEASED).await?;
    Ok(ended)
}

/// Takes the steps that are due. One that cannot be taken now stays due and keeps no other one from being taken.
async fn advance_due(coordinator: &Coordinator) -> Result<(), Error> {
    let mut outcome = Ok(());
    let mut left = Vec::new();
    while let Some(id) = coordinator.due.take_first() {
        if let Err(error) = advance(coordinator, &id).await {
            outcome = Err(error);
            left.push(id);
        }
    }
    coordinator.due.add(left);
    outcome
}

/// Ends an attempt unless it has been renewed or has ended by now. Returns whether it did.
async fn end(
    coordinator: &Coordinator,
    id: &JobSetId,
    lease: LeaseRef,
    cause: FailureCause,
    message: String,
) -> Result<bool, Error> {
    let now = coordinator.now();
    let decide = move |job_set: &JobSet| match job_set.job(lease.job) {
        Some(job) if cause == FailureCause::WorkerLost && job.lease_expires >= now => Ok(Vec::new()),
        _ => end_attempt(job_set, now, lease, cause, &message),
    };
    match fail::end(coordinator, id, Box::new(decide)).await {
        Ok(ended) => Ok(ended.is_some()),
        Err(Error::StaleAttempt(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Marks jobs that made no progress for a quarter of the limit, and ends attempts that made none for all of it.
async fn end_stalled(coordinator: &Coordinator) -> Result<Vec<LeaseRef>, Error> {
    let seconds = coordinator.settings.stall_seconds;
    let now = coordinator.now();
    let limit_ms = i64::from(seconds) * 1000;
    let mut ended = Vec::new();
    for Standstill { job_set, lease, since, marked } in
        coordinator.queue.standing_still(Timestamp(now.0 - limit_ms / 4)).await?
    {
        if !marked {
            mark_stalled(coordinator, &job_set, lease, now).await?;
        }
        let message = format!("no step for {seconds} s");
        if since < now.minus_seconds(seconds)
            && end(coordinator, &job_set, lease, FailureCause::Stalled, message).await?
        {
            ended.push(lease);
        }
    }
    Ok(ended)
}

async fn mark_stalled(coordinator: &Coordinator, id: &JobSetId, lease: LeaseRef, now: Timestamp) -> Result<(), Error> {
    let decide = move |job_set: &JobSet| {
        let mut decision = Decision::on(job_set);
        let job = decision.held(lease)?;
        let (seconds, worker) = ((now.0 - job.advanced.0) / 1000, job.worker.as_deref().unwrap_or_default());
        let message = format!("fold {} has stood still for {seconds} s on {worker}", job.fold);
        decision.add(Effect::MarkStalled { lease });
        decision.log(EventName::Stalled, Some(lease.job), message);
        Ok(decision.effects())
    };
    match coordinator.change(id, Box::new(decide)).await {
        Ok(_) => tracing::warn!("job {} of {id} makes no progress", lease.job),
        Err(Error::StaleAttempt(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Forgets workers that left long ago.
///
/// # Errors
/// If the database fails.
pub async fn forget_workers(coordinator: &Coordinator) -> Result<(), Error> {
    let names = coordinator.queue.forget_workers(coordinator.now().minus_seconds(FORGOTTEN_AFTER_SECONDS)).await?;
    if !names.is_empty() {
        tracing::info!("workers that were not heard of for a day are forgotten: {}", names.join(", "));
    }
    Ok(())
}

/// Deletes artifacts that nothing refers to and nobody has wanted for a while.
///
/// # Errors
/// If the database or the disk fails.
pub async fn clean(coordinator: &Coordinator) -> Result<(), Error> {
    delete_unreferenced(coordinator, coordinator.now().minus_seconds(coordinator.settings.unreferenced_seconds)).await
}

/// Deletes artifacts that nothing refers to and nobody wanted since `since`. The row goes first: a file without a row only
/// takes space.
async fn delete_unreferenced(coordinator: &Coordinator, since: Timestamp) -> Result<(), Error> {
    for digest in coordinator.queue.unreferenced(since).await? {
        // An upload of the same bytes comes before this or after it. One that is under way needs the blob.
        let Ok(claim) = coordinator.claims.claim(digest) else { continue };
        if coordinator.queue.forget_artifact(digest, since).await? {
            coordinator.blobs.delete(&claim).await?;
        }
    }
    Ok(())
}
