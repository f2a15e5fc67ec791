//! Pauses at a time that a user sets.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Answer, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::{ImageAccess, NewWorker, Reported};

use crate::rig::{Rig, TRAIN_LIST, submission};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

#[tokio::test]
async fn a_job_set_is_paused_at_its_time_unless_it_is_resumed_before() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let coordinator = &rig.coordinator;
    rig.clock.set(Timestamp(1000));
    let spec = JobSetSpec { folds: 2, ..JobSetSpec::default() };
    let id = app::submit(coordinator, submission("first", spec, None)).await.unwrap();
    let state = async || {
        app::sweep(coordinator).await.unwrap();
        let job_set = app::job_set(coordinator, &id).await.unwrap();
        (job_set.paused, job_set.pause_at)
    };
    app::pause_at(coordinator, &id, Timestamp(5000)).await.unwrap();
    assert_eq!(state().await, (false, Some(Timestamp(5000))));
    app::resume(coordinator, &id).await.unwrap();
    rig.clock.set(Timestamp(6000));
    assert_eq!(state().await, (false, None), "the pause was dropped");

    app::pause_at(coordinator, &id, Timestamp(8000)).await.unwrap();
    app::pause_at(coordinator, &id, Timestamp(7000)).await.unwrap();
    rig.clock.set(Timestamp(6999));
    assert_eq!(state().await, (false, Some(Timestamp(7000))), "the last word counts");
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(coordinator, worker).await.unwrap();
    let leased = app::acquire(coordinator, "w", "a").await.unwrap().unwrap();
    rig.clock.set(Timestamp(7000));
    assert_eq!(state().await, (true, None));
    let answer = app::report(coordinator, leased.lease, 1, None, Vec::new()).await.unwrap();
    assert!(matches!(answer, Answer::Stored(Reported { release: true, .. })), "{answer:?}");
    let events = app::events(coordinator, &id, 0, 100).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.name.word() == "paused").count(), 1);
    let refused = app::pause_at(coordinator, &id, Timestamp(9000)).await.unwrap_err().to_string();
    assert!(refused.contains("is paused already"), "{refused}");
    app::resume(coordinator, &id).await.unwrap();
    app::pause_at(coordinator, &id, Timestamp(1)).await.unwrap();
    assert_eq!(state().await, (true, None), "a time that is over is now");

    app::resume(coordinator, &id).await.unwrap();
    app::pause_at(coordinator, &id, Timestamp(9000)).await.unwrap();
    app::cancel(coordinator, &id).await.unwrap();
    rig.clock.set(Timestamp(10_000));
    assert_eq!(state().await, (false, None), "what has ended is not paused");
    let refused = app::pause_at(coordinator, &id, Timestamp(20_000)).await.unwrap_err().to_string();
    assert!(refused.contains("has ended"), "{refused}");
}
