//! A job set, with its history and what remains.

use fivefold_common::early_stop::EarlyStop;
use fivefold_common::eta::{Certainty, EpochPace, Eta, JobPace, Remaining, remaining};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::EpochReport;
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{
    epoch_from_wire, job_kind_from_wire, job_set_state_from_wire, job_state_from_wire, spec_from_wire,
};
use fivefold_proto::v1::{EpochMetrics, Job, JobSet};
use jiff::{SignedDuration, ZonedDateTime};

use super::epoch_history::EpochHistory;
use super::job::running_progress;

/// A job set and what is known beyond its message.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) set: &'a JobSet,
    history: &'a EpochHistory,
    /// `None` if only a newer version knows its settings.
    spec: Option<JobSetSpec>,
    remaining: Remaining,
}

impl<'a> View<'a> {
    pub(crate) fn new(set: &'a JobSet, history: &'a EpochHistory) -> Self {
        let pace = |spec: &JobSetSpec, job: &Job| {
            let (kind, state) = (job_kind_from_wire(job.kind).ok()?, job_state_from_wire(job.state).ok()?);
            let epochs: Vec<EpochReport> = history.of(job).iter().map(epoch_from_wire).collect();
            Some(JobPace { kind, state, progress: running_progress(job), epochs: EpochPace::of(spec, &epochs) })
        };
        // Nothing is foretold of kinds, states and settings that only a newer version knows.
        let spec = set.spec.clone().and_then(|spec| spec_from_wire(spec).ok());
        let known = spec.as_ref().and_then(|spec| {
            let jobs: Vec<JobPace> = set.jobs.iter().map(|job| pace(spec, job)).collect::<Option<_>>()?;
            Some(remaining(spec, &jobs))
        });
        let remaining = known.unwrap_or_else(|| Remaining { jobs: vec![None; set.jobs.len()], job_set: None });
        Self { set, history, spec, remaining }
    }

    /// The jobs of a kind, each with its remaining time.
    pub(crate) fn jobs(&self, kind: JobKind) -> impl Iterator<Item = (&'a Job, Option<Eta>)> {
        let jobs = self.set.jobs.iter().zip(self.remaining.jobs.iter().copied());
        jobs.filter(move |(job, _)| job_kind_from_wire(job.kind) == Ok(kind))
    }

    /// The remaining time of a job.
    pub(crate) fn eta_of(&self, job: &Job) -> Option<Eta> {
        let place = self.set.jobs.iter().position(|other| other.id == job.id)?;
        self.remaining.jobs.get(place).copied().flatten()
    }

    /// The remaining time of training, or of the prediction that follows.
    pub(crate) fn eta(&self) -> Option<Eta> {
        self.remaining.job_set
    }

    /// Whether the early stop ended the training of a job. A fold with fewer epochs than the spec has may also be one that was
    /// not extended with others.
    pub(crate) fn has_stopped_early(&self, job: &Job) -> bool {
        let epochs: Vec<EpochReport> = self.history.of(job).iter().map(epoch_from_wire).collect();
        self.spec.as_ref().is_some_and(|spec| EarlyStop::after(spec, &epochs).has_stopped())
    }

    pub(crate) fn epochs(&self, job: &Job) -> &'a [EpochMetrics] {
        self.history.of(job)
    }

    /// What is done and what remains: `2 of 5 folds trained, training ends in about 40 min, at 23:10`. `None` after the end.
    pub(crate) fn summary(&self, now: &ZonedDateTime) -> Option<String> {
        let (kind, done, ends) = match job_set_state_from_wire(self.set.state) {
            Ok(JobSetState::Training) => (JobKind::Train, "trained", "training ends"),
            Ok(JobSetState::Predicting) => (JobKind::Predict, "predicted", "prediction ends"),
            Ok(JobSetState::Succeeded | JobSetState::Failed | JobSetState::Cancelled) | Err(_) => return None,
        };
        let states: Vec<_> = self.jobs(kind).map(|(job, _)| job_state_from_wire(job.state)).collect();
        let done_count = states.iter().filter(|state| **state == Ok(JobState::Succeeded)).count();
        let mut text = format!("{done_count} of {} folds {done}", states.len());
        if let Some(eta) = self.eta() {
            let at = clock(now, eta.seconds).map(|at| format!(", {} {at}", by(eta.certainty))).unwrap_or_default();
            text += &format!(", {ends} in {eta}{at}");
        }
        Some(text)
    }
}

fn by(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::About => "at",
        Certainty::AtMost => "by",
    }
}

/// The local time in `seconds`, with the day of the week if it is another day.
fn clock(now: &ZonedDateTime, seconds: f64) -> Option<String> {
    let at = now.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()?;
    let format = if at.date() == now.date() { "%H:%M" } else { "%H:%M on %a" };
    Some(at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::page::tests::terminal;

    #[test]
    fn another_day_is_named() {
        let now = terminal(80, 24).now;
        assert_eq!(clock(&now, 2400.0).as_deref(), Some("23:10"));
        assert_eq!(clock(&now, 7200.0).as_deref(), Some("00:30 on Mon"));
        assert_eq!(clock(&now, f64::MAX), None);
    }
}
