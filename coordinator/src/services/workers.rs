//! `WorkerService`: what workers say.

use std::time::Duration;

use fivefold_common::ids::{Attempt, Fold, JobId, JobSetId};
use fivefold_common::job::{JobKind, RetryDecision};
use fivefold_common::one_line::{is_one_line, one_line};
use fivefold_common::scores::ScoreTable;
use fivefold_proto::convert::{
    WireError, digest_from_wire, failure_cause_from_wire, job_kind_to_wire, lease_from_wire, required, spec_to_wire,
};
use fivefold_proto::v1::worker_service_server::WorkerService;
use fivefold_proto::{PROTOCOL, v1};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Caller;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lists::{Lists, read_folds, read_scores, read_test_rows};
use crate::queue::checkpoints::{self, Checkpoint, NewCheckpoint};
use crate::queue::ending::{self, JobResult, stored_id};
use crate::queue::lease::{self, Leased};
use crate::queue::report::Stored;
use crate::queue::{artifacts, events, job_sets, report, workers};
use crate::results::{optional, stored};
use crate::services::Coordinator;
use crate::services::limits::{self, Answers, NobodyReads};

const MAX_NAME_BYTES: usize = 100;
const MAX_WAIT_SECONDS: u32 = 60;
/// A queued job may become free by the clock alone, so a long poll looks again after this.
const POLL: Duration = Duration::from_secs(1);

fn checked_name(field: &str, name: &str) -> Result<(), WireError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_one_line(name) {
        return Err(WireError::new(field, format!("it should have 1 to {MAX_NAME_BYTES} printable characters")));
    }
    Ok(())
}

/// Refuses a worker that says other things than this coordinator understands. It may finish what it holds.
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
impl WorkerService for Coordinator {
    async fn register_worker(
        &self,
        request: Request<v1::RegisterWorkerRequest>,
    ) -> Result<Response<v1::RegisterWorkerResponse>, Status> {
        let v1::RegisterWorkerRequest { name, device, version, protocol } = request.into_inner();
        checked_name("name", &name)?;
        checked_name("device", &device)?;
        checked_name("version", &version)?;
        require_protocol(&name, protocol)?;
        tracing::info!("worker {name} is there, on {device}");
        let now = Timestamp::now();
        self.database
            .write(move |c| Box::pin(async move { workers::register(c, now, &name, &device, &version).await }))
            .await?;
        Ok(Response::new(v1::RegisterWorkerResponse { lease_seconds: self.lease_seconds }))
    }

    async fn acquire_lease(
        &self,
        request: Request<v1::AcquireLeaseRequest>,
    ) -> Result<Response<v1::AcquireLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let v1::AcquireLeaseRequest { worker_name, wait_seconds, request_id, protocol } = request.into_inner();
        checked_name("worker_name", &worker_name)?;
        checked_name("request_id", &request_id)?;
        require_protocol(&worker_name, protocol)?;
        let _place = self.waits.take()?;
        let seen = worker_name.clone();
        self.database.write(move |c| Box::pin(async move { workers::seen(c, Timestamp::now(), &seen).await })).await?;
        let deadline = Instant::now() + Duration::from_secs(u64::from(wait_seconds.min(MAX_WAIT_SECONDS)));
        let mut changes = self.database.changes();
        let mut asked_once = false;
        while !self.stopping.is_cancelled() {
            changes.mark_unchanged();
            caller.require_live()?;
            // The first time always: a lease whose answer was lost is not queued any more, and is found by its request id.
            if !asked_once || lease::any_queued(self.database.readers(), Timestamp::now()).await? {
                asked_once = true;
                if let Some(lease) = self.lease(worker_name.clone(), request_id.clone()).await? {
                    return Ok(Response::new(v1::AcquireLeaseResponse { lease: Some(lease) }));
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                () = self.stopping.cancelled() => break,
                () = tokio::time::sleep(POLL) => {}
                _ = changes.changed() => {}
            }
        }
        Ok(Response::new(v1::AcquireLeaseResponse { lease: None }))
    }

    type ReportJobStream = Answers<v1::ReportJobResponse>;

    async fn report_job(
        &self,
        request: Request<Streaming<v1::ReportJobRequest>>,
    ) -> Result<Response<Self::ReportJobStream>, Status> {
        let caller = Caller::of(&request)?;
        let mut reports = request.into_inner();
        let (mut sender, answers) = limits::answers(self.report_streams.take()?, 4, self.limits.slow);
        let coordinator = self.clone();
        // Reports come three times in a lease period; who sends none for two of them holds no lease any more.
        let idle = Duration::from_secs(2 * u64::from(self.lease_seconds));
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = tokio::time::timeout(idle, reports.message()) => next,
                    () = coordinator.stopping.cancelled() => {
                        return sender.end(Error::Unavailable("the coordinator is stopping".into()));
                    }
                };
                let report = match next {
                    Ok(Ok(Some(report))) => report,
                    Ok(Ok(None) | Err(_)) => return,
                    Err(_) => {
                        let seconds = idle.as_secs();
                        return sender.end(Error::Unavailable(format!("no report came for {seconds} s")));
                    }
                };
                let answer = match caller.require_live() {
                    Ok(()) => coordinator.store_report(report).await,
                    Err(error) => Err(error.into()),
                };
                sender = match answer {
                    Err(status) => return sender.end(status),
                    Ok(answer) => match sender.send(answer).await {
                        Ok(sender) => sender,
                        Err(NobodyReads) => return,
                    },
                };
            }
        });
        Ok(Response::new(answers))
    }

    async fn record_checkpoint(
        &self,
        request: Request<v1::RecordCheckpointRequest>,
    ) -> Result<Response<v1::RecordCheckpointResponse>, Status> {
        let request = request.into_inner();
        let (job, attempt) = lease_from_wire(request.lease)?;
        let checkpoint = new_checkpoint(required("checkpoint", request.checkpoint)?)?;
        let now = Timestamp::now();
        self.database
            .write(move |c| Box::pin(async move { checkpoints::record(c, now, job, attempt, checkpoint).await }))
            .await?;
        Ok(Response::new(v1::RecordCheckpointResponse {}))
    }

    async fn complete_job(
        &self,
        request: Request<v1::CompleteJobRequest>,
    ) -> Result<Response<v1::CompleteJobResponse>, Status> {
        let request = request.into_inner();
        let (job, attempt) = lease_from_wire(request.lease)?;
        let digest = digest_from_wire("result.digest", &required("result", request.result)?.digest)?;
        let checkpoint = request.checkpoint.map(new_checkpoint).transpose()?;
        if serde_json::from_str::<serde_json::Value>(&request.made_by_json).is_err() {
            return Err(WireError::new("made_by_json", "it is not JSON").into());
        }
        self.check_result(job, attempt, digest, checkpoint).await?;
        let checkpoint_digest = checkpoint.map(|checkpoint| checkpoint.digest);
        let result = JobResult { digest, checkpoint_digest, made_by_json: request.made_by_json };
        let now = Timestamp::now();
        self.database
            .write(move |c| Box::pin(async move { ending::complete(c, now, (job, attempt), &result).await }))
            .await?;
        Ok(Response::new(v1::CompleteJobResponse {}))
    }

    async fn fail_job(&self, request: Request<v1::FailJobRequest>) -> Result<Response<v1::FailJobResponse>, Status> {
        let request = request.into_inner();
        let (job, attempt) = lease_from_wire(request.lease)?;
        let cause = failure_cause_from_wire(request.cause)?;
        let message: String = one_line(&request.message).chars().take(10_000).collect();
        let now = Timestamp::now();
        let stored = message.clone();
        let decision = self
            .database
            .write(move |c| Box::pin(async move { ending::fail(c, now, (job, attempt), cause, &stored).await }))
            .await?;
        tracing::warn!("attempt {attempt} of job {job} failed ({cause}): {message}");
        let will_retry = matches!(decision, RetryDecision::RetryAfter { .. });
        Ok(Response::new(v1::FailJobResponse { will_retry }))
    }

    async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<Response<v1::ReleaseLeaseResponse>, Status> {
        let (job, attempt) = lease_from_wire(request.into_inner().lease)?;
        let now = Timestamp::now();
        let drained = fivefold_common::job::FailureCause::Drained;
        self.database
            .write(move |c| Box::pin(async move { ending::fail(c, now, (job, attempt), drained, "").await }))
            .await?;
        Ok(Response::new(v1::ReleaseLeaseResponse {}))
    }

    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let rows = workers::all(self.database.readers()).await?;
        let worker = |row: workers::Worker| v1::Worker {
            name: row.name,
            device: row.device,
            version: row.version,
            last_seen_time: Some(Timestamp(row.last_seen_ms).to_wire()),
            job_id: row.job_id,
            draining: row.draining == 1,
        };
        let server_time = Some(Timestamp::now().to_wire());
        Ok(Response::new(v1::ListWorkersResponse { workers: rows.into_iter().map(worker).collect(), server_time }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let name = request.into_inner().worker_name;
        self.database.write(move |c| Box::pin(async move { workers::set_draining(c, &name, true).await })).await?;
        Ok(Response::new(v1::DrainWorkerResponse {}))
    }

    async fn undrain_worker(
        &self,
        request: Request<v1::UndrainWorkerRequest>,
    ) -> Result<Response<v1::UndrainWorkerResponse>, Status> {
        let name = request.into_inner().worker_name;
        self.database.write(move |c| Box::pin(async move { workers::set_draining(c, &name, false).await })).await?;
        Ok(Response::new(v1::UndrainWorkerResponse {}))
    }
}

impl Coordinator {
    /// Gives a worker a job, if there is one.
    async fn lease(&self, worker_name: String, request_id: String) -> Result<Option<v1::Lease>, Error> {
        let lease_seconds = self.lease_seconds;
        let leased = self
            .database
            .write(move |c| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    let leased = lease::acquire(c, now, &worker_name, &request_id, lease_seconds).await?;
                    if let Some(leased) = &leased {
                        let id = stored_id(&leased.job_set_id)?;
                        let sentence =
                            format!("fold {} is with {worker_name}, attempt {}", leased.fold, leased.attempt);
                        events::append(c, now, &id, Some(JobId(leased.id)), "leased", &sentence).await?;
                    }
                    Ok(leased)
                })
            })
            .await?;
        match leased {
            Some(leased) => Ok(Some(self.describe(leased).await?)),
            None => Ok(None),
        }
    }

    /// Everything that a worker needs to know of a lease.
    async fn describe(&self, leased: Leased) -> Result<v1::Lease, Error> {
        let readers = self.database.readers();
        let id = stored_id(&leased.job_set_id)?;
        let row = job_sets::row(readers, &id).await?;
        let kind: JobKind = leased.kind.parse().map_err(|error| Error::Stored(format!("{error}")))?;
        let checkpoints = match kind {
            JobKind::Train => checkpoints::of_job(readers, JobId(leased.id)).await?,
            JobKind::Predict => vec![self.scoring_checkpoint(&id, leased.fold).await?],
        };
        Ok(v1::Lease {
            job_id: leased.id,
            attempt: leased.attempt as u32,
            lease_seconds: self.lease_seconds,
            job_set_id: leased.job_set_id,
            kind: job_kind_to_wire(kind).into(),
            fold: leased.fold as u32,
            spec: Some(spec_to_wire(&job_sets::spec(readers, &id).await?)),
            manifests: Some(v1::Manifests {
                train_digest: row.train_digest,
                hpa_digest: row.hpa_digest.unwrap_or_default(),
                test_digest: row.test_digest.unwrap_or_default(),
                weights_digest: row.weights_digest.unwrap_or_default(),
            }),
            folds_digest: row.folds_digest,
            checkpoints: checkpoints.into_iter().map(checkpoint_to_wire).collect(),
        })
    }

    /// The checkpoint that made a fold's out-of-fold table.
    async fn scoring_checkpoint(&self, id: &JobSetId, fold: i64) -> Result<Checkpoint, Error> {
        let jobs = job_sets::jobs(self.database.readers(), id).await?;
        let trained = jobs.into_iter().find(|job| job.kind == "train" && job.fold == fold);
        let digest = trained.and_then(|job| job.result_checkpoint_digest);
        let digest =
            digest.ok_or_else(|| Error::Stored(format!("fold {fold} of {id} has no checkpoint to predict with")))?;
        let size_bytes =
            artifacts::size_bytes(self.database.readers(), stored(&digest)?).await?.unwrap_or_default() as i64;
        Ok(Checkpoint { digest, size_bytes, role: "last".into(), epoch: 0, step: 0, macro_f1: None })
    }

    async fn store_report(&self, wire: v1::ReportJobRequest) -> Result<v1::ReportJobResponse, Status> {
        let (job, attempt) = lease_from_wire(wire.lease)?;
        let progress = wire.progress.map(|progress| report::Progress {
            phase: progress.phase,
            epoch: progress.epoch,
            step: progress.step,
            step_count: progress.step_count,
            loss: progress.loss,
            learning_rate: progress.learning_rate,
            images_per_second: progress.images_per_second,
        });
        let epochs: Vec<_> = wire.epochs.iter().map(epoch_from_wire).collect();
        let (sequence, lease_seconds) = (wire.sequence, self.lease_seconds);
        let stored = self
            .database
            .write(move |c| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    report::store(c, now, lease_seconds, (job, attempt), sequence, progress, &epochs).await
                })
            })
            .await;
        match stored {
            Ok(Stored { sequence, give_back }) => Ok(v1::ReportJobResponse {
                acknowledged_sequence: sequence,
                lease_seconds,
                cancelled: false,
                give_back,
            }),
            Err(Error::StaleAttempt { .. }) if report::is_cancelled(self.database.readers(), job, attempt).await? => {
                Ok(v1::ReportJobResponse {
                    acknowledged_sequence: sequence,
                    lease_seconds,
                    cancelled: true,
                    give_back: false,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a result that is not held, or does not have exactly the rows of its fold.
    async fn check_result(
        &self,
        job: JobId,
        attempt: Attempt,
        digest: fivefold_common::ids::Digest,
        checkpoint: Option<NewCheckpoint>,
    ) -> Result<ScoreTable, Error> {
        let readers = self.database.readers();
        for digest in [Some(digest), checkpoint.map(|checkpoint| checkpoint.digest)].into_iter().flatten() {
            if artifacts::size_bytes(readers, digest).await?.is_none() {
                return Err(Error::NotFound { what: "artifact", name: format!("{digest}: upload it first") });
            }
        }
        let (id, kind, fold) = ending::of_attempt(readers, job, attempt).await?;
        let fold = Fold(fold as u8);
        let row = job_sets::row(readers, &id).await?;
        let expected = match kind {
            JobKind::Train => {
                if checkpoint.is_none() {
                    return Err(WireError::new("checkpoint", "a train job names the one that made its result").into());
                }
                let lists =
                    Lists::read(&self.store, stored(&row.train_digest)?, optional(row.hpa_digest.as_deref())?).await?;
                let folds = read_folds(&self.store, stored(&row.folds_digest)?).await?;
                lists.fold_rows(&job_sets::spec(readers, &id).await?, fold, &folds)?.valid
            }
            JobKind::Predict => {
                let test = row.test_digest.ok_or_else(|| Error::Stored(format!("{id} predicts without a list")))?;
                read_test_rows(&self.store, stored(&test)?).await?
            }
        };
        read_scores(&self.store, digest, fold, expected).await
    }
}

fn epoch_from_wire(wire: &v1::EpochMetrics) -> report::EpochMetrics {
    report::EpochMetrics {
        epoch: i64::from(wire.epoch),
        train_loss: wire.train_loss,
        valid_loss: wire.valid_loss,
        valid_macro_f1: wire.valid_macro_f1,
        valid_threshold: wire.valid_threshold,
        learning_rate: wire.learning_rate,
        duration_seconds: wire.duration_seconds,
    }
}

fn new_checkpoint(wire: v1::Checkpoint) -> Result<NewCheckpoint, WireError> {
    let role = match wire.role() {
        v1::CheckpointRole::Last => "last",
        v1::CheckpointRole::Best => "best",
        v1::CheckpointRole::Unspecified => return Err(WireError::new("checkpoint.role", "it is not set")),
    };
    let digest = digest_from_wire("checkpoint.digest", &wire.digest)?;
    Ok(NewCheckpoint { digest, role, epoch: wire.epoch, step: wire.step, macro_f1: wire.macro_f1 })
}

fn checkpoint_to_wire(row: Checkpoint) -> v1::Checkpoint {
    let role = if row.role == "best" { v1::CheckpointRole::Best } else { v1::CheckpointRole::Last };
    v1::Checkpoint {
        digest: row.digest,
        size_bytes: row.size_bytes as u64,
        role: role.into(),
        epoch: row.epoch as u32,
        step: row.step as u32,
        macro_f1: row.macro_f1,
    }
}
