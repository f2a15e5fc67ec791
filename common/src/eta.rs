//! The time that jobs still take, from measured speeds.
//!
//! A fold's training takes its remaining epochs times the duration of an epoch: the median of its newest ones, or, before its
//! first one ends, the speed of its batches. Folds that wait are spread over the workers that train the job set now. The
//! scoring that follows the training is not included: how long it takes is known once it runs.

use std::fmt;

use crate::early_stop::EarlyStop;
use crate::job::{JobKind, JobState};
use crate::progress::{EpochReport, Phase, Progress};
use crate::spec::JobSetSpec;

/// What the remaining time of a job is derived from.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPace {
    /// Its kind.
    pub kind: JobKind,
    /// Its state.
    pub state: JobState,
    /// The newest progress of the current attempt.
    pub progress: Option<Progress>,
    /// Its epochs so far.
    pub epochs: EpochPace,
}

/// Epochs of a fold, as far as its remaining time depends on them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EpochPace {
    /// Their number.
    pub completed: u32,
    /// The median duration of the newest ones, in seconds; `None` if it is not known.
    pub seconds: Option<f64>,
    /// The least number of further epochs before the early stop.
    pub left_before_stop: u32,
}

impl EpochPace {
    /// That of all epochs of a fold so far, ascending.
    pub fn of(spec: &JobSetSpec, epochs: &[EpochReport]) -> EpochPace {
        EpochPace {
            completed: epochs.last().map_or(0, |epoch| epoch.metrics.epoch + 1),
            seconds: median(epochs.iter().rev().take(NEWEST_EPOCHS).map(|epoch| epoch.duration_seconds)),
            left_before_stop: EarlyStop::after(spec, epochs).least_epochs_left(),
        }
    }
}

/// A remaining time. `Display` gives `about 40 min` or `at most 40 min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta {
    /// The time, in seconds.
    pub seconds: f64,
    /// How sure it is.
    pub certainty: Certainty,
}

/// How sure a remaining time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Unless the speed changes.
    About,
    /// Less if the training stops early, or if the validation is short.
    AtMost,
}

/// Remaining times; `None` where nothing is measured yet, or nothing remains.
#[derive(Debug, Clone, PartialEq)]
pub struct Remaining {
    /// Of each job: to the end of its training, or of its scoring once that runs.
    pub jobs: Vec<Option<Eta>>,
    /// Of all training, or of all predictions once training is over.
    pub job_set: Option<Eta>,
}

/// The epochs whose median is the duration of the next ones.
const NEWEST_EPOCHS: usize = 5;

/// The remaining time of each of `jobs`, which are those of one job set, and of all together.
pub fn remaining(spec: &JobSetSpec, jobs: &[JobPace]) -> Remaining {
    let own: Vec<Option<Eta>> = jobs.iter().map(|job| running(spec, job, None)).collect();
    let is_training = jobs.iter().any(|job| job.kind == JobKind::Train && job.state.is_unfinished());
    let kind = if is_training { JobKind::Train } else { JobKind::Predict };
    Remaining { jobs: own, job_set: all_together(spec, jobs, kind) }
}

/// The time in which the workers of now finish all jobs of a kind: each worker takes the next waiting job when it has
/// finished one.
fn all_together(spec: &JobSetSpec, jobs: &[JobPace], kind: JobKind) -> Option<Eta> {
    let of_kind = || jobs.iter().filter(|job| job.kind == kind);
    // A fold that nobody has begun takes as long as the others.
    let typical = match kind {
        JobKind::Train => median(of_kind().filter_map(|job| epoch_duration(spec, job).map(|epoch| epoch.seconds))),
        JobKind::Predict => median(of_kind().filter_map(|job| scoring_seconds(spec, job.progress.as_ref()?))),
    }?;
    let mut certainty = Certainty::About;
    let mut workers = Vec::new();
    for job in of_kind().filter(|job| job.state == JobState::Leased) {
        let eta = running(spec, job, Some(typical));
        certainty = certainty.max(eta.map_or(Certainty::About, |eta| eta.certainty));
        workers.push(eta.map_or(0.0, |eta| eta.seconds));
    }
    for job in of_kind().filter(|job| job.state == JobState::Queued) {
        let eta = waiting(spec, job, typical);
        certainty = certainty.max(eta.certainty);
        let next = workers.iter_mut().min_by(|a, b| a.total_cmp(b))?;
        *next += eta.seconds;
    }
    let seconds = workers.into_iter().reduce(f64::max)?;
    Some(Eta { seconds, certainty })
}

/// What remains of a job that a worker holds. `typical_seconds` is the duration of an epoch of other folds, or of the scoring
/// by other folds, for a job without measurements of its own.
fn running(spec: &JobSetSpec, job: &JobPace, typical_seconds: Option<f64>) -> Option<Eta> {
    if job.state != JobState::Leased {
        return None;
    }
    let phase = job.progress.map_or(Phase::Preparing, |progress| progress.phase);
    match (job.kind, phase) {
        (_, Phase::Uploading) => None,
        (_, Phase::Scoring) => {
            let progress = job.progress?;
            let seconds =
                scoring_seconds(spec, &progress).or(typical_seconds.filter(|_| job.kind == JobKind::Predict))?;
            let left = f64::from(progress.step_count.saturating_sub(progress.step));
            Some(Eta { seconds: seconds * left / f64::from(progress.step_count.max(1)), certainty: Certainty::About })
        }
        (JobKind::Predict, _) => typical_seconds.map(|seconds| Eta { seconds, certainty: Certainty::About }),
        (JobKind::Train, Phase::Preparing | Phase::Training | Phase::Validation) => {
            let typical = typical_seconds.map(|seconds| Eta { seconds, certainty: Certainty::About });
            let epoch = epoch_duration(spec, job).or(typical)?;
            let current = job.progress.filter(|progress| progress.epoch().is_some());
            let (whole_epochs, rest) = match current {
                Some(progress) => {
                    (spec.epochs.saturating_sub(progress.epoch + 1), rest_of_epoch(spec, &progress, epoch.seconds))
                }
                None => (spec.epochs.saturating_sub(job.epochs.completed), 0.0),
            };
            let seconds = f64::from(whole_epochs) * epoch.seconds + rest;
            Some(Eta { seconds, certainty: epoch.certainty.max(early_stop(spec, job)) })
        }
    }
}

/// What a queued job takes.
fn waiting(spec: &JobSetSpec, job: &JobPace, typical_seconds: f64) -> Eta {
    match job.kind {
        JobKind::Predict => Eta { seconds: typical_seconds, certainty: Certainty::About },
        JobKind::Train => {
            let epochs = spec.epochs.saturating_sub(job.epochs.completed);
            let seconds = f64::from(epochs) * job.epochs.seconds.unwrap_or(typical_seconds);
            Eta { seconds, certainty: early_stop(spec, job) }
        }
    }
}

/// The duration of an epoch. Before the first one ends, the validation is taken to be as slow as the training and to have all
/// of its batches, which is a bound.
fn epoch_duration(spec: &JobSetSpec, job: &JobPace) -> Option<Eta> {
    if let Some(seconds) = job.epochs.seconds {
        return Some(Eta { seconds, certainty: Certainty::About });
    }
    let progress = job.progress.filter(|progress| progress.phase == Phase::Training)?;
    let batches = f64::from(spec.train_batch_per_epoch) + f64::from(spec.valid_batch_per_epoch);
    Some(Eta { seconds: batches * batch_seconds(spec, &progress)?, certainty: Certainty::AtMost })
}

/// What remains of an epoch that takes `epoch_seconds`.
fn rest_of_epoch(spec: &JobSetSpec, progress: &Progress, epoch_seconds: f64) -> f64 {
    let (step, steps) = (f64::from(progress.step), f64::from(progress.step_count.max(progress.step)));
    let training_batches = f64::from(spec.train_batch_per_epoch);
    let validation_batches = f64::from(spec.valid_batch_per_epoch);
    let rest = match (progress.phase, batch_seconds(spec, progress)) {
        (Phase::Training, Some(seconds)) => epoch_seconds - step * seconds,
        (Phase::Training, None) => epoch_seconds * (1.0 - step / (training_batches + validation_batches)),
        (_, Some(seconds)) => (steps - step) * seconds,
        (_, None) => epoch_seconds * (steps - step) / (training_batches + steps),
    };
    rest.clamp(0.0, epoch_seconds)
}

/// The duration of a whole scoring whose speed is known.
fn scoring_seconds(spec: &JobSetSpec, progress: &Progress) -> Option<f64> {
    (progress.phase == Phase::Scoring).then_some(f64::from(progress.step_count) * batch_seconds(spec, progress)?)
}

/// The duration of a batch at the speed of the newest report.
fn batch_seconds(spec: &JobSetSpec, progress: &Progress) -> Option<f64> {
    (progress.images_per_second > 0.0).then(|| f64::from(spec.batch_size) / progress.images_per_second)
}

/// `AtMost` if the training may end before its last epoch.
fn early_stop(spec: &JobSetSpec, job: &JobPace) -> Certainty {
    if job.epochs.completed.saturating_add(job.epochs.left_before_stop) < spec.epochs {
        Certainty::AtMost
    } else {
        Certainty::About
    }
}

/// The median of positive durations, the lower one of two.
fn median(durations: impl Iterator<Item = f64>) -> Option<f64> {
    let mut durations: Vec<f64> = durations.filter(|seconds| seconds.is_finite() && *seconds > 0.0).collect();
    durations.sort_by(f64::total_cmp);
    durations.get(durations.len().saturating_sub(1) / 2).copied()
}

impl fmt::Display for Eta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = duration_words(self.seconds);
        match self.certainty {
            Certainty::About => write!(f, "about {words}"),
            Certainty::AtMost => write!(f, "at most {words}"),
        }
    }
}

impl Eta {
    /// A short form for narrow columns: `~40 min`, or `<40 min` for a bound.
    pub fn short(self) -> String {
        let sign = match self.certainty {
            Certainty::About => "~",
            Certainty::AtMost => "<",
        };
        format!("{sign}{}", duration_words(self.seconds))
    }
}

/// A duration as people say it, rounded up: `1 min`, `40 min`, `3 h 20 min`, `2 days 5 h`.
pub fn duration_words(seconds: f64) -> String {
    let minutes = (seconds.max(0.0) / 60.0).ceil().max(1.0) as u64;
    let rounded = match minutes {
        0..20 => minutes,
        20..90 => minutes.next_multiple_of(5),
        90..2880 => minutes.next_multiple_of(10),
        _ => minutes.next_multiple_of(60),
    };
    let with_rest = |unit: String, rest: u64, rest_unit: &str| match rest {
        0 => unit,
        rest => format!("{unit} {rest} {rest_unit}"),
    };
    match rounded {
        0..=90 => format!("{rounded} min"),
        91..2880 => with_rest(format!("{} h", rounded / 60), rounded % 60, "min"),
        _ => with_rest(format!("{} days", rounded / 1440), rounded % 1440 / 60, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::EpochMetrics;

    /// 10 epochs of 80 + 20 batches of 10 images; no early stop.
    fn spec() -> JobSetSpec {
        JobSetSpec {
            epochs: 10,
            batch_size: 10,
            train_batch_per_epoch: 80,
            valid_batch_per_epoch: 20,
            early_stop_patience: 10,
            ..JobSetSpec::default()
        }
    }

    fn epochs(durations: &[f64]) -> Vec<EpochReport> {
        let metrics = |epoch: usize| EpochMetrics {
            epoch: epoch as u32,
            train_loss: 1.0,
            valid_loss: 1.0,
            macro_f1: 0.1 * (epoch + 1) as f64,
            threshold: Some(0.5),
            learning_rate: 1e-3,
            objective: None,
        };
        let report = |(epoch, &duration_seconds)| EpochReport { metrics: metrics(epoch), duration_seconds };
        durations.iter().enumerate().map(report).collect()
    }

    fn training(epoch: u32, step: u32, images_per_second: f64) -> Option<Progress> {
        Some(Progress { epoch, step, step_count: 80, images_per_second, ..Progress::start_of(Phase::Training) })
    }

    fn fold(state: JobState, progress: Option<Progress>, durations: &[f64]) -> JobPace {
        fold_of(&spec(), state, progress, &epochs(durations))
    }

    fn fold_of(spec: &JobSetSpec, state: JobState, progress: Option<Progress>, epochs: &[EpochReport]) -> JobPace {
        JobPace { kind: JobKind::Train, state, progress, epochs: EpochPace::of(spec, epochs) }
    }

    fn about(seconds: f64) -> Option<Eta> {
        Some(Eta { seconds, certainty: Certainty::About })
    }

    fn at_most(seconds: f64) -> Option<Eta> {
        Some(Eta { seconds, certainty: Certainty::AtMost })
    }

    #[test]
    fn nothing_is_said_before_anything_is_measured() {
        let starting = fold(JobState::Leased, None, &[]);
        let first_batch = fold(JobState::Leased, training(0, 0, 0.0), &[]);
        let queued = fold(JobState::Queued, None, &[]);
        let silent = remaining(&spec(), &[starting, first_batch, queued]);
        assert_eq!(silent, Remaining { jobs: vec![None; 3], job_set: None });
        assert_eq!(remaining(&spec(), &[]), Remaining { jobs: vec![], job_set: None });
    }

    #[test]
    fn the_first_epoch_is_estimated_from_the_speed_of_its_batches() {
        // 100 batches at 1 s; 40 of them are done.
        let job = fold(JobState::Leased, training(0, 40, 10.0), &[]);
        assert_eq!(remaining(&spec(), &[job]).jobs, [at_most(960.0)]);
    }

    #[test]
    fn later_epochs_take_the_median_of_the_newest_ones() {
        // The first epoch was slow and the fourth was resumed in its middle.
        let durations = [900.0, 100.0, 100.0, 7.0, 100.0, 104.0];
        let job = fold(JobState::Leased, training(6, 40, 10.0), &durations);
        assert_eq!(remaining(&spec(), std::slice::from_ref(&job)).jobs, [about(3.0 * 100.0 + 60.0)]);
        let validating = Progress {
            step: 5,
            step_count: 20,
            images_per_second: 20.0,
            epoch: 6,
            ..Progress::start_of(Phase::Validation)
        };
        let job = JobPace { progress: Some(validating), ..job };
        assert_eq!(remaining(&spec(), std::slice::from_ref(&job)).jobs, [about(300.0 + 7.5)]);
        let unmeasured = Progress { images_per_second: 0.0, ..validating };
        let job = JobPace { progress: Some(unmeasured), ..job };
        assert_eq!(remaining(&spec(), &[job]).jobs, [about(300.0 + 15.0)]);
        // Resumed by another worker: the epochs that are done count before the first batch, too.
        let preparing = fold(JobState::Leased, None, &[100.0; 4]);
        assert_eq!(remaining(&spec(), &[preparing]).jobs, [about(600.0)]);
    }

    #[test]
    fn no_rest_of_an_epoch_is_negative_or_longer_than_the_epoch() {
        let late = fold(JobState::Leased, training(9, 79, 0.1), &[100.0; 9]);
        assert_eq!(remaining(&spec(), &[late]).jobs, [about(0.0)]);
        let odd = Progress { step: 30, step_count: 0, epoch: 9, ..Progress::start_of(Phase::Validation) };
        assert_eq!(remaining(&spec(), &[fold(JobState::Leased, Some(odd), &[100.0; 9])]).jobs, [about(0.0)]);
        let beyond = fold(JobState::Leased, training(40, 0, 0.0), &[100.0; 9]);
        assert_eq!(remaining(&spec(), &[beyond]).jobs, [about(100.0)]);
    }

    #[test]
    fn a_possible_early_stop_makes_it_a_bound() {
        let at = |patience, durations: &[f64]| {
            let spec = JobSetSpec { early_stop_patience: patience, ..spec() };
            let epoch = durations.len() as u32;
            let job = fold_of(&spec, JobState::Leased, training(epoch, 0, 0.0), &epochs(durations));
            remaining(&spec, &[job]).jobs[0].unwrap().certainty
        };
        // Each epoch was better than the one before.
        assert_eq!(at(5, &[100.0; 4]), Certainty::AtMost);
        assert_eq!(at(5, &[100.0; 5]), Certainty::About);
        // Two of three epochs without a rise are over: one more may end it.
        let mut trained = epochs(&[100.0; 7]);
        trained[5].metrics.macro_f1 = 0.1;
        trained[6].metrics.macro_f1 = 0.1;
        let spec = JobSetSpec { early_stop_patience: 3, ..spec() };
        let job = fold_of(&spec, JobState::Leased, training(7, 0, 0.0), &trained);
        assert_eq!(remaining(&spec, &[job]).jobs, [at_most(300.0)]);
    }

    #[test]
    fn waiting_folds_are_spread_over_the_workers_of_now() {
        let running = |epoch| fold(JobState::Leased, training(epoch, 0, 0.0), &vec![100.0; epoch as usize]);
        let queued = || fold(JobState::Queued, None, &[]);
        let done = fold(JobState::Succeeded, None, &[100.0; 10]);
        let eta = |jobs: &[JobPace]| remaining(&spec(), jobs).job_set;
        assert_eq!(eta(&[running(5), running(8), done.clone()]), about(500.0));
        // The second worker takes one waiting fold after 200 s and ends last; then the first one takes the other.
        assert_eq!(eta(&[running(5), running(8), queued(), done.clone()]), about(1200.0));
        assert_eq!(eta(&[running(5), running(8), queued(), queued()]), about(1500.0));
        // A fold that goes on has fewer epochs left; one that nobody measured takes as long as others.
        assert_eq!(eta(&[running(9), fold(JobState::Queued, None, &[100.0; 6])]), about(500.0));
        assert_eq!(eta(&[running(9), fold(JobState::Leased, None, &[])]), about(1000.0));
        // Nobody works on it.
        assert_eq!(eta(&[done.clone(), queued()]), None);
        assert_eq!(eta(&[done]), None);
    }

    #[test]
    fn scoring_and_predictions_take_their_batches() {
        let scoring = |step, images_per_second| {
            Some(Progress { step, step_count: 50, images_per_second, ..Progress::start_of(Phase::Scoring) })
        };
        let trained = fold(JobState::Leased, scoring(20, 5.0), &[100.0; 10]);
        let uploading = fold(JobState::Leased, Some(Progress::start_of(Phase::Uploading)), &[100.0; 10]);
        let etas = remaining(&spec(), &[trained, uploading]);
        assert_eq!(etas, Remaining { jobs: vec![about(60.0), None], job_set: about(60.0) });
        let predict =
            |state, progress| JobPace { kind: JobKind::Predict, state, progress, epochs: EpochPace::default() };
        let done = fold(JobState::Succeeded, None, &[100.0; 10]);
        let etas =
            remaining(&spec(), &[done, predict(JobState::Leased, scoring(20, 5.0)), predict(JobState::Queued, None)]);
        assert_eq!(etas, Remaining { jobs: vec![None, about(60.0), None], job_set: about(160.0) });
    }

    #[test]
    fn durations_are_rounded_up_to_what_people_say() {
        let words =
            [0.0, 61.0, 1199.0, 1201.0, 2400.0, 5400.0, 5401.0, 11_700.0, 14_400.0, 172_740.0, 190_000.0, 259_200.0];
        let words: Vec<String> = words.into_iter().map(duration_words).collect();
        let expected = [
            "1 min",
            "2 min",
            "20 min",
            "25 min",
            "40 min",
            "90 min",
            "1 h 40 min",
            "3 h 20 min",
            "4 h",
            "2 days",
            "2 days 5 h",
            "3 days",
        ];
        assert_eq!(words, expected);
        assert_eq!(
            (about(2400.0).unwrap().short(), at_most(11_700.0).unwrap().short()),
            ("~40 min".into(), "<3 h 20 min".into())
        );
        assert_eq!(about(2400.0).unwrap().to_string(), "about 40 min");
        assert_eq!(at_most(11_700.0).unwrap().to_string(), "at most 3 h 20 min");
    }
}
