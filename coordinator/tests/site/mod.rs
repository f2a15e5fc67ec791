//! A coordinator in this process on port 0, with a real SQLite file, and clients for the parts of user and worker.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of this module")]

pub(crate) mod program;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
use fivefold_common::scores::{ScoreRow, ScoreTable};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::{Config, run};
use fivefold_proto::convert::{spec_from_wire, spec_to_wire};
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::data_set_service_client::DataSetServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use fivefold_proto::{SubmitJobSetRequest, v1};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

/// A coordinator in this process, and clients of it.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) stopping: CancellationToken,
    pub(crate) server: JoinHandle<anyhow::Result<()>>,
    pub(crate) job_sets: JobSetServiceClient<Channel>,
    pub(crate) data_sets: DataSetServiceClient<Channel>,
    pub(crate) workers: WorkerServiceClient<Channel>,
    pub(crate) artifacts: ArtifactServiceClient<Channel>,
}

impl Site {
    pub(crate) async fn start(state: &Path, lease_seconds: u32) -> Site {
        Site::start_with(Config { lease_seconds, ..Config::new(state) }).await
    }

    pub(crate) async fn start_with(config: Config) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let server = tokio::spawn(run(config, listener, stopping.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Site { stopping, server, address, ..Site::of_channel(channel) }
    }

    /// Clients of a coordinator that runs as a program of its own.
    pub(crate) async fn of_program(url: String) -> Site {
        Site::of_channel(Channel::from_shared(url).unwrap().connect().await.unwrap())
    }

    /// Clients with a connection to a coordinator that runs as a program of its own.
    pub(crate) fn of_channel(channel: Channel) -> Site {
        Site {
            address: ([127, 0, 0, 1], 0).into(),
            stopping: CancellationToken::new(),
            server: tokio::spawn(async { Ok(()) }),
            job_sets: JobSetServiceClient::new(channel.clone()),
            data_sets: DataSetServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            artifacts: ArtifactServiceClient::new(channel),
        }
    }

    pub(crate) async fn stop(self) {
        self.stopping.cancel();
        self.server.await.unwrap().unwrap();
    }

    pub(crate) async fn upload_from(
        &self,
        kind: v1::ArtifactKind,
        bytes: &[u8],
        digest: Digest,
        offset: usize,
    ) -> Result<(), Status> {
        let artifact = v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes: bytes.len() as u64 };
        let header = v1::UploadHeader { artifact: Some(artifact), offset_bytes: offset as u64, lease: None };
        let mut parts = vec![v1::UploadArtifactRequest { part: Some(Part::Header(header)) }];
        let chunks = bytes[offset..].chunks(1000);
        parts.extend(chunks.map(|chunk| v1::UploadArtifactRequest { part: Some(Part::Chunk(chunk.to_vec().into())) }));
        self.artifacts.clone().upload_artifact(tokio_stream::iter(parts)).await.map(|_| ())
    }

    pub(crate) async fn upload(&self, kind: v1::ArtifactKind, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.upload_from(kind, bytes, digest, 0).await.unwrap();
        digest
    }

    async fn upload_list(&self, list: &str) -> Result<String, Status> {
        let digest = Digest::of(list.as_bytes());
        self.upload_from(v1::ArtifactKind::Manifest, list.as_bytes(), digest, 0).await?;
        Ok(digest.to_string())
    }

    pub(crate) async fn download(&self, digest: &str) -> Vec<u8> {
        let request = v1::DownloadArtifactRequest { digest: digest.to_owned(), offset_bytes: 0, lease: None };
        let mut chunks = self.artifacts.clone().download_artifact(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = chunks.message().await.unwrap() {
            bytes.extend(message.chunk);
        }
        bytes
    }

    pub(crate) async fn submit(&self, request_id: &str, spec: &JobSetSpec) -> Result<v1::JobSet, Status> {
        let manifests = v1::Manifests {
            train_digest: self.upload_list(&list("t", 40)).await?,
            hpa_digest: self.upload_list(&list("h", 20)).await?,
            test_digest: self.upload_list(TEST_LIST).await?,
            weights_digest: String::new(),
            folds_digest: String::new(),
            warm_start_job_set_id: String::new(),
            images_digest: String::new(),
        };
        let request = SubmitJobSetRequest::new(request_id, &spec_to_wire(spec), &manifests);
        Ok(self.job_sets.clone().submit_job_set(request).await?.into_inner().job_set.unwrap())
    }

    pub(crate) async fn register(&self, name: &str) {
        let request = v1::RegisterWorkerRequest {
            name: name.into(),
            device: "cpu".into(),
            version: "0".into(),
            protocol: fivefold_proto::PROTOCOL,
            has_image_folder: true,
        };
        self.workers.clone().register_worker(request).await.unwrap();
    }

    pub(crate) async fn acquire(&self, worker: &str, request_id: &str, wait_seconds: u32) -> Option<v1::Lease> {
        let request = v1::AcquireLeaseRequest {
            worker_name: worker.into(),
            wait_seconds,
            request_id: request_id.into(),
            protocol: fivefold_proto::PROTOCOL,
            has_image_folder: true,
            name_lock: None,
        };
        self.workers.clone().acquire_lease(request).await.unwrap().into_inner().lease
    }

    pub(crate) async fn report(
        &self,
        lease: &v1::Lease,
        sequence: u64,
        epochs: Vec<v1::EpochMetrics>,
    ) -> Result<v1::ReportJobResponse, Status> {
        let progress = v1::Progress { phase: v1::Phase::Training.into(), step: sequence as u32, ..Default::default() };
        let report = v1::ReportJobRequest { lease: reference(lease), sequence, progress: Some(progress), epochs };
        let mut answers = self.workers.clone().report_job(tokio_stream::iter([report])).await?.into_inner();
        Ok(answers.message().await?.unwrap())
    }

    /// Uploads a result and its checkpoint, and returns the request that completes the job with them.
    pub(crate) async fn upload_results(&self, lease: &v1::Lease, table: &ScoreTable) -> v1::CompleteJobRequest {
        let mut csv = Vec::new();
        table.write_csv(&mut csv).unwrap();
        let is_train = lease.kind() == v1::JobKind::Train;
        let kind = if is_train { v1::ArtifactKind::Oof } else { v1::ArtifactKind::Predictions };
        let digest = self.upload(kind, &csv).await;
        let checkpoint =
            self.upload(v1::ArtifactKind::Checkpoint, format!("weights of {}", lease.fold).as_bytes()).await;
        let checkpoint = v1::Checkpoint {
            digest: checkpoint.to_string(),
            role: v1::CheckpointRole::Last.into(),
            ..Default::default()
        };
        v1::CompleteJobRequest {
            lease: reference(lease),
            result: Some(v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes: csv.len() as u64 }),
            checkpoint: is_train.then_some(checkpoint),
            made_by_json: "{}".into(),
        }
    }

    pub(crate) async fn complete(&self, lease: &v1::Lease, table: &ScoreTable) -> Result<(), Status> {
        let request = self.upload_results(lease, table).await;
        self.workers.clone().complete_job(request).await.map(|_| ())
    }

    pub(crate) async fn job_set(&self, id: &str) -> v1::JobSet {
        let request = v1::GetJobSetRequest { job_set_id: id.to_owned() };
        self.job_sets.clone().get_job_set(request).await.unwrap().into_inner().job_set.unwrap()
    }

    pub(crate) async fn wait_until(&self, id: &str, holds: impl Fn(&v1::JobSet) -> bool) -> v1::JobSet {
        let start = Instant::now();
        loop {
            let job_set = self.job_set(id).await;
            if holds(&job_set) {
                return job_set;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the job set did not get there: {job_set:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) const TEST_LIST: &str = "Id,Predicted\nx1,0\nx0,0\n";

pub(crate) fn list(prefix: &str, count: usize) -> String {
    let rows = (0..count).map(|i| format!("{prefix}{i},{} {}\n", i % 5, 5 + i % 3));
    format!("Id,Target\n{}", rows.collect::<String>())
}

pub(crate) fn spec() -> JobSetSpec {
    JobSetSpec { folds: 3, max_attempts: 2, ..JobSetSpec::default() }
}

pub(crate) fn reference(lease: &v1::Lease) -> Option<v1::LeaseRef> {
    Some(v1::LeaseRef { job_id: lease.job_id, attempt: lease.attempt })
}

/// Scores of a perfect model: 0.9 for the labels of a row.
pub(crate) fn scores(lease: &v1::Lease) -> ScoreTable {
    let fold = Fold(lease.fold as u8);
    let rows = match lease.kind() {
        v1::JobKind::Train => {
            let spec = spec_from_wire(lease.spec.clone().unwrap()).unwrap();
            let read = |text: String| Manifest::read_labelled_csv("list", &spec, text.as_bytes()).unwrap();
            let (train, hpa) = (read(list("t", 40)), read(list("h", 20)));
            let folds = FoldTable::split(&spec, &train, Some(&hpa)).unwrap();
            FoldRows::of(&spec, fold, &train, Some(&hpa), &folds).unwrap().valid
        }
        _ => {
            let row = |id: &str| fivefold_common::manifest::LabelledRow {
                id: id.into(),
                source: fivefold_common::scores::Source::Test,
                labels: Default::default(),
            };
            vec![row("x1"), row("x0")]
        }
    };
    let score = |row: fivefold_common::manifest::LabelledRow| ScoreRow {
        scores: (0..28).map(|label| if row.labels.contains(label) || label == 7 { 0.9 } else { 0.1 }).collect(),
        id: row.id,
        source: row.source,
        fold,
        target: row.labels,
    };
    ScoreTable { class_count: 28, rows: rows.into_iter().map(score).collect() }
}
