//! Jobs that have their result.

use fivefold_common::early_stop::EarlyStop;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, LeaseRef};
use fivefold_common::job::{JobEvent, JobKind, JobState};
use fivefold_common::progress::EpochReport;
use fivefold_common::spec::{JobSetSpec, ScoredCheckpoint};

use super::decision::Decision;
use super::lists::{Lists, read_folds, read_test_rows};
use super::score_tables::check_scores;
use super::{Coordinator, Count};
use crate::error::Error;
use crate::queue::{Attempted, Effect, JobSet};

/// A result that is uploaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub lease: LeaseRef,
    /// The out-of-fold table or the predictions.
    pub table: Digest,
    /// The checkpoint that made the table; `None` for a predict job.
    pub checkpoint: Option<Digest>,
    /// What the worker says of itself, as JSON.
    pub made_by_json: String,
}

/// Ends a job with its result. A repeated completion is answered like the first.
///
/// # Errors
/// [`Error::StaleAttempt`]; or the result is not held, or does not have exactly the rows of its fold.
pub async fn complete(coordinator: &Coordinator, completion: Completion) -> Result<(), Error> {
    let attempted = coordinator.queue.attempt(completion.lease).await?;
    check(coordinator, &attempted, &completion).await?;
    let complete = move |job_set: &JobSet| accept(job_set, &completion);
    let effects = coordinator.change(&attempted.job_set, Box::new(complete)).await?;
    coordinator.counts.add(Count::CompletedJobs, (!effects.is_empty()).into());
    Ok(())
}

fn accept(job_set: &JobSet, completion: &Completion) -> Result<Vec<Effect>, Error> {
    let Completion { lease, table, checkpoint, ref made_by_json } = *completion;
    let mut decision = Decision::on(job_set);
    let is_repeated = job_set.job(lease.job).is_some_and(|job| {
        let result = job.result.as_ref().map(|result| result.table.digest);
        job.state == JobState::Succeeded && job.attempt == Some(lease.attempt) && result == Some(table)
    });
    if is_repeated {
        return Ok(Vec::new());
    }
    let job = decision.held(lease)?;
    let message = match job.kind {
        JobKind::Train => format!("fold {} is trained", job.fold),
        JobKind::Predict => format!("fold {} is predicted", job.fold),
    };
    let transition = decision.move_job(lease.job, JobEvent::Completed, "")?;
    let made_by_json = made_by_json.clone();
    let keep_last = u32::from(job_set.spec.keep_optimizer);
    let keep_best = if job_set.spec.oof_checkpoint == ScoredCheckpoint::Best { keep_last } else { 0 };
    decision.add(Effect::Complete { lease, transition, table, checkpoint, made_by_json, keep_last, keep_best });
    decision.log(EventName::Succeeded, Some(lease.job), message);
    // Others may have failed or been cancelled before.
    decision.end_if_nothing_is_left();
    Ok(decision.effects())
}

/// Refuses a fold whose epochs ended before those of the spec without an early stop: its worker did not know of an extension.
fn check_epochs(spec: &JobSetSpec, epochs: &[EpochReport]) -> Result<(), Error> {
    let Some(last) = epochs.last() else { return Ok(()) };
    let trained = last.metrics.epoch.saturating_add(1);
    if trained >= spec.epochs || EarlyStop::after(spec, epochs).has_stopped() {
        return Ok(());
    }
    let problem = format!("it has {trained} of {} epochs, and no early stop ended it there", spec.epochs);
    Err(Error::bad_field("result", problem))
}

/// Refuses a result that is not held, or does not have exactly the rows of its fold.
async fn check(coordinator: &Coordinator, attempted: &Attempted, completion: &Completion) -> Result<(), Error> {
    if !matches!(attempted.state, JobState::Leased | JobState::Succeeded) {
        return Err(Error::StaleAttempt(completion.lease));
    }
    for digest in [Some(completion.table), completion.checkpoint].into_iter().flatten() {
        if coordinator.queue.artifact_size(digest).await?.is_none() {
            return Err(Error::NotFound { what: "artifact", name: format!("{digest}: upload it first") });
        }
    }
    let (blobs, inputs) = (&*coordinator.blobs, &attempted.inputs);
    let expected = match attempted.kind {
        JobKind::Train => {
            if completion.checkpoint.is_none() {
                return Err(Error::bad_field("checkpoint", "a train job names the one that made its result"));
            }
            check_epochs(&attempted.spec, &coordinator.queue.epochs(completion.lease.job).await?)?;
            let lists = Lists::read(blobs, &attempted.spec, inputs.train, inputs.hpa).await?;
            let folds = read_folds(blobs, inputs.folds).await?;
            lists.fold_rows(&attempted.spec, attempted.fold, &folds)?.valid
        }
        JobKind::Predict => {
            let test = inputs.test.ok_or_else(|| Error::Stored(format!("{} has no test list", attempted.job_set)))?;
            read_test_rows(blobs, &attempted.spec, test).await?
        }
    };
    let class_count = attempted.spec.class_count();
    check_scores(coordinator, completion.table, class_count, attempted.fold, expected).await
}

#[cfg(test)]
mod tests {
    use fivefold_common::progress::EpochMetrics;

    use super::*;

    #[test]
    fn a_fold_has_its_epochs_unless_it_stopped_early() {
        let spec = JobSetSpec { epochs: 5, early_stop_patience: 2, ..JobSetSpec::default() };
        let report = |(epoch, &macro_f1): (u32, &f64)| {
            let (train_loss, valid_loss, threshold, learning_rate) = (0.1, 0.1, Some(0.5), 1e-3);
            let metrics =
                EpochMetrics { epoch, train_loss, valid_loss, macro_f1, threshold, learning_rate, objective: None };
            EpochReport { metrics, duration_seconds: 1.0 }
        };
        let checked = |scores: &[f64]| check_epochs(&spec, &(0..).zip(scores).map(report).collect::<Vec<_>>());
        for scores in [&[0.1, 0.2, 0.3, 0.4, 0.5][..], &[0.2, 0.1, 0.1], &[]] {
            assert!(checked(scores).is_ok(), "{scores:?}");
        }
        let refused = checked(&[0.1, 0.2, 0.3]).unwrap_err().to_string();
        assert!(refused.contains("3 of 5 epochs"), "{refused}");
    }
}
