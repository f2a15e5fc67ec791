//! Workers that cannot use the images of a job set get none of its jobs. Their images are mended by a person, who then starts them
//! again.

use fivefold_common::event::EventName;
use fivefold_common::ids::JobSetId;
use fivefold_common::job::{JobEvent, JobState};

use super::Coordinator;
use super::decision::Decision;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Effect, JobSet};

/// How long a job set whose every worker is excluded waits for another one, in lease periods.
const PERIODS: u32 = 2;

/// What a job waits for, after its failure on a worker.
pub(super) fn waiting_for(job_set: &JobSet, worker: &str) -> String {
    let others = job_set.exclusions.iter().map(|exclusion| exclusion.worker.as_str()).filter(|other| *other != worker);
    let names: Vec<&str> = std::iter::once(worker).chain(others).collect();
    format!("waiting for another worker than {}, or a restart with mended images", names.join(", "))
}

/// Ends the waiting jobs of job sets that every known worker is excluded from.
pub(super) async fn give_up(coordinator: &Coordinator) -> Result<(), Error> {
    let seconds = coordinator.settings.lease_seconds.saturating_mul(PERIODS);
    let before = coordinator.now().minus_seconds(seconds);
    for id in coordinator.queue.without_a_worker(before).await? {
        give_up_on(coordinator, &id, before).await?;
    }
    Ok(())
}

async fn give_up_on(coordinator: &Coordinator, id: &JobSetId, before: Timestamp) -> Result<(), Error> {
    let decide = move |job_set: &JobSet| decide_give_up(job_set, before);
    if !coordinator.change(id, Box::new(decide)).await?.is_empty() {
        tracing::warn!("no worker can use the images of {id}: its waiting folds have failed");
    }
    Ok(())
}

fn decide_give_up(job_set: &JobSet, before: Timestamp) -> Result<Vec<Effect>, Error> {
    let mut decision = Decision::on(job_set);
    // A worker may have come back since it was looked for.
    let is_over = job_set.exclusions.iter().all(|exclusion| exclusion.since < before);
    let Some(exclusion) = job_set.exclusions.first().filter(|_| is_over && !job_set.paused) else {
        return Ok(Vec::new());
    };
    let others = match job_set.exclusions.len() - 1 {
        0 => String::new(),
        1 => ", and 1 more worker".to_owned(),
        count => format!(", and {count} more workers"),
    };
    let reason = format!(
        "no connected worker can use the images: {} (on {}{others}); mend them, then `fivefold retry {}`",
        exclusion.message, exclusion.worker, job_set.id
    );
    for job in job_set.jobs.iter().filter(|job| job.state == JobState::Queued) {
        let transition = decision.move_job(job.id, JobEvent::NoWorkerLeft, &reason)?;
        decision.add(Effect::GiveUp { job: job.id, transition, reason: reason.clone() });
        let message = format!("fold {} ({}) failed: {reason}", job.fold, job.kind);
        decision.log(EventName::BadData, Some(job.id), message);
    }
    decision.end_if_nothing_is_left();
    Ok(decision.effects())
}
