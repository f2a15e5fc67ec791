//! Job sets and jobs as the queue holds them.

use std::collections::BTreeMap;

use fivefold_common::artifact::Artifact;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::{EpochReport, Progress};
use fivefold_common::spec::JobSetSpec;

use crate::clock::Timestamp;

/// The place of a job set in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionNumber(pub i64);

/// One submission of N folds.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSet {
    pub number: SubmissionNumber,
    pub id: JobSetId,
    pub spec: JobSetSpec,
    pub inputs: Inputs,
    pub state: JobSetState,
    /// Why it failed or was cancelled, as a sentence; empty otherwise.
    pub state_reason: String,
    /// Its jobs are not leased, and workers return the ones that they hold.
    pub paused: bool,
    /// When it is to be paused.
    pub pause_at: Option<Timestamp>,
    /// The job set whose models its folds begin from. It may have been deleted since.
    pub warm_start_of: Option<JobSetId>,
    /// The folds that a user ended it with; `None` for all of its folds.
    pub kept_folds: Option<FoldSet>,
    /// The folds that predict the test list; `None` for all of the fit.
    pub predict_folds: Option<FoldSet>,
    /// Train jobs by fold, then predict jobs by fold.
    pub jobs: Vec<Job>,
    /// The fit of the present out-of-fold tables; `None` while folds are trained.
    pub fit: Option<Fit>,
    /// Every fit so far, oldest first.
    pub fits: Vec<FitRecord>,
    /// Every submission so far, oldest first.
    pub submissions: Vec<SubmissionRecord>,
    /// Workers that get none of its jobs, by the beginning of their exclusion.
    pub exclusions: Vec<Exclusion>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl JobSet {
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    pub fn jobs_of(&self, kind: JobKind) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |job| job.kind == kind)
    }

    /// The folds whose jobs of a kind lead to the results.
    pub fn folds_of(&self, kind: JobKind) -> FoldSet {
        let trained = self.kept_folds.unwrap_or_else(|| self.spec.fold_set());
        match kind {
            JobKind::Train => trained,
            JobKind::Predict => self.predict_folds.unwrap_or(trained),
        }
    }

    /// The fit that its results are from after its end: the present one or, if it was cancelled or failed while folds were
    /// trained again, the last one before, unless more folds are trained than that has.
    pub fn fit_at_end(&self) -> Option<&FitRecord> {
        let present = self.fit.map(|fit| fit.oof.digest);
        if let Some(oof) = present {
            return self.fits.iter().find(|record| record.fit.oof.digest == oof);
        }
        let last = self.fits.last().filter(|_| self.state.has_ended())?;
        (last.fit.folds.len() >= self.trained_folds().len()).then_some(last)
    }

    /// The folds that have been trained.
    pub fn trained_folds(&self) -> FoldSet {
        self.jobs_of(JobKind::Train).filter(|job| job.state == JobState::Succeeded).map(|job| job.fold).collect()
    }
}

/// A worker that cannot use the images of a job set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    pub worker: String,
    /// Why, in its words.
    pub message: String,
    /// When it began, or the coordinator was started again since.
    pub since: Timestamp,
}

/// What a user calls a job set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedJobSet {
    pub id: JobSetId,
    /// May be empty.
    pub name: String,
}

/// The artifacts that a job set is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    pub train: Digest,
    pub hpa: Option<Digest>,
    pub test: Option<Digest>,
    /// Initial weights of all folds.
    pub weights: Option<Digest>,
    /// The fold of every row, made by the coordinator.
    pub folds: Digest,
    /// The index of pushed images; `None` where each worker has the images in a folder.
    pub images: Option<Digest>,
}

/// Models of another job set that folds begin from, each from that of the same fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmStart {
    pub of: JobSetId,
    pub models: Vec<(Fold, Digest)>,
}

/// The model that one fold begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialModel {
    pub of: JobSetId,
    pub checkpoint: Digest,
}

/// The results of one set of out-of-fold tables. The digest of the merged table tells fits apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    pub oof: Artifact,
    pub report: Artifact,
    /// Of the newest test list; `None` until it is predicted, or where there is none.
    pub submission: Option<Artifact>,
    pub scores: FitScores,
    /// The folds that it was made from.
    pub folds: FoldSet,
}

/// The main figures of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitScores {
    pub macro_f1: f64,
    /// The threshold of all classes; `None` if each has its own, or if the task is multiclass.
    pub threshold: Option<f64>,
    /// The figure that the spec's objective names; `None` for the loss, or if it is undefined.
    pub objective: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FitRecord {
    pub fit: Fit,
    pub created: Timestamp,
    /// What each fold gave it, by fold; empty if it is not stored.
    pub fold_results: Vec<FitFold>,
}

/// What one fold gave a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitFold {
    pub fold: Fold,
    /// The out-of-fold table.
    pub table: Artifact,
    /// The checkpoint that made the table.
    pub checkpoint: Option<Artifact>,
}

/// The predictions of a test list by the report of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubmissionRecord {
    pub submission: Artifact,
    pub test: Digest,
    /// The out-of-fold table of the fit.
    pub oof: Digest,
    /// The folds whose predictions were averaged.
    pub folds: FoldSet,
    pub created: Timestamp,
}

/// The training of one fold, or its prediction of the test list.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub kind: JobKind,
    pub fold: Fold,
    pub state: JobState,
    /// The last failure, or why it waits, as a sentence.
    pub state_reason: String,
    /// The newest attempt; `None` before the first lease.
    pub attempt: Option<Attempt>,
    /// The worker of the newest lease, until the attempt fails.
    pub worker: Option<String>,
    /// When the newest lease expires or expired.
    pub lease_expires: Timestamp,
    /// It is leased no earlier.
    pub not_before: Timestamp,
    /// Of the newest attempt that reported.
    pub progress: Option<Progress>,
    /// When progress was last made under the newest lease.
    pub advanced: Timestamp,
    /// Marked for making no progress.
    pub stalled: bool,
    /// The best score of the objective of its epochs, of which higher is better.
    pub best_score: Option<f64>,
    /// Its first epoch with that score, from 0.
    pub best_epoch: Option<u32>,
    pub last_epoch: Option<EpochReport>,
    /// Failures since the user's last retry, by cause.
    pub failures: BTreeMap<FailureCause, u32>,
    /// Set exactly if it succeeded.
    pub result: Option<JobResult>,
}

impl Job {
    /// Whether `lease` is the current lease of this job.
    pub fn holds(&self, lease: LeaseRef) -> bool {
        self.state == JobState::Leased && self.id == lease.job && self.attempt == Some(lease.attempt)
    }

    /// The current lease; `None` if the job is not leased.
    pub fn lease(&self) -> Option<LeaseRef> {
        let attempt = self.attempt.filter(|_| self.state == JobState::Leased)?;
        Some(LeaseRef { job: self.id, attempt })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct JobResult {
    /// The out-of-fold table or the predictions.
    pub table: Artifact,
    /// The checkpoint that made the table; `None` for a predict job.
    pub checkpoint: Option<Artifact>,
    /// What the worker says of itself: versions and device, as JSON.
    pub made_by_json: String,
}
