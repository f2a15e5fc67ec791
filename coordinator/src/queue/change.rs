//! Decisions about a job set, and their effects.

use fivefold_common::event::EventName;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, Fold, JobId, LeaseRef};
use fivefold_common::job::{FailureCause, JobKind, Transition};
use fivefold_common::job_set::JobSetState;

use super::{FitScores, JobSet};
use crate::clock::Timestamp;
use crate::error::Error;

/// Looks at a job set within a transaction and says what to change. It has no other effects: it may run more than once.
pub type Decide = Box<dyn Fn(&JobSet) -> Result<Vec<Effect>, Error> + Send + Sync>;

/// One change of a job set or of one of its jobs.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The job has its result.
    Complete {
        lease: LeaseRef,
        transition: Transition,
        table: Digest,
        checkpoint: Option<Digest>,
        made_by_json: String,
        /// How many of its checkpoints to resume from are kept: 1 if its optimiser state is kept, or 0.
        keep_last: u32,
        /// How many of its best checkpoints are kept: 1 if training may go on and score with it, or 0.
        keep_best: u32,
    },
    /// The attempt ended without a result; the failure counts.
    EndAttempt {
        lease: LeaseRef,
        transition: Transition,
        cause: FailureCause,
        /// In the words of the worker.
        message: String,
        /// How often the job has now failed for this cause.
        failures: u32,
        reason: String,
        not_before: Timestamp,
    },
    MarkStalled {
        lease: LeaseRef,
    },
    /// The worker gets no more jobs of the job set, until it registers again or a user retries the job set.
    Exclude {
        worker: String,
        message: String,
    },
    /// No worker is excluded any more.
    LiftExclusions,
    /// The job failed, for no worker can take it.
    GiveUp {
        job: JobId,
        transition: Transition,
        reason: String,
    },
    Cancel {
        job: JobId,
        transition: Transition,
        reason: String,
    },
    /// The job is queued with fresh attempts: its earlier failures count no longer.
    Retry {
        job: JobId,
        transition: Transition,
    },
    /// The job is queued and loses result, checkpoints, epochs and progress; its earlier failures count no longer.
    TrainAgain {
        job: JobId,
        transition: Transition,
        reason: String,
    },
    /// The job is queued for more epochs and loses its result; checkpoints and epochs stay. Its earlier failures count no longer.
    TrainOn {
        job: JobId,
        transition: Transition,
        reason: String,
    },
    /// The number of epochs in the spec of the job set.
    SetEpochs {
        epochs: u32,
    },
    /// A new job, unless the fold has one of this kind.
    AddJob {
        kind: JobKind,
        fold: Fold,
    },
    RemoveJob {
        job: JobId,
    },
    SetState {
        state: JobSetState,
        reason: String,
    },
    SetPaused {
        paused: bool,
    },
    /// When the job set is to be paused; `None` for not.
    SetPauseAt {
        at: Option<Timestamp>,
    },
    /// The test list, and the folds that predict it; `None` for all of the fit.
    SetTest {
        test: Digest,
        folds: Option<FoldSet>,
    },
    /// The folds that the job set is ended with; `None` for all.
    SetKept {
        folds: Option<FoldSet>,
    },
    /// The fit of the train jobs' present results.
    StoreFit {
        oof: Digest,
        report: Digest,
        scores: FitScores,
    },
    /// The present fit is no longer the job set's; it stays in the list of fits.
    ClearFit,
    /// The mean of these folds' predictions of the test list, by the report of the present fit.
    StoreSubmission {
        submission: Digest,
        folds: FoldSet,
    },
    /// The present fit has no submission any more; the list of submissions keeps it.
    ClearSubmission,
    /// The job set goes, with everything that belongs to it alone.
    Delete,
    Log(NewEvent),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub name: EventName,
    /// `None` if it concerns the whole job set.
    pub job: Option<JobId>,
    /// A sentence for users.
    pub message: String,
}
