//! Limits of concurrent calls: a call above them is refused with a delay, and served later. Idle streams are ended.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use fivefold_common::ids::Digest;
use fivefold_coordinator::Config;
use fivefold_coordinator::grpc::limits::Limits;
use fivefold_proto::status::{Reason, busy_delay, has_reason};
use fivefold_proto::v1;
use fivefold_proto::v1::upload_artifact_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::site::{Site, spec};

mod site;

async fn start(limits: Limits) -> (Site, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Site::start_with(Config { limits, ..Config::new(folder.path()) }).await, folder)
}

fn assert_busy(refused: &Status) {
    assert!(has_reason(refused, Reason::Busy), "{refused:?}");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(busy_delay(refused).unwrap() > Duration::ZERO);
}

fn header(bytes: &[u8]) -> v1::UploadArtifactRequest {
    let artifact = v1::Artifact {
        kind: v1::ArtifactKind::Checkpoint.into(),
        digest: Digest::of(bytes).to_string(),
        size_bytes: bytes.len() as u64,
    };
    let header = v1::UploadHeader { artifact: Some(artifact), offset_bytes: 0, lease: None };
    v1::UploadArtifactRequest { part: Some(Part::Header(header)) }
}

#[tokio::test]
async fn an_upload_above_the_limit_is_refused_and_served_later() {
    let (site, _folder) = start(Limits { uploads: 1, ..Limits::default() }).await;
    let chunk = |bytes: &[u8]| v1::UploadArtifactRequest { part: Some(Part::Chunk(bytes.to_vec().into())) };
    let (parts, receiver) = mpsc::channel(2);
    parts.send(header(b"slow")).await.unwrap();
    parts.send(chunk(b"sl")).await.unwrap();
    let mut artifacts = site.artifacts.clone();
    let slow = tokio::spawn(async move { artifacts.upload_artifact(ReceiverStream::new(receiver)).await });
    let Some(Part::Header(v1::UploadHeader { artifact, .. })) = header(b"slow").part else { panic!("not a header") };
    let held = v1::GetUploadRequest { artifact, lease: None };
    while site.artifacts.clone().get_upload(held.clone()).await.unwrap().into_inner().offset_bytes < 2 {
        tokio::task::yield_now().await;
    }

    let upload = || site.upload_from(v1::ArtifactKind::Checkpoint, b"quick", Digest::of(b"quick"), 0);
    assert_busy(&upload().await.unwrap_err());
    parts.send(chunk(b"ow")).await.unwrap();
    drop(parts);
    slow.await.unwrap().unwrap();
    upload().await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn an_idle_upload_is_ended_and_its_bytes_are_kept() {
    let (site, _folder) = start(Limits { slow: Duration::from_millis(300), ..Limits::default() }).await;
    let bytes = b"two halves";
    let (parts, receiver) = mpsc::channel(2);
    parts.send(header(bytes)).await.unwrap();
    parts.send(v1::UploadArtifactRequest { part: Some(Part::Chunk(bytes[..4].to_vec().into())) }).await.unwrap();
    let ended = site.artifacts.clone().upload_artifact(ReceiverStream::new(receiver)).await.unwrap_err();
    assert!(has_reason(&ended, Reason::Unavailable), "{ended:?}");
    site.upload_from(v1::ArtifactKind::Checkpoint, bytes, Digest::of(bytes), 4).await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn an_unread_download_is_ended() {
    let limits = Limits { downloads: 1, slow: Duration::from_millis(300), ..Limits::default() };
    let (site, _folder) = start(limits).await;
    // More than the buffers hold.
    let bytes = vec![7; 16 << 20];
    let digest = site.upload(v1::ArtifactKind::Checkpoint, &bytes).await.to_string();
    let request = v1::DownloadArtifactRequest { digest: digest.clone(), offset_bytes: 0, lease: None };
    let mut unread = site.artifacts.clone().download_artifact(request.clone()).await.unwrap().into_inner();
    let mut refusals = 0;
    while let Err(refused) = site.artifacts.clone().download_artifact(request.clone()).await {
        assert_busy(&refused);
        refusals += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refusals > 0, "the first download did not count");
    // With an error: a truncated file must not look complete.
    let ended = loop {
        match unread.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks complete"),
            Err(ended) => break ended,
        }
    };
    assert!(has_reason(&ended, Reason::Unavailable), "{ended:?}");
    site.stop().await;
}

#[tokio::test]
async fn watches_waits_and_report_streams_are_limited() {
    let limits = Limits { watches: 1, waits: 1, report_streams: 1, ..Limits::default() };
    let (site, _folder) = start(limits).await;
    let id = site.submit("r", &spec()).await.unwrap().id;
    site.register("w").await;
    let watch = v1::WatchJobSetRequest { job_set_id: id, after_cursor: 0 };
    let held = site.job_sets.clone().watch_job_set(watch.clone()).await.unwrap();
    assert_busy(&site.job_sets.clone().watch_job_set(watch.clone()).await.unwrap_err());
    drop(held);
    while site.job_sets.clone().watch_job_set(watch.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let lease = site.acquire("w", "a", 10).await.unwrap();
    let report = v1::ReportJobRequest { lease: crate::site::reference(&lease), sequence: 1, ..Default::default() };
    let (reports, receiver) = mpsc::channel(1);
    reports.send(report).await.unwrap();
    let mut answers = site.workers.clone().report_job(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().acknowledged_sequence, 1);
    assert_busy(&site.report(&lease, 2, Vec::new()).await.unwrap_err());
    drop(reports);
    assert!(answers.message().await.unwrap().is_none());
    site.report(&lease, 2, Vec::new()).await.unwrap();

    for fold in [1, 2] {
        site.acquire("w", &format!("fold {fold}"), 10).await.unwrap();
    }
    let wait = |request_id: &str| v1::AcquireLeaseRequest {
        worker_name: "w".into(),
        wait_seconds: 60,
        request_id: request_id.into(),
        protocol: fivefold_proto::PROTOCOL,
        has_image_folder: true,
        name_lock: None,
    };
    let (mut one, mut other) = (site.workers.clone(), site.workers.clone());
    let refused = tokio::select! {
        answer = one.acquire_lease(wait("x")) => answer.unwrap_err(),
        answer = other.acquire_lease(wait("y")) => answer.unwrap_err(),
    };
    assert_busy(&refused);
    site.stop().await;
}
