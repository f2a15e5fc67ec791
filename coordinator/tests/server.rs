//! A real server on port 0 and a real SQLite file, with a client that plays the worker.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest, ManifestKind};
use fivefold_common::report::Report;
use fivefold_common::scores::{ScoreRow, ScoreTable};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::{Config, run};
use fivefold_proto::convert::{spec_from_wire, spec_to_wire};
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A server in this process, and clients of it.
struct Site {
    stopping: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
    job_sets: JobSetServiceClient<Channel>,
    workers: WorkerServiceClient<Channel>,
    artifacts: ArtifactServiceClient<Channel>,
}

impl Site {
    async fn start(state: &Path, lease_seconds: u32) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stopping = CancellationToken::new();
        let config = Config { state: state.to_owned(), lease_seconds };
        let server = tokio::spawn(run(config, listener, stopping.clone()));
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Site {
            stopping,
            server,
            job_sets: JobSetServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            artifacts: ArtifactServiceClient::new(channel),
        }
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.server.await.unwrap().unwrap();
    }

    async fn upload_from(
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

    async fn upload(&self, kind: v1::ArtifactKind, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.upload_from(kind, bytes, digest, 0).await.unwrap();
        digest
    }

    async fn download(&self, digest: &str) -> Vec<u8> {
        let request = v1::DownloadArtifactRequest { digest: digest.to_owned(), offset_bytes: 0 };
        let mut chunks = self.artifacts.clone().download_artifact(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = chunks.message().await.unwrap() {
            bytes.extend(message.chunk);
        }
        bytes
    }

    async fn submit(&self, request_id: &str, spec: &JobSetSpec) -> Result<v1::JobSet, Status> {
        let manifests = v1::Manifests {
            train_digest: self.upload(v1::ArtifactKind::Manifest, list("t", 40).as_bytes()).await.to_string(),
            hpa_digest: self.upload(v1::ArtifactKind::Manifest, list("h", 20).as_bytes()).await.to_string(),
            test_digest: self.upload(v1::ArtifactKind::Manifest, TEST_LIST.as_bytes()).await.to_string(),
            weights_digest: String::new(),
        };
        let request = v1::SubmitJobSetRequest {
            request_id: request_id.to_owned(),
            spec: Some(spec_to_wire(spec)),
            manifests: Some(manifests),
        };
        Ok(self.job_sets.clone().submit_job_set(request).await?.into_inner().job_set.unwrap())
    }

    async fn register(&self, name: &str) {
        let request = v1::RegisterWorkerRequest { name: name.into(), device: "cpu".into(), version: "0".into() };
        self.workers.clone().register_worker(request).await.unwrap();
    }

    async fn acquire(&self, worker: &str, request_id: &str, wait_seconds: u32) -> Option<v1::Lease> {
        let request =
            v1::AcquireLeaseRequest { worker_name: worker.into(), wait_seconds, request_id: request_id.into() };
        self.workers.clone().acquire_lease(request).await.unwrap().into_inner().lease
    }

    async fn report(
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

    async fn complete(&self, lease: &v1::Lease, table: &ScoreTable) -> Result<(), Status> {
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
        let request = v1::CompleteJobRequest {
            lease: reference(lease),
            result: Some(v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes: csv.len() as u64 }),
            checkpoint: is_train.then_some(checkpoint),
            made_by_json: "{}".into(),
        };
        self.workers.clone().complete_job(request).await.map(|_| ())
    }

    async fn job_set(&self, id: &str) -> v1::JobSet {
        let request = v1::GetJobSetRequest { job_set_id: id.to_owned() };
        self.job_sets.clone().get_job_set(request).await.unwrap().into_inner().job_set.unwrap()
    }

    async fn wait_until(&self, id: &str, holds: impl Fn(&v1::JobSet) -> bool) -> v1::JobSet {
        let start = Instant::now();
        loop {
            let job_set = self.job_set(id).await;
            if holds(&job_set) {
                return job_set;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it did not come to it: {job_set:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const TEST_LIST: &str = "Id,Predicted\nx1,0\nx0,0\n";

fn list(prefix: &str, count: usize) -> String {
    let rows = (0..count).map(|i| format!("{prefix}{i},{} {}\n", i % 5, 5 + i % 3));
    format!("Id,Target\n{}", rows.collect::<String>())
}

fn spec() -> JobSetSpec {
    JobSetSpec { folds: 3, max_attempts: 2, ..JobSetSpec::default() }
}

fn reference(lease: &v1::Lease) -> Option<v1::LeaseRef> {
    Some(v1::LeaseRef { job_id: lease.job_id, attempt: lease.attempt })
}

/// What a perfect model would say: 0.9 for the labels that a row has.
fn scores(lease: &v1::Lease) -> ScoreTable {
    let fold = Fold(lease.fold as u8);
    let rows = match lease.kind() {
        v1::JobKind::Train => {
            let read = |text: String| Manifest::read_csv("list", ManifestKind::Labelled, text.as_bytes()).unwrap();
            let (train, hpa) = (read(list("t", 40)), read(list("h", 20)));
            let spec = spec_from_wire(lease.spec.clone().unwrap()).unwrap();
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
        scores: std::array::from_fn(|label| if row.labels.contains(label as u8) || label == 7 { 0.9 } else { 0.1 }),
        id: row.id,
        source: row.source,
        fold: fold.0,
        target: row.labels,
    };
    ScoreTable { rows: rows.into_iter().map(score).collect() }
}

#[tokio::test]
async fn a_job_set_goes_from_submission_to_results() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let job_set = site.submit("r1", &spec()).await.unwrap();
    assert_eq!(job_set.jobs.len(), 3);
    site.register("w").await;
    for fold in 0..3 {
        let lease = site.acquire("w", &format!("train-{fold}"), 10).await.unwrap();
        assert_eq!((lease.fold, lease.attempt, lease.kind()), (fold, 1, v1::JobKind::Train));
        let epoch = |epoch, valid_macro_f1| v1::EpochMetrics { epoch, valid_macro_f1, ..Default::default() };
        let answer = site.report(&lease, 1, vec![epoch(0, 0.2), epoch(1, 0.1)]).await.unwrap();
        assert_eq!(answer.acknowledged_sequence, 1);
        // The same report again, with other content: nothing changes.
        assert_eq!(site.report(&lease, 1, vec![epoch(0, 0.9)]).await.unwrap().acknowledged_sequence, 1);
        site.complete(&lease, &scores(&lease)).await.unwrap();
        // Its answer may have been lost: the same completion again is answered in the same way.
        site.complete(&lease, &scores(&lease)).await.unwrap();
    }
    let job_set = site.wait_until(&job_set.id, |set| set.state() == v1::job_set::State::Predicting).await;
    assert_eq!(job_set.jobs[0].best_macro_f1, Some(0.2));
    assert_eq!(job_set.jobs[0].last_epoch.unwrap().epoch, 1);
    for fold in 0..3 {
        let lease = site.acquire("w", &format!("predict-{fold}"), 10).await.unwrap();
        assert_eq!((lease.fold, lease.kind()), (fold, v1::JobKind::Predict));
        assert_eq!(site.download(&lease.checkpoints[0].digest).await, format!("weights of {fold}").into_bytes());
        site.complete(&lease, &scores(&lease)).await.unwrap();
    }
    let job_set = site.wait_until(&job_set.id, |set| set.state() == v1::job_set::State::Succeeded).await;
    let [oof, report, submission] = &job_set.results[..] else { panic!("{:?}", job_set.results) };
    let oof = ScoreTable::read_csv("oof.csv", site.download(&oof.digest).await.as_slice()).unwrap();
    assert_eq!(oof.rows.len(), 60);
    let report: Report = serde_json::from_slice(&site.download(&report.digest).await).unwrap();
    assert_eq!(report.rows, 40);
    assert_eq!(job_set.macro_f1, Some(report.macro_f1));
    assert_eq!(report.oof_digest, oof.digest_hex());
    assert_eq!(site.download(&submission.digest).await, b"Id,Predicted\nx1,7\nx0,7\n");

    // The log can be read from any place, and its watch ends with the job set.
    let request = v1::WatchJobSetRequest { job_set_id: job_set.id.clone(), after_cursor: 3 };
    let mut watch = site.job_sets.clone().watch_job_set(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(message) = watch.message().await.unwrap() {
        events.extend(message.events);
    }
    assert_eq!(events[0].cursor, 4);
    assert_eq!(events.last().unwrap().name, "finished");
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 1).await;
    let job_set = site.submit("r1", &JobSetSpec { fold: vec![1], ..spec() }).await.unwrap();
    site.register("slow").await;
    site.register("quick").await;
    let slow = site.acquire("slow", "a", 10).await.unwrap();
    // The same wait again gets the same lease: its answer may have been lost.
    assert_eq!(site.acquire("slow", "a", 10).await.unwrap().attempt, slow.attempt);
    let quick = loop {
        if let Some(lease) = site.acquire("quick", "b", 10).await {
            break lease;
        }
    };
    assert_eq!((quick.job_id, quick.attempt), (slow.job_id, 2));
    for refused in [
        site.report(&slow, 5, Vec::new()).await.map(|_| ()),
        site.complete(&slow, &scores(&slow)).await,
        site.workers.clone().release_lease(v1::ReleaseLeaseRequest { lease: reference(&slow) }).await.map(|_| ()),
    ] {
        let status = refused.unwrap_err();
        assert!(has_reason(&status, Reason::StaleAttempt), "{status:?}");
    }
    site.complete(&quick, &scores(&quick)).await.unwrap();
    let job_set = site.wait_until(&job_set.id, |set| set.state() == v1::job_set::State::Predicting).await;
    assert_eq!(job_set.jobs[0].attempt, 2);
    site.stop().await;
}

#[tokio::test]
async fn an_acknowledged_job_set_survives_a_restart_and_is_never_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let first = site.submit("r1", &spec()).await.unwrap();
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    site.complete(&lease, &scores(&lease)).await.unwrap();
    let held = site.acquire("w", "b", 10).await.unwrap();

    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config { state: folder.path().to_owned(), lease_seconds: 60 };
    let refused = run(config, second, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("another coordinator"), "{refused}");
    site.stop().await;

    let site = Site::start(folder.path(), 60).await;
    assert_eq!(site.submit("r1", &spec()).await.unwrap().id, first.id);
    let other = site.submit("r1", &JobSetSpec { tta: 3, ..spec() }).await.unwrap_err();
    assert!(has_reason(&other, Reason::RequestIdReused), "{other:?}");
    let listed = site.job_sets.clone().list_job_sets(v1::ListJobSetsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.job_sets.len(), 1);
    // The lease outlived the restart.
    site.report(&held, 1, Vec::new()).await.unwrap();
    site.complete(&held, &scores(&held)).await.unwrap();
    let states: Vec<_> = site.job_set(&first.id).await.jobs.iter().map(v1::Job::state).collect();
    use v1::job::State::{Queued, Succeeded};
    assert_eq!(states, [Succeeded, Succeeded, Queued]);
    site.stop().await;
}

#[tokio::test]
async fn uploads_are_checked_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let bytes = list("t", 1000).into_bytes();
    let digest = Digest::of(&bytes);
    let kind = v1::ArtifactKind::Manifest;
    let artifact = v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes: bytes.len() as u64 };

    // Only the first part arrives.
    let header = v1::UploadHeader { artifact: Some(artifact.clone()), offset_bytes: 0, lease: None };
    let chunk = Part::Chunk(bytes[..500].to_vec().into());
    let parts = [Part::Header(header), chunk].map(|part| v1::UploadArtifactRequest { part: Some(part) });
    let cut = site.artifacts.clone().upload_artifact(tokio_stream::iter(parts)).await.unwrap_err();
    assert!(has_reason(&cut, Reason::WrongOffset), "{cut:?}");
    let asked = v1::GetUploadRequest { artifact: Some(artifact.clone()) };
    let held = site.artifacts.clone().get_upload(asked.clone()).await.unwrap().into_inner();
    assert_eq!((held.offset_bytes, held.complete), (500, false));
    let again = site.upload_from(kind, &bytes, digest, 0).await.unwrap_err();
    assert!(has_reason(&again, Reason::WrongOffset), "{again:?}");
    site.upload_from(kind, &bytes, digest, 500).await.unwrap();
    assert!(site.artifacts.clone().get_upload(asked).await.unwrap().into_inner().complete);
    assert_eq!(site.download(&digest.to_string()).await, bytes);

    let mismatch = site.upload_from(kind, &bytes, Digest::of(b"other"), 0).await.unwrap_err();
    assert!(has_reason(&mismatch, Reason::DigestMismatch), "{mismatch:?}");
    let missing = v1::DownloadArtifactRequest { digest: Digest::of(b"other").to_string(), offset_bytes: 0 };
    assert_eq!(site.artifacts.clone().download_artifact(missing).await.unwrap_err().code(), Code::NotFound);
    site.stop().await;
}

#[tokio::test]
async fn bad_lists_and_bad_tables_are_refused_before_anything_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let broken = site.upload(v1::ArtifactKind::Manifest, b"Id,Target\na,1\nb,99\n").await;
    let request = v1::SubmitJobSetRequest {
        request_id: "r".into(),
        spec: Some(spec_to_wire(&spec())),
        manifests: Some(v1::Manifests { train_digest: broken.to_string(), ..Default::default() }),
    };
    let refused = site.job_sets.clone().submit_job_set(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("line 3"), "{refused:?}");
    let many = site.submit("r", &JobSetSpec { folds: 50, ..spec() }).await.unwrap_err();
    assert_eq!(many.code(), Code::InvalidArgument, "{many:?}");

    site.submit("r", &spec()).await.unwrap();
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    let mut table = scores(&lease);
    table.rows.pop();
    let short = site.complete(&lease, &table).await.unwrap_err();
    assert!(has_reason(&short, Reason::BadContent), "{short:?}");
    site.complete(&lease, &scores(&lease)).await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn failures_are_counted_and_a_cancelled_job_set_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let job_set = site.submit("r", &JobSetSpec { fold: vec![0, 1], ..spec() }).await.unwrap();
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    let fail = v1::FailJobRequest {
        lease: reference(&lease),
        cause: v1::FailureCause::NonFiniteLoss.into(),
        message: "the loss of step 3 is NaN".into(),
    };
    assert!(!site.workers.clone().fail_job(fail).await.unwrap().into_inner().will_retry);
    let job = site.job_set(&job_set.id).await.jobs[0].clone();
    assert_eq!(job.state(), v1::job::State::Failed);
    assert!(job.state_reason.contains("step 3"), "{}", job.state_reason);

    let lease = site.acquire("w", "b", 10).await.unwrap();
    let cancel = v1::CancelJobSetRequest { job_set_id: job_set.id.clone() };
    site.job_sets.clone().cancel_job_set(cancel).await.unwrap();
    assert!(site.report(&lease, 1, Vec::new()).await.unwrap().cancelled);
    assert_eq!(site.acquire("w", "c", 0).await, None);

    let retry = v1::RetryJobSetRequest { job_set_id: job_set.id.clone() };
    site.job_sets.clone().retry_job_set(retry).await.unwrap();
    for request_id in ["d", "e"] {
        let lease = site.acquire("w", request_id, 10).await.unwrap();
        assert_eq!(lease.attempt, 2);
        site.complete(&lease, &scores(&lease)).await.unwrap();
    }
    site.wait_until(&job_set.id, |set| set.state() == v1::job_set::State::Predicting).await;
    site.stop().await;
}
