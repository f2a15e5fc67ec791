//! One attempt at a job, from its lease to its end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use fivefold_client::{CallError, Connection, TransferError, Transfers};
use fivefold_common::ids::{self, JobId, LeaseRef};
use fivefold_common::progress::{Phase, Progress};
use fivefold_proto::convert::{failure_cause_to_wire, lease_to_wire};
use fivefold_proto::v1;
use fivefold_train::{Stop, StopFlag};
use tokio_util::sync::CancellationToken;

use crate::attempt_log::AttemptLog;
use crate::daemon::Worker;
use crate::deliver::deliver;
use crate::failure::{AttemptError, failure_cause};
use crate::job::Job;
use crate::lease::Lease;
use crate::prepare::{Prepared, prepare};
use crate::report::{LeaseEnd, LeaseSignals, Reporter};
use crate::run::{ThreadStuck, run};

/// How long a worker tries to save and release a lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(120);

/// An attempt in progress.
pub(crate) struct Attempt<'a> {
    pub(crate) worker: &'a Worker,
    /// Its calls are cancelled with `gone`.
    pub(crate) connection: Connection,
    pub(crate) lease: LeaseRef,
    /// This attempt's own files.
    pub(crate) folder: PathBuf,
    pub(crate) reporter: Reporter,
    /// Asks the training thread to stop.
    pub(crate) stop: StopFlag,
    /// Cancelled when the lease is to be saved and released.
    pub(crate) release: CancellationToken,
    /// Cancelled when nothing can be delivered any more: the lease is gone, or [`RELEASE_TIMEOUT`] is over.
    pub(crate) gone: CancellationToken,
}

/// How an attempt ended that did not fail.
enum Outcome {
    /// The result is with the coordinator.
    Delivered,
    /// A stop was asked for. What is worth keeping is with the coordinator.
    Stopped,
}

/// Works on a lease until it is delivered, failed, released or lost. A worker that is `leaving` saves and releases it.
///
/// # Errors
/// [`ThreadStuck`]. Other failures go to the coordinator.
pub(crate) async fn work_on(
    connection: &Connection,
    worker: &Worker,
    lease: Lease,
    leaving: &CancellationToken,
) -> Result<(), ThreadStuck> {
    let Lease { message, requested_at } = lease;
    let lease = LeaseRef { job: JobId(message.job_id), attempt: ids::Attempt(message.attempt) };
    let name = format!("{lease} (fold {})", message.fold);
    let log = AttemptLog::start(connection, lease, worker);
    tracing::info!("{name} begins");
    let signals = LeaseSignals { release: leaving.child_token(), gone: CancellationToken::new() };
    let attempt = Attempt {
        worker,
        connection: connection.with_cancellation(signals.gone.clone()),
        lease,
        folder: worker.scratch.join(format!("job-{}-{}", lease.job, lease.attempt)),
        reporter: Reporter::start(connection, lease, message.lease_seconds, requested_at, signals.clone()),
        stop: StopFlag::new(),
        release: signals.release.clone(),
        gone: signals.gone.clone(),
    };
    let stopping = tokio::spawn(stop_when_due(signals, attempt.stop.clone()));
    let worked = attempt.work(message).await;
    let ended = if matches!(worked, Err(AttemptError::Stuck(_))) { Err(ThreadStuck) } else { Ok(()) };
    let folder = attempt.folder.clone();
    attempt.conclude(&name, worked).await;
    stopping.abort();
    log.end(&worker.recorder).await;
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
        tracing::debug!("{} cannot be removed: {error}", folder.display());
    }
    ended
}

/// Asks the training to save and stop when the lease is to be released, and to stop at once when it is gone or after
/// [`RELEASE_TIMEOUT`].
async fn stop_when_due(signals: LeaseSignals, stop: StopFlag) {
    let LeaseSignals { release, gone } = signals;
    tokio::select! {
        () = gone.cancelled() => {}
        () = async {
            release.cancelled().await;
            stop.ask(Stop::SaveAndStop);
            tokio::time::sleep(RELEASE_TIMEOUT).await;
        } => gone.cancel(),
    }
    stop.ask(Stop::Discard);
}

impl Attempt<'_> {
    /// Uploads and downloads of this attempt.
    pub(crate) fn transfers(&self) -> Transfers {
        self.connection.transfers().under_lease(self.lease)
    }

    /// Waits until all reports so far are stored.
    pub(crate) async fn all_reports_stored(&self) -> Result<(), CallError> {
        let stored = self.reporter.reported().stored();
        self.gone.run_until_cancelled(stored).await.ok_or(CallError::Cancelled)
    }

    async fn work(&self, lease: v1::Lease) -> Result<Outcome, AttemptError> {
        self.reporter.progress(Progress::start_of(Phase::Preparing));
        let job = Job::from_wire(lease)?;
        let folder = &self.folder;
        tokio::fs::create_dir_all(folder).await.with_context(|| format!("cannot create {}", folder.display()))?;
        let Some(Prepared { work, fetching }) = prepare(self, job).await? else { return Ok(Outcome::Stopped) };
        if self.stop.asked().is_some() {
            return Ok(Outcome::Stopped);
        }
        let mut ran = run(self, work, fetching.as_ref()).await;
        if let Some(mut fetching) = fetching
            && matches!(ran, Err(AttemptError::Train(_)))
            && let Some(error) = fetching.failure().await
        {
            // Training failed because its images did not come.
            ran = Err(error);
        }
        match ran? {
            Some(result) => {
                deliver(self, result).await?;
                Ok(Outcome::Delivered)
            }
            None => Ok(Outcome::Stopped),
        }
    }

    /// Tells the coordinator how the attempt ended, and the log.
    async fn conclude(self, name: &str, worked: Result<Outcome, AttemptError>) {
        if self.gone.is_cancelled() {
            match self.reporter.end().await {
                Some(LeaseEnd::Cancelled) => tracing::info!("{name} was cancelled"),
                Some(LeaseEnd::Lost(reason)) => tracing::warn!("{name} is abandoned: {reason}"),
                None => tracing::warn!("{name} is abandoned: its lease could not be released in time"),
            }
            return;
        }
        match worked {
            Ok(Outcome::Delivered) => tracing::info!("{name} is complete"),
            Ok(Outcome::Stopped) => self.release(name).await,
            Err(
                AttemptError::Call(CallError::LeaseLost(reason))
                | AttemptError::Transfer(TransferError::Call(CallError::LeaseLost(reason))),
            ) => tracing::warn!("{name} is abandoned: the lease is lost: {reason}"),
            Err(error) => self.fail(name, &error).await,
        }
    }

    async fn release(&self, name: &str) {
        let request = v1::ReleaseLeaseRequest { lease: Some(lease_to_wire(self.lease)) };
        match self.connection.call(request, async |c, r| c.workers().release_lease(r).await).await {
            Ok(_) => tracing::info!("{name} is released"),
            Err(error) => tracing::warn!("{name} could not be released: {error}"),
        }
    }

    async fn fail(&self, name: &str, error: &AttemptError) {
        tracing::error!("{name} failed: {error}");
        let cause = failure_cause_to_wire(failure_cause(error)).into();
        let request = v1::FailJobRequest { lease: Some(lease_to_wire(self.lease)), cause, message: error.to_string() };
        if let Err(error) = self.connection.call(request, async |c, r| c.workers().fail_job(r).await).await {
            tracing::warn!("the failure of {name} could not be reported: {error}");
        }
    }
}
