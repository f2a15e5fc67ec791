//! Jobs.

use fivefold_common::eta::Eta;
use fivefold_common::job::JobState;
use fivefold_common::one_line::one_line;
use fivefold_common::progress::{Progress, epoch_words};
use fivefold_common::spec::Objective;
use fivefold_proto::convert::{
    epoch_from_wire, job_kind_from_wire, job_state_from_wire, objective_from_wire, progress_from_wire,
};
use fivefold_proto::v1::{EpochMetrics, Job, JobSet};

use super::text::word;

/// Kind and fold of a job, such as `train fold 3`.
pub(crate) fn job_name(job: &Job) -> String {
    format!("{} fold {}", word(job_kind_from_wire(job.kind)), job.fold)
}

/// The `epochs` of a job set's spec.
pub(crate) fn epoch_count(set: &JobSet) -> u32 {
    set.spec.as_ref().map_or(0, |spec| spec.epochs)
}

/// The objective of a job set's spec; macro F1 if only a newer version knows it.
pub(crate) fn objective(set: &JobSet) -> Objective {
    let number = set.spec.as_ref().and_then(|spec| spec.objective);
    number.and_then(|number| objective_from_wire(number).ok()).unwrap_or_default()
}

/// What a job is doing, with its loss and its objective, and how long it still takes.
pub(crate) fn job_line(job: &Job, epoch_count: u32, objective: Objective, eta: Option<Eta>) -> String {
    let running = running_progress(job);
    let mut text = match (running, is_leased(job)) {
        (Some(progress), _) => progress.words(epoch_count),
        (None, true) => "starting".to_owned(),
        (None, false) => word(job_state_from_wire(job.state)).to_owned(),
    };
    if let Some(loss) = train_loss(job) {
        text += &format!(", loss {loss:.4}");
    }
    if let Some(best) = best_objective(job, objective) {
        text += &format!(", {} {best:.4}", objective.short_title());
    }
    if let Some(progress) = running {
        if progress.images_per_second > 0.0 {
            text += &format!(", {:.0} images/s", progress.images_per_second);
        }
        if let Some(eta) = eta {
            text += &format!(", {eta} left");
        }
        text += &format!(", {}", one_line(&job.worker_name));
    }
    if !job.state_reason.is_empty() && !is_leased(job) {
        text += &format!(", {}", one_line(&job.state_reason));
    }
    text
}

/// The progress of a job that a worker holds, once the worker has reported it.
pub(crate) fn running_progress(job: &Job) -> Option<Progress> {
    job.progress.filter(|_| is_leased(job)).and_then(|progress| progress_from_wire(progress).ok())
}

/// The epoch that a job is in or, when it is trained, its number of epochs: `3/25`, `9/25 early` if it has stopped early; `None`
/// where there is none.
pub(crate) fn epoch_cell(job: &Job, epoch_count: u32, has_stopped_early: bool) -> Option<String> {
    let newest = job.last_epoch.map(|epoch| epoch.epoch);
    if job_state_from_wire(job.state) == Ok(JobState::Succeeded) {
        let trained = newest?.saturating_add(1);
        let early = if trained < epoch_count && has_stopped_early { " early" } else { "" };
        return Some(format!("{trained}/{epoch_count}{early}"));
    }
    let epoch = running_progress(job).and_then(|progress| progress.epoch()).or(newest)?;
    Some(epoch_words(epoch, epoch_count).trim_start_matches("epoch ").to_owned())
}

fn is_leased(job: &Job) -> bool {
    job_state_from_wire(job.state) == Ok(JobState::Leased)
}

/// The newest training loss.
pub(crate) fn train_loss(job: &Job) -> Option<f64> {
    job.progress.and_then(|progress| progress.loss).or(job.last_epoch.map(|epoch| epoch.train_loss))
}

/// The best value of the objective in validation so far. Before version 0.2 it was macro F1.
pub(crate) fn best_objective(job: &Job, objective: Objective) -> Option<f64> {
    let newest = || job.last_epoch.and_then(|epoch| epoch_objective(&epoch, objective));
    job.best_objective.or(job.best_macro_f1).or_else(newest)
}

/// The value of the objective after an epoch.
pub(crate) fn epoch_objective(epoch: &EpochMetrics, objective: Objective) -> Option<f64> {
    objective.value(&epoch_from_wire(epoch).metrics)
}

#[cfg(test)]
mod tests {
    use fivefold_common::eta::Certainty;
    use fivefold_proto::v1::{JobKind, Phase, Progress, job};

    use super::*;

    fn leased_job() -> Job {
        let progress = Progress {
            phase: Phase::Training.into(),
            epoch: 2,
            step: 120,
            step_count: 800,
            loss: Some(0.12345),
            images_per_second: 151.7,
            ..Progress::default()
        };
        Job {
            id: 7,
            kind: JobKind::Train.into(),
            fold: 3,
            state: job::State::Leased.into(),
            worker_name: "gpu1".into(),
            progress: Some(progress),
            last_epoch: Some(EpochMetrics { valid_macro_f1: 0.456, ..EpochMetrics::default() }),
            ..Job::default()
        }
    }

    #[test]
    fn a_job_fits_on_a_line() {
        let leased = leased_job();
        let eta = Some(Eta { seconds: 2400.0, certainty: Certainty::AtMost });
        assert_eq!(
            job_line(&leased, 25, Objective::MacroF1, eta),
            "epoch 3/25, training 120/800, loss 0.1235, F1 0.4560, 152 images/s, at most 40 min left, gpu1"
        );
        assert_eq!(
            job_line(&Job { progress: None, last_epoch: None, ..leased }, 25, Objective::MacroF1, eta),
            "starting"
        );
        let waiting = Job { state: job::State::Queued.into(), state_reason: "lost".into(), ..Job::default() };
        assert_eq!(job_line(&waiting, 25, Objective::MacroF1, None), "queued, lost");
    }

    #[test]
    fn no_epoch_is_beyond_the_last() {
        let scoring =
            Progress { phase: Phase::Scoring.into(), epoch: 3, step: 1, step_count: 9, ..Progress::default() };
        let last_epoch = Some(EpochMetrics { epoch: 2, ..EpochMetrics::default() });
        let mut job = Job { progress: Some(scoring), last_epoch, best_epoch: Some(1), ..leased_job() };
        assert_eq!(job_line(&job, 3, Objective::MacroF1, None), "scoring 1/9, loss 0.0000, F1 0.0000, gpu1");
        assert_eq!(epoch_cell(&job, 3, false).as_deref(), Some("3/3"));
        job.state = job::State::Succeeded.into();
        assert_eq!(epoch_cell(&job, 3, true).as_deref(), Some("3/3"));
        assert_eq!(job_line(&job, 3, Objective::MacroF1, None), "succeeded, loss 0.0000, F1 0.0000");
        assert_eq!(epoch_cell(&job, 25, true).as_deref(), Some("3/25 early"));
        assert_eq!(epoch_cell(&job, 25, false).as_deref(), Some("3/25"), "other folds are trained for longer");
        job.last_epoch = None;
        assert_eq!(epoch_cell(&job, 3, false), None);
    }
}
