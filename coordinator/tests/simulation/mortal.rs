//! A queue that dies after a number of steps, and with it the coordinator: no later step of a use case happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use fivefold_common::artifact::Artifact;
use fivefold_common::checkpoint::Checkpoint;
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::{Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::progress::EpochReport;
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::sqlite::SqliteQueue;
use fivefold_coordinator::queue::*;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct MortalQueue {
    queue: SqliteQueue,
    steps_left: AtomicU32,
}

impl MortalQueue {
    /// One that lives until told otherwise.
    pub(crate) fn new(queue: SqliteQueue) -> Self {
        Self { queue, steps_left: AtomicU32::new(u32::MAX) }
    }

    pub(crate) fn die_after(&self, steps: u32) {
        self.steps_left.store(steps, Ordering::Relaxed);
    }

    fn step(&self) -> Result<&SqliteQueue, Error> {
        let left = self.steps_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(Error::Unavailable("the coordinator has died".into()));
        }
        if left < u32::MAX {
            self.steps_left.store(left - 1, Ordering::Relaxed);
        }
        Ok(&self.queue)
    }
}

#[async_trait::async_trait]
impl Queue for MortalQueue {
    async fn job_set(&self, id: &JobSetId) -> Result<JobSet, Error> {
        self.step()?.job_set(id).await
    }

    async fn job_sets(&self, before: Option<SubmissionNumber>, limit: u32) -> Result<Vec<JobSet>, Error> {
        self.step()?.job_sets(before, limit).await
    }

    async fn due_pauses(&self, now: Timestamp) -> Result<Vec<JobSetId>, Error> {
        self.step()?.due_pauses(now).await
    }

    async fn ended_before(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error> {
        self.step()?.ended_before(since).await
    }

    async fn find_job_sets(&self, text: &str, limit: u32) -> Result<Vec<NamedJobSet>, Error> {
        self.step()?.find_job_sets(text, limit).await
    }

    async fn waiting_for_results(&self) -> Result<Vec<JobSetId>, Error> {
        self.step()?.waiting_for_results().await
    }

    async fn events(&self, id: &JobSetId, cursor: i64, limit: u32) -> Result<Vec<Event>, Error> {
        self.step()?.events(id, cursor, limit).await
    }

    async fn epochs(&self, job: JobId) -> Result<Vec<EpochReport>, Error> {
        self.step()?.epochs(job).await
    }

    async fn newest_events(&self, id: &JobSetId, limit: u32) -> Result<Vec<Event>, Error> {
        self.step()?.newest_events(id, limit).await
    }

    async fn epochs_of(&self, jobs: &[JobId], epochs: &[u32]) -> Result<Vec<(JobId, EpochReport)>, Error> {
        self.step()?.epochs_of(jobs, epochs).await
    }

    async fn attempt(&self, lease: LeaseRef) -> Result<Attempted, Error> {
        self.step()?.attempt(lease).await
    }

    async fn submit(&self, now: Timestamp, job_set: NewJobSet) -> Result<Submitted, Error> {
        self.step()?.submit(now, job_set).await
    }

    async fn submitted(&self, request_id: &str) -> Result<Option<EarlierRequest>, Error> {
        self.step()?.submitted(request_id).await
    }

    async fn change(&self, now: Timestamp, id: &JobSetId, decide: Decide) -> Result<Vec<Effect>, Error> {
        self.step()?.change(now, id, decide).await
    }

    async fn acquire(&self, now: Timestamp, request: LeaseRequest) -> Result<Option<Leased>, Error> {
        self.step()?.acquire(now, request).await
    }

    async fn leases_of_earlier(&self, worker: &str, present: &NameLock) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
        self.step()?.leases_of_earlier(worker, present).await
    }

    async fn has_free_job(&self, now: Timestamp, worker: &str, images: ImageAccess) -> Result<bool, Error> {
        self.step()?.has_free_job(now, worker, images).await
    }

    async fn census(&self) -> Result<Census, Error> {
        self.step()?.census().await
    }

    async fn without_a_worker(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error> {
        self.step()?.without_a_worker(since).await
    }

    async fn report(&self, now: Timestamp, report: NewReport) -> Result<Reported, Error> {
        self.step()?.report(now, report).await
    }

    async fn record_checkpoint(
        &self,
        now: Timestamp,
        lease: LeaseRef,
        checkpoint: &Checkpoint,
        keep: u32,
    ) -> Result<(), Error> {
        self.step()?.record_checkpoint(now, lease, checkpoint, keep).await
    }

    async fn checkpoints(&self, job: JobId) -> Result<Vec<Checkpoint>, Error> {
        self.step()?.checkpoints(job).await
    }

    async fn append_log(&self, lines: NewLogLines, limit: LogLimit) -> Result<(), Error> {
        self.step()?.append_log(lines, limit).await
    }

    async fn log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        cursor: i64,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error> {
        self.step()?.log_lines(id, fold, cursor, limit).await
    }

    async fn newest_log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error> {
        self.step()?.newest_log_lines(id, fold, limit).await
    }

    async fn expired(&self, now: Timestamp) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
        self.step()?.expired(now).await
    }

    async fn standing_still(&self, since: Timestamp) -> Result<Vec<Standstill>, Error> {
        self.step()?.standing_still(since).await
    }

    async fn resume(&self, now: Timestamp, expires: Timestamp) -> Result<u64, Error> {
        self.step()?.resume(now, expires).await
    }

    async fn register_worker(&self, now: Timestamp, worker: NewWorker) -> Result<(), Error> {
        self.step()?.register_worker(now, worker).await
    }

    async fn see_worker(&self, now: Timestamp, name: &str) -> Result<(), Error> {
        self.step()?.see_worker(now, name).await
    }

    async fn set_draining(&self, name: &str, draining: bool) -> Result<(), Error> {
        self.step()?.set_draining(name, draining).await
    }

    async fn unregister_worker(&self, name: &str) -> Result<(), Error> {
        self.step()?.unregister_worker(name).await
    }

    async fn workers(&self) -> Result<Vec<Worker>, Error> {
        self.step()?.workers().await
    }

    async fn forget_workers(&self, since: Timestamp) -> Result<Vec<String>, Error> {
        self.step()?.forget_workers(since).await
    }

    async fn record_artifact(&self, now: Timestamp, artifact: Artifact) -> Result<(), Error> {
        self.step()?.record_artifact(now, artifact).await
    }

    async fn artifact_size(&self, digest: Digest) -> Result<Option<u64>, Error> {
        self.step()?.artifact_size(digest).await
    }

    async fn touch_artifact(&self, now: Timestamp, digest: Digest) -> Result<Option<u64>, Error> {
        self.step()?.touch_artifact(now, digest).await
    }

    async fn touch_artifacts(&self, now: Timestamp, digests: Vec<Digest>) -> Result<BTreeMap<Digest, u64>, Error> {
        self.step()?.touch_artifacts(now, digests).await
    }

    async fn is_needed_by(&self, job: JobId, digest: Digest) -> Result<bool, Error> {
        self.step()?.is_needed_by(job, digest).await
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        self.step()?.artifacts().await
    }

    async fn references(&self, id: &JobSetId) -> Result<BTreeSet<Digest>, Error> {
        self.step()?.references(id).await
    }

    async fn put_data_set(&self, now: Timestamp, data_set: NewDataSet) -> Result<(), Error> {
        self.step()?.put_data_set(now, data_set).await
    }

    async fn data_set(&self, name: &DataSetName) -> Result<DataSet, Error> {
        self.step()?.data_set(name).await
    }

    async fn data_sets(&self) -> Result<Vec<DataSet>, Error> {
        self.step()?.data_sets().await
    }

    async fn delete_data_set(&self, now: Timestamp, name: &DataSetName) -> Result<(), Error> {
        self.step()?.delete_data_set(now, name).await
    }

    async fn data_set_references(&self, name: &DataSetName) -> Result<BTreeSet<Digest>, Error> {
        self.step()?.data_set_references(name).await
    }

    async fn folds_in_training(&self) -> Result<Vec<FoldInTraining>, Error> {
        self.step()?.folds_in_training().await
    }

    async fn unreferenced(&self, since: Timestamp) -> Result<Vec<Digest>, Error> {
        self.step()?.unreferenced(since).await
    }

    async fn forget_artifact(&self, digest: Digest, since: Timestamp) -> Result<bool, Error> {
        self.step()?.forget_artifact(digest, since).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.step()?.tokens().await
    }

    async fn create_token(&self, now: Timestamp, token: NewToken) -> Result<(), Error> {
        self.step()?.create_token(now, token).await
    }

    async fn revoke_token(&self, now: Timestamp, name: &str) -> Result<(), Error> {
        self.step()?.revoke_token(now, name).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.queue.changes()
    }
}
