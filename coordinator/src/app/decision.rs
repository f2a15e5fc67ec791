//! The changes of one job set under consideration.

use fivefold_common::event::EventName;
use fivefold_common::ids::{JobId, LeaseRef};
use fivefold_common::job::{JobEvent, JobState, Transition};
use fivefold_common::job_set::JobSetState;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Effect, Job, JobSet, NewEvent};

/// A job set as it will be, and the effects that lead there.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) job_set: JobSet,
    effects: Vec<Effect>,
}

impl Decision {
    pub(super) fn on(job_set: &JobSet) -> Self {
        Self { job_set: job_set.clone(), effects: Vec::new() }
    }

    pub(super) fn effects(self) -> Vec<Effect> {
        self.effects
    }

    pub(super) fn add(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn log(&mut self, name: EventName, job: Option<JobId>, message: impl Into<String>) {
        self.add(Effect::Log(NewEvent { name, job, message: message.into() }));
    }

    /// The job whose current lease this is.
    pub(super) fn held(&self, lease: LeaseRef) -> Result<&Job, Error> {
        self.job_set.job(lease.job).filter(|job| job.holds(lease)).ok_or(Error::StaleAttempt(lease))
    }

    /// Moves a job to the state that follows from an event. Every state change of a job, its lease aside, is decided here.
    pub(super) fn move_job(&mut self, id: JobId, event: JobEvent, reason: &str) -> Result<Transition, Error> {
        let job = self.job_set.jobs.iter_mut().find(|job| job.id == id);
        let job = job.ok_or_else(|| Error::NotFound { what: "job", name: id.to_string() })?;
        let transition = job
            .state
            .on(event)
            .ok_or_else(|| Error::WrongState(format!("job {id} is {}: {event:?} is not possible", job.state)))?;
        job.state = transition.to();
        reason.clone_into(&mut job.state_reason);
        Ok(transition)
    }

    pub(super) fn set_state(&mut self, state: JobSetState, reason: impl Into<String>) {
        let reason = reason.into();
        (self.job_set.state, self.job_set.state_reason) = (state, reason.clone());
        self.add(Effect::SetState { state, reason });
        if state.has_ended() {
            self.set_paused(false);
            self.set_pause_at(None);
        }
    }

    /// Lets every worker take jobs of the job set again, when a user lets it go on: images may have been mended since.
    pub(super) fn lift_exclusions(&mut self) {
        if !self.job_set.exclusions.is_empty() {
            self.job_set.exclusions.clear();
            self.add(Effect::LiftExclusions);
        }
    }

    /// Lets the job set go on in an unfinished state. If it had ended, every worker may take its jobs again.
    pub(super) fn reopen(&mut self, state: JobSetState) {
        if self.job_set.state.has_ended() {
            self.lift_exclusions();
        }
        self.set_state(state, "");
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        if self.job_set.paused != paused {
            self.job_set.paused = paused;
            self.add(Effect::SetPaused { paused });
        }
    }

    pub(super) fn set_pause_at(&mut self, at: Option<Timestamp>) {
        if self.job_set.pause_at != at {
            self.job_set.pause_at = at;
            self.add(Effect::SetPauseAt { at });
        }
    }

    /// Ends the job set if a job of it failed or was cancelled, and none is queued or leased. Folds that it was ended without do
    /// not count.
    pub(super) fn end_if_nothing_is_left(&mut self) {
        let job_set = &self.job_set;
        let jobs = || job_set.jobs.iter().filter(|job| job_set.folds_of(job.kind).contains(job.fold));
        if job_set.state.has_ended() || jobs().any(|job| job.state.is_unfinished()) {
            return;
        }
        if let Some(failed) = jobs().find(|job| job.state == JobState::Failed) {
            let reason = format!("fold {}: {}", failed.fold, failed.state_reason);
            self.set_state(JobSetState::Failed, reason);
            let message = "the job set failed: a fold failed for good, `fivefold retry` tries it again";
            self.log(EventName::Failed, None, message);
        } else if jobs().any(|job| job.state == JobState::Cancelled) {
            self.set_state(JobSetState::Cancelled, "its other folds were cancelled by a user");
            let message = "the job set ended: its other folds were cancelled, `fivefold retry` queues them again";
            self.log(EventName::Cancelled, None, message);
        }
    }
}
