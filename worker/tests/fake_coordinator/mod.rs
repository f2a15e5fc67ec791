//! A coordinator in memory: its state, and what workers sent it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fivefold_common::ids::Digest;
use fivefold_proto::status::{Reason, status};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_server::{ArtifactService, ArtifactServiceServer};
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// The coordinator's state. It outlives the server.
#[derive(Clone, Default)]
pub(crate) struct Coordinator(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queue: VecDeque<v1::Lease>,
    pub(crate) artifacts: HashMap<String, Vec<u8>>,
    pub(crate) parts: HashMap<String, Vec<u8>>,
    /// When set, all other attempts are stale.
    pub(crate) current_attempt: Option<u32>,
    /// Whether a lease is given and its answer does not arrive.
    pub(crate) withholds_answers: bool,
    /// The lease whose answer did not arrive, by the id of its request.
    pub(crate) unanswered: Option<(String, v1::Lease)>,
    /// Requests for a lease.
    pub(crate) waits: u32,
    pub(crate) reports: u32,
    pub(crate) sequences: HashMap<u32, u64>,
    pub(crate) epochs: BTreeMap<u32, v1::EpochMetrics>,
    pub(crate) recorded: Vec<v1::Checkpoint>,
    pub(crate) completed: Option<v1::CompleteJobRequest>,
    pub(crate) failed: Option<v1::FailJobRequest>,
    pub(crate) released: u32,
    /// Downloads that were asked for, with their offsets in bytes.
    pub(crate) downloads: Vec<(String, u64)>,
    /// Artifacts of which no download gets more than one chunk.
    pub(crate) withheld: HashSet<String>,
    /// Whether each worker that registered has a folder of images.
    pub(crate) registered: Vec<bool>,
    pub(crate) completions: u32,
}

/// The size of a chunk of a download, in bytes.
pub(crate) const CHUNK_BYTES: usize = 400;

impl State {
    /// The `last` ones before the `best` ones, newest first: the order in a lease.
    pub(crate) fn newest_checkpoints(&self) -> Vec<v1::Checkpoint> {
        let of_role = |role| self.recorded.iter().rev().filter(move |checkpoint| checkpoint.role() == role).cloned();
        of_role(v1::CheckpointRole::Last).chain(of_role(v1::CheckpointRole::Best)).collect()
    }

    /// For the message of a failed test.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} waits, {} reports, epochs {:?}, recorded {:?}, failed {:?}, released {}",
            self.waits,
            self.reports,
            self.epochs.keys(),
            self.recorded,
            self.failed,
            self.released
        )
    }

    fn check(&self, lease: Option<v1::LeaseRef>) -> Result<(), Status> {
        let attempt = lease.map(|lease| lease.attempt);
        if self.current_attempt.is_some() && attempt != self.current_attempt {
            return Err(status(Reason::StaleAttempt, "the lease belongs to another attempt"));
        }
        Ok(())
    }
}

impl Coordinator {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// The server. It has its own runtime, so that its connections end with it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) port: u16,
    runtime: Runtime,
}

impl Server {
    /// Serves on a port; 0 is any free port.
    pub(crate) async fn start(coordinator: &Coordinator, port: u16) -> Self {
        let start = Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tonic::transport::Server::builder()
            .add_service(WorkerServiceServer::new(coordinator.clone()))
            .add_service(ArtifactServiceServer::new(coordinator.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url: format!("http://127.0.0.1:{port}"), port, runtime }
    }

    /// Stops at once and breaks all connections.
    pub(crate) fn stop(self) {
        self.runtime.shutdown_background();
    }
}

#[tonic::async_trait]
impl WorkerService for Coordinator {
    async fn register_worker(
        &self,
        request: Request<v1::RegisterWorkerRequest>,
    ) -> Result<Response<v1::RegisterWorkerResponse>, Status> {
        self.state().registered.push(request.into_inner().has_image_folder);
        Ok(Response::new(v1::RegisterWorkerResponse { lease_seconds: 5 }))
    }

    async fn unregister_worker(
        &self,
        _request: Request<v1::UnregisterWorkerRequest>,
    ) -> Result<Response<v1::UnregisterWorkerResponse>, Status> {
        Ok(Response::new(v1::UnregisterWorkerResponse {}))
    }

    async fn acquire_lease(
        &self,
        request: Request<v1::AcquireLeaseRequest>,
    ) -> Result<Response<v1::AcquireLeaseResponse>, Status> {
        let id = request.into_inner().request_id;
        let again = self.state().unanswered.take_if(|(unanswered, _)| *unanswered == id);
        if let Some((_, lease)) = again {
            return Ok(Response::new(v1::AcquireLeaseResponse { lease: Some(lease) }));
        }
        self.state().waits += 1;
        for _ in 0..100 {
            let lease = self.state().queue.pop_front();
            if let Some(lease) = lease {
                if self.state().withholds_answers {
                    self.state().unanswered = Some((id, lease));
                    return std::future::pending().await;
                }
                return Ok(Response::new(v1::AcquireLeaseResponse { lease: Some(lease) }));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Response::new(v1::AcquireLeaseResponse { lease: None }))
    }

    type ReportJobStream = ReceiverStream<Result<v1::ReportJobResponse, Status>>;

    async fn report_job(
        &self,
        request: Request<Streaming<v1::ReportJobRequest>>,
    ) -> Result<Response<Self::ReportJobStream>, Status> {
        let mut reports = request.into_inner();
        let coordinator = self.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let answer = {
                    let mut state = coordinator.state();
                    let attempt = report.lease.map_or(0, |lease| lease.attempt);
                    match state.check(report.lease) {
                        Err(status) => Err(status),
                        Ok(()) => {
                            state.reports += 1;
                            let stored = state.sequences.entry(attempt).or_default();
                            // Reports come one after the other, without gaps.
                            assert!(report.sequence <= *stored + 1, "{} after {stored}", report.sequence);
                            *stored = report.sequence.max(*stored);
                            let acknowledged_sequence = *stored;
                            state.epochs.extend(report.epochs.into_iter().map(|epoch| (epoch.epoch, epoch)));
                            Ok(v1::ReportJobResponse { acknowledged_sequence, lease_seconds: 5, ..Default::default() })
                        }
                    }
                };
                if sender.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn record_checkpoint(
        &self,
        request: Request<v1::RecordCheckpointRequest>,
    ) -> Result<Response<v1::RecordCheckpointResponse>, Status> {
        let request = request.into_inner();
        let checkpoint = request.checkpoint.unwrap();
        let mut state = self.state();
        state.check(request.lease)?;
        // A checkpoint is uploaded before it is recorded.
        assert!(state.artifacts.contains_key(&checkpoint.digest));
        state.recorded.push(checkpoint);
        Ok(Response::new(v1::RecordCheckpointResponse {}))
    }

    async fn complete_job(
        &self,
        request: Request<v1::CompleteJobRequest>,
    ) -> Result<Response<v1::CompleteJobResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.check(request.lease)?;
        assert!(state.artifacts.contains_key(&request.result.as_ref().unwrap().digest));
        state.completed = Some(request);
        state.completions += 1;
        Ok(Response::new(v1::CompleteJobResponse {}))
    }

    async fn fail_job(&self, request: Request<v1::FailJobRequest>) -> Result<Response<v1::FailJobResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.check(request.lease)?;
        state.failed = Some(request);
        Ok(Response::new(v1::FailJobResponse { will_retry: false }))
    }

    async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<Response<v1::ReleaseLeaseResponse>, Status> {
        let mut state = self.state();
        state.check(request.into_inner().lease)?;
        state.released += 1;
        Ok(Response::new(v1::ReleaseLeaseResponse {}))
    }

    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        Ok(Response::new(v1::ListWorkersResponse::default()))
    }

    async fn drain_worker(
        &self,
        _request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        Err(Status::unimplemented("not called by workers"))
    }

    async fn undrain_worker(
        &self,
        _request: Request<v1::UndrainWorkerRequest>,
    ) -> Result<Response<v1::UndrainWorkerResponse>, Status> {
        Err(Status::unimplemented("not called by workers"))
    }
}

#[tonic::async_trait]
impl ArtifactService for Coordinator {
    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::GetUploadResponse>, Status> {
        let digest = request.into_inner().artifact.unwrap().digest;
        let state = self.state();
        let complete = state.artifacts.contains_key(&digest);
        let offset_bytes = state.parts.get(&digest).map_or(0, |part| part.len() as u64);
        Ok(Response::new(v1::GetUploadResponse { offset_bytes, complete }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(status(Reason::BadField, "no header"));
        };
        let artifact = header.artifact.unwrap();
        self.state().check(header.lease)?;
        if self.state().parts.get(&artifact.digest).map_or(0, |part| part.len() as u64) != header.offset_bytes {
            return Err(status(Reason::WrongOffset, "ask again"));
        }
        let mut received = 0;
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { return Err(status(Reason::BadField, "no chunk")) };
            assert!(chunk.len() <= 1 << 20);
            received += chunk.len();
            let mut state = self.state();
            let part = state.parts.entry(artifact.digest.clone()).or_default();
            part.extend_from_slice(&chunk);
            // The first stream of a large upload breaks after its first chunk; the next one resumes there.
            if received == chunk.len() && header.offset_bytes == 0 && (part.len() as u64) < artifact.size_bytes {
                return Err(Status::unavailable("broken off"));
            }
        }
        let mut state = self.state();
        let whole = state.parts.remove(&artifact.digest).unwrap_or_default();
        if Digest::of(&whole).to_string() != artifact.digest {
            return Err(status(Reason::DigestMismatch, "other bytes"));
        }
        state.artifacts.insert(artifact.digest.clone(), whole);
        Ok(Response::new(v1::UploadArtifactResponse { artifact: Some(artifact) }))
    }

    type DownloadArtifactStream = ReceiverStream<Result<v1::DownloadArtifactResponse, Status>>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let v1::DownloadArtifactRequest { digest, offset_bytes, .. } = request.into_inner();
        let whole = self.state().artifacts.get(&digest).cloned();
        let whole = whole.ok_or_else(|| status(Reason::NotFound, "no such artifact"))?;
        self.state().downloads.push((digest.clone(), offset_bytes));
        let size_bytes = whole.len() as u64;
        let (sender, receiver) = mpsc::channel(1);
        let coordinator = self.clone();
        tokio::spawn(async move {
            let rest = &whole[offset_bytes as usize..];
            for (place, chunk) in rest.chunks(CHUNK_BYTES).enumerate() {
                // A download from the start breaks in the middle.
                if place == 1 && offset_bytes == 0 {
                    let _ = sender.send(Err(Status::unavailable("broken off"))).await;
                    return;
                }
                while offset_bytes > 0 && coordinator.state().withheld.contains(&digest) && !sender.is_closed() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let chunk = Bytes::copy_from_slice(chunk);
                if sender.send(Ok(v1::DownloadArtifactResponse { chunk, size_bytes })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
