//! `WorkerService`: what workers ask for and report.

use std::time::Duration;

use fivefold_common::ids::LeaseRef;
use fivefold_common::job::RetryDecision;
use fivefold_common::one_line::{is_one_line, one_line};
use fivefold_proto::convert::{
    WireError, checkpoint_from_wire, digest_from_wire, epoch_from_wire, failure_cause_from_wire, lease_from_wire,
    progress_from_wire, required,
};
use fivefold_proto::v1::worker_service_server::WorkerService;
use fivefold_proto::{PROTOCOL, v1};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::limits::{self, Answers, ReaderGone, Sender};
use super::{Services, messages};
use crate::access::Caller;
use crate::app::{self, Completion};
use crate::error::Error;
use crate::queue::{ImageAccess, NameLock, NewWorker, Reported};

const MAX_NAME_BYTES: usize = 100;
const MAX_MESSAGE_CHARACTERS: usize = 10_000;
const MAX_WAIT_SECONDS: u32 = 60;
/// A queued job may become free by the passage of time alone, so a wait for a lease looks again after this.
const POLL: Duration = Duration::from_secs(1);

pub(super) fn checked_name(field: &str, name: &str) -> Result<(), WireError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_one_line(name) {
        return Err(WireError::new(field, format!("it should have 1 to {MAX_NAME_BYTES} printable characters")));
    }
    Ok(())
}

fn checked_name_lock(lock: v1::NameLock) -> Result<NameLock, WireError> {
    let v1::NameLock { id, taken_centiseconds } = lock;
    checked_name("name_lock.id", &id)?;
    let taken_centiseconds = i64::try_from(taken_centiseconds)
        .map_err(|_| WireError::new("name_lock.taken_centiseconds", "it is out of range"))?;
    Ok(NameLock { id, taken_centiseconds })
}

/// A worker that waits for a lease, and its request.
struct Asked {
    caller: Caller,
    worker: String,
    request_id: String,
    name_lock: Option<NameLock>,
    images: ImageAccess,
}

fn image_access(has_image_folder: bool) -> ImageAccess {
    if has_image_folder { ImageAccess::Folder } else { ImageAccess::Pushed }
}

/// Refuses a worker of another protocol. It may finish the job that it holds.
fn require_protocol(worker: &str, protocol: u32) -> Result<(), Error> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    let refused = format!(
        "worker {worker} speaks protocol {protocol}, and this coordinator, of version {}, speaks {PROTOCOL}: \
         install the same version on both",
        env!("CARGO_PKG_VERSION")
    );
    tracing::warn!("{refused}");
    Err(Error::WrongState(refused))
}

#[tonic::async_trait]
impl WorkerService for Services {
    async fn register_worker(
        &self,
        request: Request<v1::RegisterWorkerRequest>,
    ) -> Result<Response<v1::RegisterWorkerResponse>, Status> {
        let v1::RegisterWorkerRequest { name, device, version, protocol, has_image_folder } = request.into_inner();
        checked_name("name", &name)?;
        checked_name("device", &device)?;
        checked_name("version", &version)?;
        require_protocol(&name, protocol)?;
        tracing::info!("worker {name} is there, on {device}");
        let images = image_access(has_image_folder);
        app::register_worker(&self.coordinator, NewWorker { name, device, version, images }).await?;
        let lease_seconds = self.coordinator.settings.lease_seconds;
        Ok(Response::new(v1::RegisterWorkerResponse { lease_seconds }))
    }

    async fn unregister_worker(
        &self,
        request: Request<v1::UnregisterWorkerRequest>,
    ) -> Result<Response<v1::UnregisterWorkerResponse>, Status> {
        let name = request.into_inner().name;
        checked_name("name", &name)?;
        tracing::info!("worker {name} has left");
        app::unregister_worker(&self.coordinator, &name).await?;
        Ok(Response::new(v1::UnregisterWorkerResponse {}))
    }

    async fn acquire_lease(
        &self,
        request: Request<v1::AcquireLeaseRequest>,
    ) -> Result<Response<v1::AcquireLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let v1::AcquireLeaseRequest { worker_name, wait_seconds, request_id, protocol, name_lock, has_image_folder } =
            request.into_inner();
        checked_name("worker_name", &worker_name)?;
        checked_name("request_id", &request_id)?;
        require_protocol(&worker_name, protocol)?;
        let name_lock = name_lock.map(checked_name_lock).transpose()?;
        let _permit = self.waits.acquire()?;
        app::see_worker(&self.coordinator, &worker_name).await?;
        let wait = Duration::from_secs(wait_seconds.min(MAX_WAIT_SECONDS).into());
        if let Some(name_lock) = &name_lock {
            app::end_leases_of_earlier(&self.coordinator, &worker_name, name_lock).await?;
        }
        let images = image_access(has_image_folder);
        let asked = Asked { caller, worker: worker_name, request_id, name_lock, images };
        let lease = self.wait_for_lease(&asked, wait).await?;
        Ok(Response::new(v1::AcquireLeaseResponse { lease }))
    }

    type ReportJobStream = Answers<v1::ReportJobResponse>;

    async fn report_job(
        &self,
        request: Request<Streaming<v1::ReportJobRequest>>,
    ) -> Result<Response<Self::ReportJobStream>, Status> {
        let caller = Caller::of(&request)?;
        let (sender, answers) = limits::answers(self.report_streams.acquire()?, 4, self.limits.slow);
        tokio::spawn(self.clone().answer_reports(caller, request.into_inner(), sender));
        Ok(Response::new(answers))
    }

    async fn record_checkpoint(
        &self,
        request: Request<v1::RecordCheckpointRequest>,
    ) -> Result<Response<v1::RecordCheckpointResponse>, Status> {
        let request = request.into_inner();
        let lease = lease_from_wire(request.lease)?;
        let checkpoint = checkpoint_from_wire(&required("checkpoint", request.checkpoint)?)?;
        app::record_checkpoint(&self.coordinator, lease, &checkpoint).await?;
        Ok(Response::new(v1::RecordCheckpointResponse {}))
    }

    async fn complete_job(
        &self,
        request: Request<v1::CompleteJobRequest>,
    ) -> Result<Response<v1::CompleteJobResponse>, Status> {
        let request = request.into_inner();
        let lease = lease_from_wire(request.lease)?;
        let table = digest_from_wire("result.digest", &required("result", request.result)?.digest)?;
        let checkpoint = request.checkpoint.as_ref().map(checkpoint_from_wire).transpose()?;
        if serde_json::from_str::<serde::de::IgnoredAny>(&request.made_by_json).is_err() {
            return Err(WireError::new("made_by_json", "it is not JSON").into());
        }
        let checkpoint = checkpoint.map(|checkpoint| checkpoint.digest);
        let completion = Completion { lease, table, checkpoint, made_by_json: request.made_by_json };
        app::complete(&self.coordinator, completion).await?;
        Ok(Response::new(v1::CompleteJobResponse {}))
    }

    async fn fail_job(&self, request: Request<v1::FailJobRequest>) -> Result<Response<v1::FailJobResponse>, Status> {
        let request = request.into_inner();
        let lease = lease_from_wire(request.lease)?;
        let cause = failure_cause_from_wire(request.cause)?;
        let message: String = one_line(&request.message).chars().take(MAX_MESSAGE_CHARACTERS).collect();
        let decision = app::fail(&self.coordinator, lease, cause, &message).await?;
        let will_retry = matches!(decision, RetryDecision::RetryAfter { .. });
        Ok(Response::new(v1::FailJobResponse { will_retry }))
    }

    async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<Response<v1::ReleaseLeaseResponse>, Status> {
        app::release(&self.coordinator, lease_from_wire(request.into_inner().lease)?).await?;
        Ok(Response::new(v1::ReleaseLeaseResponse {}))
    }

    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = app::workers(&self.coordinator).await?.into_iter().map(messages::worker).collect();
        let server_time = Some(messages::timestamp(self.coordinator.clock.now()));
        Ok(Response::new(v1::ListWorkersResponse { workers, server_time }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        app::drain(&self.coordinator, &request.into_inner().worker_name, true).await?;
        Ok(Response::new(v1::DrainWorkerResponse {}))
    }

    async fn undrain_worker(
        &self,
        request: Request<v1::UndrainWorkerRequest>,
    ) -> Result<Response<v1::UndrainWorkerResponse>, Status> {
        app::drain(&self.coordinator, &request.into_inner().worker_name, false).await?;
        Ok(Response::new(v1::UndrainWorkerResponse {}))
    }
}

impl Services {
    /// Leases a job to a worker as soon as one is free; `None` after `wait`.
    async fn wait_for_lease(
        &self,
        Asked { caller, worker, request_id, name_lock, images }: &Asked,
        wait: Duration,
    ) -> Result<Option<v1::Lease>, Error> {
        let deadline = Instant::now() + wait;
        let mut changes = self.coordinator.queue.changes();
        let mut asked_once = false;
        let sign_of_life = Duration::from_secs(self.coordinator.settings.lease_seconds.into()) / 3;
        let mut seen_at = Instant::now();
        while !self.stopping.is_cancelled() {
            changes.mark_unchanged();
            caller.require_live()?;
            // A worker that waits is there: its connection is open.
            if seen_at.elapsed() > sign_of_life {
                app::see_worker(&self.coordinator, worker).await?;
                seen_at = Instant::now();
            }
            // The first time in any case: a lease whose answer was lost is found by its request, and is not free any more.
            if !asked_once || app::has_free_job(&self.coordinator, worker, *images).await? {
                asked_once = true;
                let name_lock = name_lock.clone();
                let leased = app::acquire_under(&self.coordinator, worker, request_id, name_lock, *images).await?;
                if let Some(leased) = leased {
                    return Ok(Some(messages::lease(&leased, self.coordinator.settings.lease_seconds)));
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                () = self.stopping.cancelled() => break,
                () = tokio::time::sleep(POLL) => {}
                _ = changes.changed() => {}
            }
        }
        Ok(None)
    }

    async fn answer_reports(
        self,
        caller: Caller,
        mut reports: Streaming<v1::ReportJobRequest>,
        mut sender: Sender<v1::ReportJobResponse>,
    ) {
        // Reports come three times in a lease period. After two periods without one the lease has expired.
        let idle = Duration::from_secs(2 * u64::from(self.coordinator.settings.lease_seconds));
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(idle, reports.message()) => next,
                () = self.stopping.cancelled() => {
                    return sender.end(Error::Unavailable("the coordinator is stopping".into()));
                }
            };
            let report = match next {
                Ok(Ok(Some(report))) => report,
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => {
                    return sender.end(Error::Unavailable(format!("no report came for {} s", idle.as_secs())));
                }
            };
            let answer = match caller.require_live() {
                Ok(()) => self.report(report).await,
                Err(error) => Err(error),
            };
            sender = match answer {
                Err(error) => return sender.end(error),
                Ok(answer) => match sender.send(answer).await {
                    Ok(sender) => sender,
                    Err(ReaderGone) => return,
                },
            };
        }
    }

    async fn report(&self, wire: v1::ReportJobRequest) -> Result<v1::ReportJobResponse, Error> {
        let lease: LeaseRef = lease_from_wire(wire.lease)?;
        let progress = wire.progress.map(progress_from_wire).transpose()?;
        let epochs = wire.epochs.iter().map(epoch_from_wire).collect();
        let answer = app::report(&self.coordinator, lease, wire.sequence, progress, epochs).await?;
        let (acknowledged_sequence, cancelled, release) = match answer {
            app::Answer::Stored(Reported { sequence, release }) => (sequence, false, release),
            app::Answer::Cancelled => (wire.sequence, true, false),
        };
        let lease_seconds = self.coordinator.settings.lease_seconds;
        Ok(v1::ReportJobResponse { acknowledged_sequence, lease_seconds, cancelled, release })
    }
}
