//! The worker's loop: register, lease, work.

use std::path::PathBuf;
use std::sync::Arc;

use fivefold_client::{CallError, Connection};
use fivefold_program::recorder::Recorder;
use fivefold_proto::v1;
use fivefold_train::torch::device;
use fivefold_train::{Device, ImageFolder};
use tokio_util::sync::CancellationToken;

use crate::attempt::work_on;
use crate::cache_folder::CacheFolders;
use crate::lease::{Acquired, acquire};
use crate::register::{register, unregister};

/// A worker: one device, which works on one job at a time.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name, unique among the coordinator's workers.
    pub name: String,
    /// The lock on the name; `None` without one.
    pub name_lock: Option<v1::NameLock>,
    /// The folder of the images; `None` to take jobs of pushed data sets alone.
    pub images: Option<Arc<ImageFolder>>,
    /// Where packed images are kept.
    pub cache: CacheFolders,
    /// The folder for downloads and checkpoints. Its contents may be deleted between jobs.
    pub scratch: PathBuf,
    /// The device.
    pub device: Device,
    /// Records the log of each attempt for the coordinator.
    pub recorder: Recorder,
    /// The number of threads that decode images.
    pub decode_threads: usize,
}

/// Works on one job after the other until `leaving` is cancelled.
///
/// # Errors
/// When the coordinator refuses this worker, or a training thread does not stop and keeps its device.
pub async fn run(connection: &Connection, worker: &Worker, leaving: &CancellationToken) -> anyhow::Result<()> {
    let until_leaving = connection.with_cancellation(leaving.clone());
    loop {
        match register(&until_leaving, worker).await {
            Err(CallError::Cancelled) => break,
            registered => registered?,
        }
        tracing::info!("worker {} is waiting for a job, on {}", worker.name, device::describe(worker.device));
        match work_until_unknown(connection, &until_leaving, worker, leaving).await? {
            Stopped::Unknown => tracing::warn!("the coordinator does not know worker {} any more", worker.name),
            Stopped::Leaving => break,
        }
    }
    tracing::info!("worker {} is leaving", worker.name);
    unregister(connection, worker).await;
    Ok(())
}

/// Why the worker takes no more leases.
enum Stopped {
    /// The coordinator has another state folder than before, and does not know the worker.
    Unknown,
    /// The worker was asked to leave.
    Leaving,
}

async fn work_until_unknown(
    connection: &Connection,
    until_leaving: &Connection,
    worker: &Worker,
    leaving: &CancellationToken,
) -> anyhow::Result<Stopped> {
    while !leaving.is_cancelled() {
        match acquire(connection, until_leaving, worker).await? {
            Acquired::Lease(lease) => work_on(connection, worker, *lease, leaving).await?,
            Acquired::Nothing => {}
            Acquired::UnknownWorker => return Ok(Stopped::Unknown),
            Acquired::Cancelled => return Ok(Stopped::Leaving),
        }
    }
    Ok(Stopped::Leaving)
}
