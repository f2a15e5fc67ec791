//! The queue in one SQLite file. Rows and SQL stay in this module.

mod artifacts;
mod census;
mod changes;
mod checkpoints;
mod data_sets;
mod events;
mod exclusions;
mod job_sets;
mod leases;
mod logs;
mod reports;
mod results;
mod rows;
mod tokens;
mod usage;
mod workers;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fivefold_common::artifact::Artifact;
use fivefold_common::checkpoint::Checkpoint;
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::{Digest, JobId, JobSetId, LeaseRef};
use fivefold_common::progress::EpochReport;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::sync::watch;

use self::writer::Database;
pub use self::writer::Durability;
pub(crate) use self::writer::{MIGRATIONS, newer_schema};
use super::*;

/// The queue of one state folder.
#[derive(Debug, Clone)]
pub struct SqliteQueue {
    database: Database,
}

impl SqliteQueue {
    /// Opens the file, creates it if it does not exist, and brings its schema up to date.
    ///
    /// # Errors
    /// If it cannot be opened, or is from a newer version.
    pub async fn open(file: &Path, durability: Durability) -> Result<SqliteQueue, Error> {
        Ok(SqliteQueue { database: Database::open(file, durability).await? })
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        Ok(self.database.readers().acquire().await?)
    }
}

/// Reads within one transaction, so that all queries see the same moment.
macro_rules! read_at_once {
    ($queue:expr, |$c:ident| $read:expr) => {{
        let mut transaction = $queue.database.readers().begin().await?;
        let $c = &mut *transaction;
        let value = $read.await?;
        transaction.commit().await?;
        Ok(value)
    }};
}

macro_rules! write {
    ($queue:expr, |$c:ident| $write:expr) => {
        $queue.database.write(move |$c| Box::pin(async move { $write.await })).await
    };
}

#[async_trait::async_trait]
impl Queue for SqliteQueue {
    async fn job_set(&self, id: &JobSetId) -> Result<JobSet, Error> {
        read_at_once!(self, |c| job_sets::one(c, id))
    }

    async fn job_sets(&self, before: Option<SubmissionNumber>, limit: u32) -> Result<Vec<JobSet>, Error> {
        read_at_once!(self, |c| job_sets::page(c, before, limit))
    }

    async fn find_job_sets(&self, text: &str, limit: u32) -> Result<Vec<NamedJobSet>, Error> {
        job_sets::find(&mut *self.reader().await?, text, limit).await
    }

    async fn waiting_for_results(&self) -> Result<Vec<JobSetId>, Error> {
        job_sets::waiting_for_results(&mut *self.reader().await?).await
    }

    async fn due_pauses(&self, now: Timestamp) -> Result<Vec<JobSetId>, Error> {
        job_sets::due_pauses(&mut *self.reader().await?, now).await
    }

    async fn ended_before(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error> {
        job_sets::ended_before(&mut *self.reader().await?, since).await
    }

    async fn events(&self, id: &JobSetId, cursor: i64, limit: u32) -> Result<Vec<Event>, Error> {
        events::after(&mut *self.reader().await?, id, cursor, limit).await
    }

    async fn newest_events(&self, id: &JobSetId, limit: u32) -> Result<Vec<Event>, Error> {
        events::newest(&mut *self.reader().await?, id, limit).await
    }

    async fn epochs(&self, job: JobId) -> Result<Vec<EpochReport>, Error> {
        reports::epochs(&mut *self.reader().await?, job).await
    }

    async fn epochs_of(&self, jobs: &[JobId], epochs: &[u32]) -> Result<Vec<(JobId, EpochReport)>, Error> {
        reports::epochs_of(&mut *self.reader().await?, jobs, epochs).await
    }

    async fn attempt(&self, lease: LeaseRef) -> Result<Attempted, Error> {
        leases::attempt(&mut *self.reader().await?, lease).await
    }

    async fn submit(&self, now: Timestamp, job_set: NewJobSet) -> Result<Submitted, Error> {
        write!(self, |c| job_sets::submit(c, now, &job_set))
    }

    async fn submitted(&self, request_id: &str) -> Result<Option<EarlierRequest>, Error> {
        job_sets::submitted(&mut *self.reader().await?, request_id).await
    }

    async fn change(&self, now: Timestamp, id: &JobSetId, decide: Decide) -> Result<Vec<Effect>, Error> {
        let id = id.clone();
        write!(self, |c| async {
            let effects = decide(&job_sets::one(&mut *c, &id).await?)?;
            for effect in &effects {
                changes::apply(&mut *c, now, &id, effect).await?;
            }
            Ok(effects)
        })
    }

    async fn acquire(&self, now: Timestamp, request: LeaseRequest) -> Result<Option<Leased>, Error> {
        write!(self, |c| leases::acquire(c, now, &request))
    }

    async fn leases_of_earlier(&self, worker: &str, present: &NameLock) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
        leases::of_earlier(&mut *self.reader().await?, worker, present).await
    }

    async fn has_free_job(&self, now: Timestamp, worker: &str, images: ImageAccess) -> Result<bool, Error> {
        leases::has_free_job(&mut *self.reader().await?, now, worker, images).await
    }

    async fn without_a_worker(&self, since: Timestamp) -> Result<Vec<JobSetId>, Error> {
        exclusions::without_a_worker(&mut *self.reader().await?, since).await
    }

    async fn report(&self, now: Timestamp, report: NewReport) -> Result<Reported, Error> {
        write!(self, |c| reports::store(c, now, &report))
    }

    async fn record_checkpoint(
        &self,
        now: Timestamp,
        lease: LeaseRef,
        checkpoint: &Checkpoint,
        keep: u32,
    ) -> Result<(), Error> {
        let checkpoint = *checkpoint;
        write!(self, |c| checkpoints::record(c, now, lease, &checkpoint, keep))
    }

    async fn checkpoints(&self, job: JobId) -> Result<Vec<Checkpoint>, Error> {
        checkpoints::of_job(&mut *self.reader().await?, job).await
    }

    async fn append_log(&self, lines: NewLogLines, limit: LogLimit) -> Result<(), Error> {
        write!(self, |c| logs::append(c, &lines, limit))
    }

    async fn log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        cursor: i64,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error> {
        logs::after(&mut *self.reader().await?, id, fold, cursor, limit).await
    }

    async fn newest_log_lines(
        &self,
        id: &JobSetId,
        fold: Option<Fold>,
        limit: u32,
    ) -> Result<Vec<StoredLogLine>, Error> {
        logs::newest(&mut *self.reader().await?, id, fold, limit).await
    }

    async fn expired(&self, now: Timestamp) -> Result<Vec<(JobSetId, LeaseRef)>, Error> {
        leases::expired(&mut *self.reader().await?, now).await
    }

    async fn standing_still(&self, since: Timestamp) -> Result<Vec<Standstill>, Error> {
        leases::standing_still(&mut *self.reader().await?, since).await
    }

    async fn resume(&self, now: Timestamp, expires: Timestamp) -> Result<u64, Error> {
        write!(self, |c| async {
            artifacts::touch_all(&mut *c, now).await?;
            exclusions::renew_all(&mut *c, now).await?;
            leases::extend_all(c, now, expires).await
        })
    }

    async fn register_worker(&self, now: Timestamp, worker: NewWorker) -> Result<(), Error> {
        write!(self, |c| workers::register(c, now, &worker))
    }

    async fn see_worker(&self, now: Timestamp, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        write!(self, |c| workers::see(c, now, &name))
    }

    async fn set_draining(&self, name: &str, draining: bool) -> Result<(), Error> {
        let name = name.to_owned();
        write!(self, |c| workers::set_draining(c, &name, draining))
    }

    async fn unregister_worker(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        write!(self, |c| workers::unregister(c, &name))
    }

    async fn workers(&self) -> Result<Vec<Worker>, Error> {
        workers::all(&mut *self.reader().await?).await
    }

    async fn forget_workers(&self, since: Timestamp) -> Result<Vec<String>, Error> {
        write!(self, |c| workers::forget(c, since))
    }

    async fn record_artifact(&self, now: Timestamp, artifact: Artifact) -> Result<(), Error> {
        write!(self, |c| artifacts::record(c, now, artifact))
    }

    async fn artifact_size(&self, digest: Digest) -> Result<Option<u64>, Error> {
        artifacts::size_bytes(&mut *self.reader().await?, digest).await
    }

    async fn touch_artifact(&self, now: Timestamp, digest: Digest) -> Result<Option<u64>, Error> {
        write!(self, |c| artifacts::touch(c, now, digest))
    }

    async fn touch_artifacts(&self, now: Timestamp, digests: Vec<Digest>) -> Result<BTreeMap<Digest, u64>, Error> {
        write!(self, |c| artifacts::touch_each(c, now, &digests))
    }

    async fn is_needed_by(&self, job: JobId, digest: Digest) -> Result<bool, Error> {
        leases::is_needed_by(&mut *self.reader().await?, job, digest).await
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        artifacts::all(&mut *self.reader().await?).await
    }

    async fn references(&self, id: &JobSetId) -> Result<BTreeSet<Digest>, Error> {
        usage::references(&mut *self.reader().await?, id).await
    }

    async fn put_data_set(&self, now: Timestamp, data_set: NewDataSet) -> Result<(), Error> {
        write!(self, |c| data_sets::put(c, now, &data_set))
    }

    async fn data_set(&self, name: &DataSetName) -> Result<DataSet, Error> {
        data_sets::one(&mut *self.reader().await?, name).await
    }

    async fn data_sets(&self) -> Result<Vec<DataSet>, Error> {
        data_sets::all(&mut *self.reader().await?).await
    }

    async fn delete_data_set(&self, now: Timestamp, name: &DataSetName) -> Result<(), Error> {
        let name = name.clone();
        write!(self, |c| data_sets::delete(c, now, &name))
    }

    async fn data_set_references(&self, name: &DataSetName) -> Result<BTreeSet<Digest>, Error> {
        usage::data_set_references(&mut *self.reader().await?, name).await
    }

    async fn folds_in_training(&self) -> Result<Vec<FoldInTraining>, Error> {
        usage::folds_in_training(&mut *self.reader().await?).await
    }

    async fn census(&self) -> Result<Census, Error> {
        read_at_once!(self, |c| census::census(c))
    }

    async fn unreferenced(&self, since: Timestamp) -> Result<Vec<Digest>, Error> {
        artifacts::unreferenced(&mut *self.reader().await?, since).await
    }

    async fn forget_artifact(&self, digest: Digest, since: Timestamp) -> Result<bool, Error> {
        write!(self, |c| artifacts::forget(c, digest, since))
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        tokens::all(&mut *self.reader().await?).await
    }

    async fn create_token(&self, now: Timestamp, token: NewToken) -> Result<(), Error> {
        write!(self, |c| tokens::create(c, now, &token))
    }

    async fn revoke_token(&self, now: Timestamp, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        write!(self, |c| tokens::revoke(c, now, &name))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.changes()
    }
}
