//! How far a fold and a job set are.

use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;

use crate::queue::{Job, JobSet};

/// How far a job is, from 0 to 1.
pub(super) fn of_job(job: &Job, epoch_count: u32) -> f64 {
    if job.state == JobState::Succeeded {
        return 1.0;
    }
    let finished_epochs = job.last_epoch.map_or(0, |last| last.metrics.epoch + 1);
    job.progress.map_or(0.0, |progress| progress.share_of_job(job.kind, finished_epochs, epoch_count))
}

/// How far a job set is, from 0 to 1: the mean of its folds. The prediction of a test list counts from the fit on.
pub(super) fn of_job_set(job_set: &JobSet) -> f64 {
    let count = job_set.jobs.len().max(1) as f64;
    job_set.jobs.iter().map(|job| of_job(job, job_set.spec.epochs)).sum::<f64>() / count
}

/// What is next to end.
pub(super) fn ending(job_set: &JobSet) -> &'static str {
    match job_set.state {
        JobSetState::Predicting => "prediction ends",
        _ => "training ends",
    }
}

/// Where a job is, in words.
pub(super) fn words(job: &Job, epoch_count: u32) -> String {
    match (&job.progress, job.kind, job.state) {
        (Some(progress), _, JobState::Leased) => progress.words(epoch_count),
        (_, JobKind::Train, _) => trained_epochs(job, epoch_count),
        (_, JobKind::Predict, _) => String::new(),
    }
}

fn trained_epochs(job: &Job, epoch_count: u32) -> String {
    let Some(last) = job.last_epoch else { return String::new() };
    format!("{}/{epoch_count} epochs", last.metrics.epoch + 1)
}
