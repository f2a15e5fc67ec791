//! The services, from submission to results, by a client that plays user and worker.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::ids::Digest;
use fivefold_common::report::Report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::{Config, run};
use fivefold_proto::convert::spec_to_wire;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::{SubmitJobSetRequest, v1};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::site::{Site, list, reference, scores, spec};

mod site;

#[tokio::test]
async fn a_job_set_goes_from_submission_to_results() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let job_set = site.submit("r1", &JobSetSpec { epochs: 2, ..spec() }).await.unwrap();
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
    assert_eq!((job_set.jobs[0].best_macro_f1, job_set.jobs[0].best_epoch), (Some(0.2), Some(0)));
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
    let config = Config::new(folder.path());
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
    let asked = v1::GetUploadRequest { artifact: Some(artifact.clone()), lease: None };
    let held = site.artifacts.clone().get_upload(asked.clone()).await.unwrap().into_inner();
    assert_eq!((held.offset_bytes, held.complete), (500, false));
    let again = site.upload_from(kind, &bytes, digest, 0).await.unwrap_err();
    assert!(has_reason(&again, Reason::WrongOffset), "{again:?}");
    site.upload_from(kind, &bytes, digest, 500).await.unwrap();
    assert!(site.artifacts.clone().get_upload(asked).await.unwrap().into_inner().complete);
    assert_eq!(site.download(&digest.to_string()).await, bytes);

    let mismatch = site.upload_from(kind, &bytes, Digest::of(b"other"), 0).await.unwrap_err();
    assert!(has_reason(&mismatch, Reason::DigestMismatch), "{mismatch:?}");
    let missing =
        v1::DownloadArtifactRequest { digest: Digest::of(b"other").to_string(), offset_bytes: 0, lease: None };
    assert_eq!(site.artifacts.clone().download_artifact(missing).await.unwrap_err().code(), Code::NotFound);
    site.stop().await;
}

#[tokio::test]
async fn a_request_is_the_bytes_that_its_client_sent() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let list = site.upload(v1::ArtifactKind::Manifest, b"Id,Target\na,1\nb,2\nc,1\nd,2\ne,1\nf,2\n").await;
    let manifests = v1::Manifests { train_digest: list.to_string(), ..Default::default() };
    let spec = spec_to_wire(&JobSetSpec { folds: 2, ..spec() });
    let mut job_sets = site.job_sets.clone();

    // An older client does not know these keys. They are stored with their defaults, and are not part of the request.
    let older = v1::JobSetSpec { keep_last: None, keep_best: None, ..spec.clone() };
    let older = SubmitJobSetRequest::new("older", &older, &manifests);
    // A newer client sends a field that this version does not know: 1000, a varint.
    let mut with_new_field = SubmitJobSetRequest::new("newer", &spec, &manifests);
    let unknown = [with_new_field.spec.as_deref().unwrap(), &[0xc0, 0x3e, 7][..]].concat();
    with_new_field.spec = Some(unknown.into());
    for request in [older, with_new_field.clone()] {
        let first = job_sets.submit_job_set(request.clone()).await.unwrap().into_inner().job_set.unwrap();
        let again = job_sets.submit_job_set(request).await.unwrap().into_inner().job_set.unwrap();
        assert_eq!(first.id, again.id);
    }
    let other = SubmitJobSetRequest::new("newer", &spec, &manifests);
    let refused = job_sets.submit_job_set(other).await.unwrap_err();
    assert!(has_reason(&refused, Reason::RequestIdReused), "{refused:?}");
    site.stop().await;
}

#[tokio::test]
async fn bad_lists_and_bad_tables_are_refused_before_anything_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let broken = site.upload(v1::ArtifactKind::Manifest, b"Id,Target\na,1\nb,99\n").await;
    let manifests = v1::Manifests { train_digest: broken.to_string(), ..Default::default() };
    let request = SubmitJobSetRequest::new("r", &spec_to_wire(&spec()), &manifests);
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
async fn a_job_that_is_worked_on_again_has_no_reason_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let id = site.submit("r", &JobSetSpec { fold: vec![0], ..spec() }).await.unwrap().id;
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    site.workers.clone().release_lease(v1::ReleaseLeaseRequest { lease: reference(&lease) }).await.unwrap();
    let waiting = site.job_set(&id).await.jobs[0].clone();
    assert!(waiting.state_reason.contains("released it"), "{waiting:?}");
    site.acquire("w", "b", 10).await.unwrap();
    let leased = site.job_set(&id).await.jobs[0].clone();
    assert_eq!((leased.state(), leased.state_reason.as_str()), (v1::job::State::Leased, ""));
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

    let retry = v1::RetryJobSetRequest { job_set_id: job_set.id.clone(), fold: None };
    site.job_sets.clone().retry_job_set(retry).await.unwrap();
    for request_id in ["d", "e"] {
        let lease = site.acquire("w", request_id, 10).await.unwrap();
        assert_eq!(lease.attempt, 2);
        site.complete(&lease, &scores(&lease)).await.unwrap();
    }
    site.wait_until(&job_set.id, |set| set.state() == v1::job_set::State::Predicting).await;
    site.stop().await;
}
