//! Jobs.

use fivefold_common::job::JobState;
use fivefold_common::one_line::one_line;
use fivefold_common::progress::{Progress, epoch_words};
use fivefold_proto::convert::{job_kind_from_wire, job_state_from_wire, progress_from_wire};
use fivefold_proto::v1::{Job, JobSet};

use super::table::{NOTHING, number, table};
use super::text::{time, word};

/// Kind and fold of a job, such as `train fold 3`.
pub(crate) fn job_name(job: &Job) -> String {
    format!("{} fold {}", word(job_kind_from_wire(job.kind)), job.fold)
}

/// The `epochs` of a job set's spec.
pub(crate) fn epoch_count(set: &JobSet) -> u32 {
    set.spec.as_ref().map_or(0, |spec| spec.epochs)
}

/// What a job is doing, with its loss and F1.
pub(crate) fn job_line(job: &Job, epoch_count: u32) -> String {
    let running = running_progress(job);
    let mut text = match (running, is_leased(job)) {
        (Some(progress), _) => progress.words(epoch_count),
        (None, true) => "starting".to_owned(),
        (None, false) => word(job_state_from_wire(job.state)).to_owned(),
    };
    if let Some(loss) = train_loss(job) {
        text += &format!(", loss {loss:.4}");
    }
    if let Some(f1) = best_f1(job) {
        text += &format!(", F1 {f1:.4}");
    }
    if let Some(progress) = running {
        if progress.images_per_second > 0.0 {
            text += &format!(", {:.0} images/s", progress.images_per_second);
        }
        text += &format!(", {}", one_line(&job.worker_name));
    }
    if !job.state_reason.is_empty() && !is_leased(job) {
        text += &format!(", {}", one_line(&job.state_reason));
    }
    text
}

/// Completed and total steps of a job's phase.
pub(crate) fn job_steps(job: &Job) -> (u64, u64) {
    match (job_state_from_wire(job.state), running_progress(job)) {
        (Ok(JobState::Succeeded), _) => (1, 1),
        (_, Some(progress)) => (u64::from(progress.step), u64::from(progress.step_count.max(1))),
        _ => (0, 1),
    }
}

/// The progress of a job that a worker holds, once the worker has reported it.
pub(crate) fn running_progress(job: &Job) -> Option<Progress> {
    job.progress.filter(|_| is_leased(job)).and_then(|progress| progress_from_wire(progress).ok())
}

/// The epoch that a job is in, or after its end the best one, as in `best 3/25`; `None` where there is none.
fn epoch_cell(job: &Job, epoch_count: u32) -> Option<String> {
    let number = |epoch| epoch_words(epoch, epoch_count).trim_start_matches("epoch ").to_owned();
    if is_leased(job) {
        let newest = running_progress(job).and_then(|progress| progress.epoch());
        return newest.or(job.last_epoch.map(|epoch| epoch.epoch)).map(number);
    }
    job.best_epoch.map(|best| format!("best {}", number(best)))
}

pub(crate) fn job_table(set: &JobSet) -> String {
    let header = ["JOB", "FOLD", "STATE", "ATTEMPT", "WORKER", "PHASE", "EPOCH", "STEP", "LOSS", "F1", "REASON"];
    let epoch_count = epoch_count(set);
    table(header, &set.jobs.iter().map(|job| job_row(job, epoch_count)).collect::<Vec<_>>())
}

fn job_row(job: &Job, epoch_count: u32) -> [String; 11] {
    let running = running_progress(job);
    let reason = match job.stalled_since_time {
        Some(since) => format!("no progress since {}", time(since)),
        None => one_line(&job.state_reason).into_owned(),
    };
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    [
        word(job_kind_from_wire(job.kind)).to_owned(),
        job.fold.to_string(),
        word(job_state_from_wire(job.state)).to_owned(),
        job.attempt.to_string(),
        or_nothing((!job.worker_name.is_empty()).then(|| one_line(&job.worker_name).into_owned())),
        or_nothing(running.map(|progress| progress.phase.word().to_owned())),
        or_nothing(epoch_cell(job, epoch_count)),
        or_nothing(running.map(|progress| format!("{}/{}", progress.step, progress.step_count))),
        number(train_loss(job), 4),
        number(best_f1(job), 4),
        reason,
    ]
}

fn is_leased(job: &Job) -> bool {
    job_state_from_wire(job.state) == Ok(JobState::Leased)
}

/// The newest training loss.
fn train_loss(job: &Job) -> Option<f64> {
    job.progress.and_then(|progress| progress.loss).or(job.last_epoch.map(|epoch| epoch.train_loss))
}

/// The best validation macro F1 so far.
fn best_f1(job: &Job) -> Option<f64> {
    job.best_macro_f1.or(job.last_epoch.map(|epoch| epoch.valid_macro_f1))
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{EpochMetrics, JobKind, JobSetSpec, Phase, Progress, job};

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
        assert_eq!(job_line(&leased, 25), "epoch 3/25, training 120/800, loss 0.1235, F1 0.4560, 152 images/s, gpu1");
        assert_eq!(job_steps(&leased), (120, 800));
        assert_eq!(job_line(&Job { progress: None, last_epoch: None, ..leased }, 25), "starting");
        let waiting = Job { state: job::State::Queued.into(), state_reason: "lost".into(), ..Job::default() };
        assert_eq!(job_line(&waiting, 25), "queued, lost");
        assert_eq!(job_steps(&waiting), (0, 1));
    }

    #[test]
    fn jobs_make_a_table() {
        let progress = Progress {
            phase: Phase::Training.into(),
            epoch: 2,
            step: 5,
            step_count: 800,
            loss: Some(0.25),
            ..Progress::default()
        };
        let leased = Job {
            id: 1,
            kind: JobKind::Train.into(),
            fold: 3,
            state: job::State::Leased.into(),
            attempt: 2,
            worker_name: "gpu1/cuda:0\u{1b}[2J".into(),
            progress: Some(progress),
            best_macro_f1: Some(0.5),
            ..Job::default()
        };
        let waiting = Job {
            kind: JobKind::Predict.into(),
            state: job::State::Queued.into(),
            state_reason: "lost\nagain".into(),
            ..Job::default()
        };
        let spec = JobSetSpec { epochs: 25, ..JobSetSpec::default() };
        let text = job_table(&JobSet { jobs: vec![leased, waiting], spec: Some(spec), ..JobSet::default() });
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["train", "3", "leased", "2", r"gpu1/cuda:0\u{1b}[2J", "training", "3/25", "5/800", "0.2500", "0.5000"]
        );
        assert_eq!(lines[2], ["predict", "0", "queued", "0", "-", "-", "-", "-", "-", "-", r"lost\nagain"]);
    }

    #[test]
    fn no_epoch_is_beyond_the_last() {
        let scoring =
            Progress { phase: Phase::Scoring.into(), epoch: 3, step: 1, step_count: 9, ..Progress::default() };
        let last_epoch = Some(EpochMetrics { epoch: 2, ..EpochMetrics::default() });
        let mut job = Job { progress: Some(scoring), last_epoch, best_epoch: Some(1), ..leased_job() };
        assert_eq!(job_line(&job, 3), "scoring 1/9, loss 0.0000, F1 0.0000, gpu1");
        assert_eq!(epoch_cell(&job, 3).as_deref(), Some("3/3"));
        job.state = job::State::Succeeded.into();
        assert_eq!(epoch_cell(&job, 3).as_deref(), Some("best 2/3"));
        job.best_epoch = None;
        assert_eq!(epoch_cell(&job, 3), None);
    }
}
