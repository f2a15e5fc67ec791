//! How far a fold and a job set are.

use fivefold_common::job::{JobKind, JobState};
use fivefold_common::progress::Phase;

use crate::queue::{Job, JobSet};

/// The part of a train job that its epochs are; the rest is the scoring of the out-of-fold rows.
const EPOCHS_PART: f64 = 0.95;
/// The part of an epoch that its training batches are; the rest is validation.
const TRAINING_PART: f64 = 0.85;

/// How far a job is, from 0 to 1.
pub(super) fn of_job(job: &Job, epoch_count: u32) -> f64 {
    if job.state == JobState::Succeeded {
        return 1.0;
    }
    let Some(progress) = &job.progress else { return 0.0 };
    let steps = f64::from(progress.step) / f64::from(progress.step_count.max(1));
    let done = match (job.kind, progress.phase) {
        (_, Phase::Preparing) => finished_epochs(job, epoch_count) * EPOCHS_PART,
        (JobKind::Predict, Phase::Scoring) => steps,
        (_, Phase::Scoring) => EPOCHS_PART + (1.0 - EPOCHS_PART) * steps,
        (_, Phase::Uploading) => 1.0,
        (_, Phase::Training) => EPOCHS_PART * epochs(progress.epoch, TRAINING_PART * steps, epoch_count),
        (_, Phase::Validation) => {
            EPOCHS_PART * epochs(progress.epoch, TRAINING_PART + (1.0 - TRAINING_PART) * steps, epoch_count)
        }
    };
    done.clamp(0.0, 1.0)
}

fn epochs(epoch: u32, of_epoch: f64, epoch_count: u32) -> f64 {
    (f64::from(epoch) + of_epoch) / f64::from(epoch_count.max(1))
}

fn finished_epochs(job: &Job, epoch_count: u32) -> f64 {
    job.last_epoch.map_or(0.0, |last| epochs(last.metrics.epoch + 1, 0.0, epoch_count))
}

/// How far a job set is, from 0 to 1: the mean of its folds. The prediction of a test list counts from the fit on.
pub(super) fn of_job_set(job_set: &JobSet) -> f64 {
    let count = job_set.jobs.len().max(1) as f64;
    job_set.jobs.iter().map(|job| of_job(job, job_set.spec.epochs)).sum::<f64>() / count
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
