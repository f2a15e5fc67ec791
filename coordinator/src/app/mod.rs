//! The use cases of the coordinator: what users and workers ask for, and what happens by itself.
//!
//! They know the ports to the queue, to the blobs and to time, and nothing of what is in front of them or behind the ports.
//! A state change is decided here, by [`fivefold_common::job::next`], within the transaction that stores it.

mod advance;
mod artifacts;
mod checkpoint;
mod complete;
mod control;
mod counts;
mod data_sets;
mod decision;
mod delete;
mod disk;
mod due;
mod exclude;
mod extend;
mod fail;
mod finish;
mod fit;
mod lease;
mod lists;
mod logs;
mod predict;
mod pushed_images;
mod report;
mod resolve;
mod score_tables;
mod submit;
mod upkeep;
mod views;
mod warm_start;

use std::sync::Arc;

use fivefold_common::ids::JobSetId;

pub use self::advance::advance;
pub use self::artifacts::{
    Held, Party, allow_download, allow_upload, download, held, missing_artifacts, put, size_bytes, start_blobs, upload,
};
pub use self::checkpoint::{record_checkpoint, resumable};
pub use self::complete::{Completion, complete};
pub use self::control::{
    cancel, drain, pause, pause_at, register_worker, resume, retrain, retry, see_worker, unregister_worker,
};
pub use self::counts::{Count, Counts};
pub use self::data_sets::{PushedDataSet, data_set, data_sets, delete_data_set, put_data_set};
pub use self::delete::{delete, delete_old};
pub use self::disk::{DataSetUsage, DiskSpace, DiskUsage, JobSetUsage, disk_space, disk_usage, warnings};
pub use self::due::DueJobSets;
pub use self::extend::{Extension, extend};
pub use self::fail::{fail, release};
pub use self::finish::finish;
pub use self::fit::fit_trained_folds;
pub use self::lease::{acquire, acquire_under, end_leases_of_earlier, has_free_job};
pub use self::logs::{LINES_PER_CALL, LOG_LIMIT, append_log, log, newest_log};
pub use self::predict::{Prediction, predict};
pub use self::report::{Answer, report};
pub use self::resolve::resolve;
pub use self::score_tables::ScoreTables;
pub use self::submit::{Submission, submit};
pub use self::upkeep::{clean, forget_workers, resume_work, run_upkeep, sweep};
pub use self::views::{Presence, WorkerView, epochs, events, job_set, job_sets, workers};
use crate::blobs::{Blobs, Claims};
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::queue::{Decide, Effect, Queue};

/// What the use cases work with.
#[derive(Debug, Clone)]
pub struct Coordinator {
    pub queue: Arc<dyn Queue>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub claims: Claims,
    /// Filled by every change, and at the start.
    pub due: DueJobSets,
    pub score_tables: ScoreTables,
    pub counts: Counts,
    pub settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease lasts without a report.
    pub lease_seconds: u32,
    /// How long a leased job may make no progress before its attempt is ended; 0 for ever.
    pub stall_seconds: u32,
    /// How long an artifact is kept that nothing refers to, unless it was released.
    pub unreferenced_seconds: u32,
    /// Days after which job sets that have ended are deleted; 0 for never.
    pub retain_days: u32,
}

impl Coordinator {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn lease_expires(&self) -> Timestamp {
        self.now().plus_seconds(self.settings.lease_seconds)
    }

    async fn change(&self, id: &JobSetId, decide: Decide) -> Result<Vec<Effect>, Error> {
        let effects = self.queue.change(self.now(), id, decide).await?;
        if !effects.is_empty() {
            self.due.add([id.clone()]);
        }
        Ok(effects)
    }
}

/// Runs a computation beside the tasks of the server.
async fn blocking<T: Send + 'static>(compute: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(compute).await.unwrap_or(Err(Error::EndedEarly("a computation")))
}
