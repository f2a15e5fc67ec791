//! What happens without being asked: leases run out, results are made, uploads that nothing names are deleted.

use std::time::Duration;

use fivefold_common::job::FailureCause;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{artifacts, ending, lease, stalled};
use crate::results;
use crate::services::Coordinator;

const SWEEP: Duration = Duration::from_millis(500);
/// An upload is named soon after it ended; one that was not within this time will not be.
const UNNAMED_SECONDS: i64 = 3600;
const SWEEPS_PER_CLEANING: u32 = 240;

/// Runs until the coordinator stops. A failure is logged and tried again.
pub async fn run(coordinator: Coordinator) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps: u32 = 0;
    let mut last_problem = String::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = coordinator.stopping.cancelled() => return,
        }
        let mut swept = sweep(&coordinator).await;
        if swept.is_ok() && sweeps.is_multiple_of(SWEEPS_PER_CLEANING) {
            swept = clean(&coordinator).await;
        }
        sweeps = sweeps.wrapping_add(1);
        let problem = swept.err().map(|error| error.to_string()).unwrap_or_default();
        if !problem.is_empty() && problem != last_problem {
            tracing::error!("upkeep: {problem}; it is tried again");
        }
        last_problem = problem;
    }
}

async fn sweep(coordinator: &Coordinator) -> Result<(), Error> {
    let expired = lease::expired(coordinator.database.readers(), Timestamp::now()).await?;
    for (job, attempt) in expired {
        let ended = coordinator
            .database
            .write(move |c| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    // It may have been renewed since.
                    if !lease::is_expired(&mut *c, now, job, attempt).await? {
                        return Ok(());
                    }
                    ending::fail(c, now, (job, attempt), FailureCause::WorkerLost, "").await.map(|_| ())
                })
            })
            .await;
        match ended {
            Err(Error::StaleAttempt { .. }) | Ok(()) => {
                tracing::warn!("the lease of job {job}, attempt {attempt}, ran out")
            }
            Err(error) => return Err(error),
        }
    }
    if coordinator.stall_seconds > 0 {
        take_back_stalled(coordinator).await?;
    }
    results::advance_all(&coordinator.database, &coordinator.store).await
}

/// Marks jobs that have stood still for a quarter of the limit, and ends the attempts that have for all of it.
async fn take_back_stalled(coordinator: &Coordinator) -> Result<(), Error> {
    let now = Timestamp::now();
    let limit_ms = i64::from(coordinator.stall_seconds) * 1000;
    let (quarter, whole) = (Timestamp(now.0 - limit_ms / 4), Timestamp(now.0 - limit_ms));
    if stalled::any_unmarked(coordinator.database.readers(), quarter).await? {
        coordinator.database.write(move |c| Box::pin(async move { stalled::mark(c, now, quarter).await })).await?;
    }
    for (job, attempt) in stalled::overdue(coordinator.database.readers(), whole).await? {
        let message = format!("no step for {} s", coordinator.stall_seconds);
        let ended = coordinator
            .database
            .write(move |c| {
                Box::pin(async move { ending::fail(c, now, (job, attempt), FailureCause::Stalled, &message).await })
            })
            .await;
        match ended {
            Ok(_) => tracing::warn!("job {job}, attempt {attempt}, stood still and is taken back"),
            Err(Error::StaleAttempt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Deletes what workers uploaded and nothing names. The row goes first: a file without a row is only unused space.
async fn clean(coordinator: &Coordinator) -> Result<(), Error> {
    let before = Timestamp(Timestamp::now().0 - UNNAMED_SECONDS * 1000);
    for digest in artifacts::unnamed(coordinator.database.readers(), before).await? {
        // Held until the file is gone: an upload of the same bytes comes before it, or after it. One that is under way wants it.
        let Ok(claim) = coordinator.store.claim(digest) else { continue };
        let forgotten = coordinator
            .database
            .write(move |c| Box::pin(async move { artifacts::forget(c, digest, before).await }))
            .await?;
        if forgotten {
            coordinator.store.delete(&claim).await?;
        }
    }
    Ok(())
}
