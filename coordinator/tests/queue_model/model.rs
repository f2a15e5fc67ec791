//! The queue in memory: what it should hold after each operation.

use std::collections::HashMap;

use fivefold_common::ids::{Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, JobEvent, JobState, RetryDecision, next, retry_decision};
use fivefold_common::job_set::JobSetState;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::clock::Timestamp;

use crate::WORKERS;
use crate::rig::csv;

#[derive(Debug, Clone)]
pub(crate) struct ModelJob {
    pub(crate) id: JobId,
    pub(crate) set: usize,
    pub(crate) fold: Fold,
    pub(crate) state: JobState,
    pub(crate) attempt: u32,
    pub(crate) worker: String,
    pub(crate) request: String,
    pub(crate) expires_ms: i64,
    pub(crate) not_before_ms: i64,
    pub(crate) failures: HashMap<FailureCause, u32>,
    pub(crate) failed_on: Vec<String>,
    /// Its table, and the digest of that.
    pub(crate) result: Option<(ScoreTable, Digest)>,
}

impl ModelJob {
    /// Moves by the one table of what may follow what.
    pub(crate) fn on(&mut self, event: JobEvent) {
        self.state = next(self.state, event).unwrap();
    }

    pub(crate) fn result_digest(&self) -> Option<Digest> {
        self.result.as_ref().map(|(_, digest)| *digest)
    }
}

#[derive(Debug)]
pub(crate) struct ModelSet {
    pub(crate) id: JobSetId,
    pub(crate) state: JobSetState,
    pub(crate) paused: bool,
    /// The folds that it was ended with; `None` for all.
    pub(crate) kept: Option<Vec<Fold>>,
    /// The OOF digest of every fit.
    pub(crate) fits: Vec<Digest>,
    /// Workers that cannot use its images, and since when.
    pub(crate) exclusions: HashMap<String, i64>,
}

impl ModelSet {
    /// Whether a fold leads to the results.
    pub(crate) fn has(&self, fold: Fold) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(&fold))
    }

    pub(crate) fn exclude(&mut self, worker: &str, now: Timestamp) {
        self.exclusions.insert(worker.to_owned(), now.0);
    }
}

pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) spec: JobSetSpec,
    pub(crate) jobs: Vec<ModelJob>,
    pub(crate) sets: Vec<ModelSet>,
    pub(crate) draining: [bool; WORKERS.len()],
    /// When something was last heard of each worker.
    pub(crate) seen_ms: [i64; WORKERS.len()],
    /// Every lease that was given, newest first.
    pub(crate) leases: Vec<LeaseRef>,
    pub(crate) requests: [String; WORKERS.len()],
    pub(crate) request_count: usize,
}

pub(crate) fn is_free(job: &ModelJob, sets: &[ModelSet], now: Timestamp, worker: &str) -> bool {
    let set = &sets[job.set];
    let is_due = job.state == JobState::Queued && job.not_before_ms <= now.0;
    is_due && !set.paused && !set.exclusions.contains_key(worker)
}

/// The waiting jobs of a job set fail when every worker is excluded, for two lease periods, and one was heard of in that time.
pub(crate) fn give_up(model: &mut Model, set: usize, limit_seconds: u32) {
    let before = model.now.minus_seconds(limit_seconds).0;
    let exclusions = &model.sets[set].exclusions;
    let is_stuck = model.seen_ms.iter().any(|seen_ms| *seen_ms >= before)
        && WORKERS.iter().all(|worker| exclusions.contains_key(*worker))
        && exclusions.values().all(|since_ms| *since_ms < before);
    if !is_stuck || model.sets[set].paused {
        return;
    }
    for job in model.jobs.iter_mut().filter(|job| job.set == set && job.state == JobState::Queued) {
        job.on(JobEvent::NoWorkerLeft);
    }
    end_set(model, set);
}

/// The job of a lease, if the lease is held.
pub(crate) fn held(jobs: &mut [ModelJob], lease: LeaseRef) -> Option<&mut ModelJob> {
    jobs.iter_mut()
        .find(|held| held.id == lease.job && held.attempt == lease.attempt.0 && held.state == JobState::Leased)
}

/// What a failure leads to.
pub(crate) fn end_attempt(model: &mut Model, lease: LeaseRef, cause: FailureCause) -> RetryDecision {
    let job = held(&mut model.jobs, lease).unwrap();
    let count = job.failures.entry(cause).or_default();
    *count += 1;
    let decision = retry_decision(&model.spec, cause, *count);
    if !matches!(cause, FailureCause::WorkerLost | FailureCause::Drained) {
        job.failed_on.push(job.worker.clone());
    }
    let worker = std::mem::take(&mut job.worker);
    job.request = String::new();
    if cause == FailureCause::BadData {
        model.sets[job.set].exclude(&worker, model.now);
    }
    match decision {
        RetryDecision::RetryAfter { seconds } => {
            job.on(JobEvent::AttemptFailed);
            job.not_before_ms = model.now.plus_seconds(seconds).0;
        }
        RetryDecision::GiveUp => {
            job.on(JobEvent::LastAttemptFailed);
            job.not_before_ms = model.now.0;
        }
    }
    let set = job.set;
    end_set(model, set);
    decision
}

/// A job set has ended when one of its jobs failed or was cancelled, and none can go on.
pub(crate) fn end_set(model: &mut Model, set: usize) {
    let jobs = model.jobs.iter().filter(|job| job.set == set && model.sets[set].has(job.fold));
    let states: Vec<JobState> = jobs.map(|job| job.state).collect();
    let goes_on = states.iter().any(|state| matches!(state, JobState::Queued | JobState::Leased));
    if model.sets[set].state != JobSetState::Training || goes_on {
        return;
    }
    if states.contains(&JobState::Failed) {
        (model.sets[set].state, model.sets[set].paused) = (JobSetState::Failed, false);
    } else if states.contains(&JobState::Cancelled) {
        (model.sets[set].state, model.sets[set].paused) = (JobSetState::Cancelled, false);
    }
}

/// A job set whose folds are all trained is fitted; folds that it was ended without do not count.
pub(crate) fn fit_model(model: &mut Model, set: usize) {
    let jobs = model.jobs.iter().filter(|job| job.set == set && model.sets[set].has(job.fold));
    let tables: Option<Vec<_>> = jobs.map(|job| job.result.clone()).collect();
    let set = &mut model.sets[set];
    let Some(tables) = tables.filter(|_| set.state == JobSetState::Training) else { return };
    let merged = ScoreTable { class_count: 28, rows: tables.into_iter().flat_map(|(table, _)| table.rows).collect() };
    let oof = Digest::of(&csv(&merged));
    (set.state, set.paused) = (JobSetState::Succeeded, false);
    if !set.fits.contains(&oof) {
        set.fits.push(oof);
    }
}
