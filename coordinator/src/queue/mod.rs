//! The port to the queue: job sets, jobs, leases and everything that is stored about them.
//!
//! Each method is one transaction: all of it is stored, durably, before the method returns, or nothing is. A write of a
//! worker names its lease; if the lease is not the job's current one, the write changes nothing and fails with
//! [`Error::StaleAttempt`].

mod census;
mod change;
mod data_set;
mod job_set;
pub mod sqlite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::Checkpoint;
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::job::{JobKind, JobState, Transition};
use fivefold_common::log_line::LogLine;
use fivefold_common::progress::{EpochReport, Progress};
use fivefold_common::role::Role;
use fivefold_common::spec::JobSetSpec;
use tokio::sync::watch;

pub use self::census::{Census, Occupation};
pub use self::change::{Decide, Effect, NewEvent};
pub use self::data_set::{DataSet, DataSetLists, NewDataSet};
pub use self::job_set::{
    Exclusion, Fit, FitFold, FitRecord, FitScores, InitialModel, Inputs, Job, JobResult, JobSet, NamedJobSet,
    SubmissionNumber, SubmissionRecord, WarmStart,
};
use crate::clock::Timestamp;
use crate::error::Error;

/// Later than the time at which released artifacts count as wanted, and earlier than any other.
pub const RELEASED: Timestamp = Timestamp(0);

#[async_trait::async_trait]
pub trait Queue: Debug + Send + Sync {
    /// One job set with its jobs and fits, as of one moment.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn job_set(&self, id: &JobSetId) -> Result<JobSet, Error>;

    /// At most `limit` job sets that were submitted before the one of that number, newest first.
    async fn job_sets(&self, before: Option<SubmissionNumber>, limit: u32) -> Result<Vec<JobSet>, Error>;

    /// At most `limit` job sets whose id begins with `text`, with or without `js-`, or whose name it is; newest first.
    async fn find_job_sets(&self, text: &str, limit: u32) -> Result<Vec<NamedJobSet>, Error>;

    /// Job sets whose folds are all trained and not fitted, or all predicted without a submission; oldest first. Folds that
    /// they were ended without do not count.
    async fn waiting_for_results(&self) -> Result<Vec<JobSetId>, Error>;

    /// Job sets that are to be paused by `now`.
    async fn due_pauses(&self, now: Timestamp) -> Result<Vec<JobSetId>, Error>;

    /// Job sets that ended, and have not changed since `since`; oldest first.
    async fn ended_before(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error>;

    /// At most `limit` events of a job set after `cursor`, oldest first.
    async fn events(&self, id: &JobSetId, cursor: i64, limit: u32) -> Result<Vec<Event>, Error>;

    /// At most `limit` of the newest events of a job set, newest first.
    async fn newest_events(&self, id: &JobSetId, limit: u32) -> Result<Vec<Event>, Error>;

    /// A job's epochs in their order.
    async fn epochs(&self, job: JobId) -> Result<Vec<EpochReport>, Error>;

    /// These epochs of these jobs, as far as there are any.
    async fn epochs_of(&self, jobs: &[JobId], epochs: &[u32]) -> Result<Vec<(JobId, EpochReport)>, Error>;

    /// The job of an attempt.
    ///
    /// # Errors
    /// [`Error::StaleAttempt`] if the attempt is not the job's newest.
    async fn attempt(&self, lease: LeaseRef) -> Result<Attempted, Error>;

    /// Stores a job set with one queued train job per fold, unless its request was stored before.
    async fn submit(&self, now: Timestamp, job_set: NewJobSet) -> Result<Submitted, Error>;

    /// The job set of an earlier request.
    async fn submitted(&self, request_id: &str) -> Result<Option<EarlierRequest>, Error>;

    /// Lets `decide` look at a job set and stores the effects that it returns. Returns them.
    ///
    /// # Errors
    /// Those of `decide`; then nothing is changed.
    async fn change(&self, now: Timestamp, id: &JobSetId, decide: Decide) -> Result<Vec<Effect>, Error>;

    /// Leases the oldest free job to a worker: by job set, train jobs first, then by fold; a job that failed on this
    /// worker comes after all others. Jobs of paused job sets, of those that exclude the worker and of those whose images it has
    /// no access to, and draining workers, are left out. The worker's repeated request gets the same lease, which is extended.
    async fn acquire(&self, now: Timestamp, request: LeaseRequest) -> Result<Option<Leased>, Error>;

    /// The leases of a worker's processes that held the lock on its name before the present one.
    async fn leases_of_earlier(&self, worker: &str, present: &NameLock) -> Result<Vec<(JobSetId, LeaseRef)>, Error>;

    /// Whether there is a free job for a worker.
    async fn has_free_job(&self, now: Timestamp, worker: &str, images: ImageAccess) -> Result<bool, Error>;

    /// Job sets that are not paused, with queued jobs that no worker may take: each known worker that could have their images
    /// is excluded, since before `since`, and some worker was heard of after it. A worker that is away may come back until it
    /// is forgotten.
    async fn without_a_worker(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error>;

    /// Extends a lease and stores progress and epochs, unless a report of this number or a later one was stored before.
    async fn report(&self, now: Timestamp, report: NewReport) -> Result<Reported, Error>;

    /// Adds a checkpoint and removes the oldest of its role above `keep`, whose artifacts are released. One that is not
    /// later than the attempt's newest changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] if its artifact is not held.
    async fn record_checkpoint(
        &self,
        now: Timestamp,
        lease: LeaseRef,
        checkpoint: &Checkpoint,
        keep: u32,
    ) -> Result<(), Error>;

    /// A job's checkpoints to resume from and to score with: `last` before `best`, newest first.
    async fn checkpoints(&self, job: JobId) -> Result<Vec<Checkpoint>, Error>;

    /// Stores lines of an attempt, and removes the oldest ones above `limit`. Lines that are stored already change nothing.
    ///
    /// # Errors
    /// [`Error::StaleAttempt`] if the job has had no such attempt. It may have ended.
    async fn append_log(&self, lines: NewLogLines, limit: LogLimit) -> Result<(), Error>;

    /// At most `limit` lines of a job set, or of one fold, after `cursor`, in the order in which they came.
    async fn log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        cursor: i64,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error>;

    /// At most `limit` of the newest lines, newest first.
    async fn newest_log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error>;

    /// Leases that expired before `now`.
    async fn expired(&self, now: Timestamp) -> Result<Vec<(JobSetId, LeaseRef)>, Error>;

    /// Leased jobs without progress since `since`, uploads aside.
    async fn standing_still(&self, since: Timestamp) -> Result<Vec<Standstill>, Error>;

    /// After a restart of the coordinator: leases expire no earlier than `expires` and count as advancing now, exclusions
    /// begin now, and artifacts count as wanted now, released ones aside. Returns the number of leases.
    async fn resume(&self, now: Timestamp, expires: Timestamp) -> Result<u64, Error>;

    /// Adds a worker, or takes note of its restart: job sets that excluded it exclude it no longer.
    async fn register_worker(&self, now: Timestamp, worker: NewWorker) -> Result<(), Error>;

    /// Notes a sign of life.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the worker never registered.
    async fn see_worker(&self, now: Timestamp, name: &str) -> Result<(), Error>;

    /// # Errors
    /// [`Error::NotFound`] if the worker never registered.
    async fn set_draining(&self, name: &str, draining: bool) -> Result<(), Error>;

    /// Notes that a worker leaves.
    async fn unregister_worker(&self, name: &str) -> Result<(), Error>;

    /// All workers by name.
    async fn workers(&self) -> Result<Vec<Worker>, Error>;

    /// Removes workers that were last heard of before `since`, hold no lease and are not draining. Returns their names.
    async fn forget_workers(&self, since: Timestamp) -> Result<Vec<String>, Error>;

    /// Adds an artifact whose bytes are held whole. Adding it again only renews it.
    async fn record_artifact(&self, now: Timestamp, artifact: Artifact) -> Result<(), Error>;

    /// Size in bytes of an artifact that is held; `None` otherwise.
    async fn artifact_size(&self, digest: Digest) -> Result<Option<u64>, Error>;

    /// Notes that an artifact is wanted now and returns its size in bytes; `None` if it is not held.
    async fn touch_artifact(&self, now: Timestamp, digest: Digest) -> Result<Option<u64>, Error>;

    /// Notes that artifacts are wanted now, and returns the sizes in bytes of those that are held.
    async fn touch_artifacts(&self, now: Timestamp, digests: Vec<Digest>) -> Result<BTreeMap<Digest, u64>, Error>;

    /// Whether a job needs an artifact: a list, the folds, the index or a segment of its pushed images, the weights, the model
    /// that it begins from, its own checkpoint, or the one that it scores with.
    async fn is_needed_by(&self, job: JobId, digest: Digest) -> Result<bool, Error>;

    /// Every artifact that is held.
    async fn artifacts(&self) -> Result<Vec<Artifact>, Error>;

    /// The artifacts that a job set refers to.
    async fn references(&self, id: &JobSetId) -> Result<BTreeSet<Digest>, Error>;

    /// Stores a data set under its name. It replaces one of the same name.
    async fn put_data_set(&self, now: Timestamp, data_set: NewDataSet) -> Result<(), Error>;

    /// # Errors
    /// [`Error::NotFound`].
    async fn data_set(&self, name: &DataSetName) -> Result<DataSet, Error>;

    /// All data sets by name.
    async fn data_sets(&self) -> Result<Vec<DataSet>, Error>;

    /// # Errors
    /// [`Error::NotFound`].
    async fn delete_data_set(&self, now: Timestamp, name: &DataSetName) -> Result<(), Error>;

    /// The artifacts that a data set refers to.
    async fn data_set_references(&self, name: &DataSetName) -> Result<BTreeSet<Digest>, Error>;

    /// The train jobs that are leased.
    async fn folds_in_training(&self) -> Result<Vec<FoldInTraining>, Error>;

    /// The job sets and jobs that have not ended, in numbers.
    async fn census(&self) -> Result<Census, Error>;

    /// Artifacts that nothing refers to and nobody wanted since `since`; with [`RELEASED`], those that were released.
    async fn unreferenced(&self, since: Timestamp) -> Result<Vec<Digest>, Error>;

    /// Removes an artifact that nothing refers to and nobody wanted since `since`. Returns whether it did; then the
    /// bytes may be deleted.
    async fn forget_artifact(&self, digest: Digest, since: Timestamp) -> Result<bool, Error>;

    /// Every token ever made, by name.
    async fn tokens(&self) -> Result<Vec<Token>, Error>;

    /// # Errors
    /// [`Error::WrongState`] if the name is taken.
    async fn create_token(&self, now: Timestamp, token: NewToken) -> Result<(), Error>;

    /// # Errors
    /// [`Error::NotFound`].
    async fn revoke_token(&self, now: Timestamp, name: &str) -> Result<(), Error>;

    /// Changes after every write.
    fn changes(&self) -> watch::Receiver<u64>;
}

#[derive(Debug, Clone)]
pub struct NewJobSet {
    pub id: JobSetId,
    /// The caller's name for the request.
    pub request_id: String,
    /// Tells a repeated request from another one with the same id.
    pub request_digest: Digest,
    pub spec: JobSetSpec,
    pub inputs: Inputs,
    /// Those of `inputs.images`.
    pub segments: Vec<Digest>,
    /// In place of `inputs.weights`.
    pub warm_start: Option<WarmStart>,
    pub event: NewEvent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    Stored,
    /// Its request had been stored before, and nothing was changed.
    Earlier(EarlierRequest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierRequest {
    pub job_set: JobSetId,
    pub digest: Digest,
}

/// The job of an attempt, and what is needed to work on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    pub job_set: JobSetId,
    pub kind: JobKind,
    pub fold: Fold,
    pub state: JobState,
    pub spec: JobSetSpec,
    pub inputs: Inputs,
}

/// The lock on a worker's name that its process holds on its machine until it ends. Who holds the same lock since a later time
/// has replaced an earlier holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameLock {
    /// Identifies the lock; not empty.
    pub id: String,
    /// Since the start of the machine.
    pub taken_centiseconds: i64,
}

/// Which images a worker can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageAccess {
    /// Those of its own folder, and those that were pushed.
    Folder,
    /// Only those that were pushed: it gets jobs of job sets with such images alone.
    Pushed,
}

/// A worker's wish for a job.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    pub worker: String,
    /// The same in repeats of one request.
    pub request_id: String,
    /// Under which it asks.
    pub name_lock: Option<NameLock>,
    pub images: ImageAccess,
    pub expires: Timestamp,
    /// What happens to the job.
    pub transition: Transition,
    /// Describes the new lease.
    pub event: fn(&Leased) -> NewEvent,
}

/// A job with everything that its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    pub lease: LeaseRef,
    pub worker: String,
    pub job_set: JobSetId,
    pub fold: Fold,
    pub task: Task,
    pub spec: JobSetSpec,
    pub inputs: Inputs,
    /// In place of `inputs.weights`.
    pub initial_model: Option<InitialModel>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Train, from the first of these checkpoints that can be used: `last` before `best`, newest first.
    Train { checkpoints: Vec<Checkpoint> },
    /// Score the test list with this checkpoint.
    Predict { checkpoint: Artifact },
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    pub lease: LeaseRef,
    pub expires: Timestamp,
    /// Counts the reports of an attempt from 1.
    pub sequence: u64,
    pub progress: Option<Progress>,
    /// Epochs that ended since the last report.
    pub epochs: Vec<EpochReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Reports up to this number are stored.
    pub sequence: u64,
    /// Whether the worker should save a checkpoint and release the lease: the job set is paused or the worker drained.
    pub release: bool,
}

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimit {
    /// The newest lines of each attempt.
    pub lines_per_attempt: u32,
    /// The newest attempts of each job.
    pub attempts_per_job: u32,
}

/// Lines of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogLines {
    pub lease: LeaseRef,
    pub worker: String,
    pub lines: Vec<LogLine>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLogLine {
    /// Its position in the log of the job set.
    pub cursor: i64,
    pub kind: JobKind,
    pub fold: Fold,
    pub attempt: Attempt,
    pub worker: String,
    pub line: LogLine,
}

/// A leased job that makes no progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    pub job_set: JobSetId,
    pub lease: LeaseRef,
    pub since: Timestamp,
    /// Whether it is marked as stalled.
    pub marked: bool,
}

/// An entry of a job set's event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its position in the log.
    pub cursor: i64,
    pub time: Timestamp,
    /// `None` if it concerns the whole job set.
    pub job: Option<JobId>,
    pub name: EventName,
    /// A sentence for users.
    pub message: String,
}

/// A leased train job.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldInTraining {
    pub spec: JobSetSpec,
    /// Size of its checkpoints.
    pub checkpoint_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorker {
    pub name: String,
    pub device: String,
    pub version: String,
    pub images: ImageAccess,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub name: String,
    pub device: String,
    pub version: String,
    pub images: ImageAccess,
    pub last_seen: Timestamp,
    /// The job of its newest lease.
    pub job: Option<JobId>,
    /// It is leased no more jobs.
    pub draining: bool,
    /// It said that it leaves, and was not heard of since.
    pub has_left: bool,
    /// Unfinished job sets that exclude it.
    pub excluded_from: Vec<JobSetId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub hash: blake3::Hash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub role: Role,
    pub hash: blake3::Hash,
    pub revoked: Option<Timestamp>,
}

/// The kind of the table that a job's result is.
pub fn result_kind(kind: JobKind) -> ArtifactKind {
    match kind {
        JobKind::Train => ArtifactKind::Oof,
        JobKind::Predict => ArtifactKind::Predictions,
    }
}
