//! Which checkpoints are kept, and which artifacts are deleted: never one that is referred to.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use fivefold_common::artifact::{ArtifactKind, ArtifactOrigin};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, Fold, JobSetId, LeaseRef};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Completion, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::{NewWorker, Task};

use crate::rig::{Rig, TRAIN_LIST, csv, fold_rows, score_table, submission};

mod rig;

const NOW: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(2_000_000);

/// A rig with one leased fold.
struct Fixture {
    rig: Rig,
    _folder: tempfile::TempDir,
    id: JobSetId,
    lease: LeaseRef,
    spec: JobSetSpec,
}

async fn one_leased_fold(spec: JobSetSpec) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 0 };
    let rig = Rig::open(&folder.path().join("q.sqlite"), settings).await;
    rig.clock.set(NOW);
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let spec = JobSetSpec { fold: vec![0], ..spec };
    let id = app::submit(&rig.coordinator, submission("r", spec.clone(), None)).await.unwrap();
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into() };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    let lease = app::acquire(&rig.coordinator, "w", "a").await.unwrap().unwrap().lease;
    Fixture { rig, _folder: folder, id, lease, spec }
}

impl Fixture {
    async fn record(&self, role: CheckpointRole, epoch: u32) -> Digest {
        let content = format!("{role} of epoch {epoch}");
        let size_bytes = content.len() as u64;
        let digest = self.rig.upload(ArtifactKind::Checkpoint, content).await;
        let checkpoint =
            Checkpoint { digest, size_bytes, role, point: TrainingPoint { epoch, step: 0 }, macro_f1: None };
        app::record_checkpoint(&self.rig.coordinator, self.lease, &checkpoint).await.unwrap();
        digest
    }

    /// The checkpoints that a worker would resume from: the same request gets the same lease.
    async fn kept(&self) -> Vec<Checkpoint> {
        let leased = app::acquire(&self.rig.coordinator, "w", "a").await.unwrap().unwrap();
        assert_eq!(leased.lease, self.lease);
        match leased.task {
            Task::Train { checkpoints } => checkpoints,
            task @ Task::Predict { .. } => panic!("{task:?}"),
        }
    }

    /// Deletes what is unreferenced, and says what that was.
    async fn clean(&self) -> Vec<Digest> {
        self.rig.clock.set(LATER);
        let before = self.rig.blobs.digests();
        app::clean(&self.rig.coordinator).await.unwrap();
        self.rig.clock.set(NOW);
        let after = self.rig.blobs.digests();
        assert_eq!(after, self.rig.coordinator.queue.artifacts().await.unwrap());
        before.difference(&after).copied().collect()
    }
}

#[tokio::test]
async fn as_many_checkpoints_are_kept_as_the_spec_says() {
    let fixture = one_leased_fold(JobSetSpec { keep_last: 3, keep_best: 2, ..JobSetSpec::default() }).await;
    for epoch in 0..5 {
        fixture.record(CheckpointRole::Last, epoch).await;
        fixture.record(CheckpointRole::Best, epoch).await;
    }
    let kept: Vec<_> = fixture.kept().await.iter().map(|kept| (kept.role, kept.point.epoch)).collect();
    let (last, best) = (CheckpointRole::Last, CheckpointRole::Best);
    assert_eq!(kept, [(last, 4), (last, 3), (last, 2), (best, 4), (best, 3)]);
    assert_eq!(fixture.clean().await.len(), 5, "the others go");
    assert_eq!(fixture.clean().await, []);
}

#[tokio::test]
async fn a_checkpoint_that_was_overtaken_on_its_way_is_not_the_newest() {
    let fixture = one_leased_fold(JobSetSpec::default()).await;
    let older = fixture.record(CheckpointRole::Last, 1).await;
    let newer = fixture.record(CheckpointRole::Last, 2).await;
    // The first call again, late.
    fixture.record(CheckpointRole::Last, 1).await;
    let kept: Vec<_> = fixture.kept().await.iter().map(|kept| kept.digest).collect();
    assert_eq!(kept, [newer, older]);
}

#[tokio::test]
async fn what_is_referred_to_or_was_just_wanted_is_not_deleted() {
    let fixture = one_leased_fold(JobSetSpec::default()).await;
    let (rig, coordinator) = (&fixture.rig, &fixture.rig.coordinator);
    let kept = fixture.record(CheckpointRole::Last, 0).await;
    let wanted = rig.upload(ArtifactKind::Checkpoint, "wanted").await;
    let lost = rig.upload(ArtifactKind::Oof, "of an attempt that lost its lease").await;
    rig.clock.set(LATER);
    let queue = &coordinator.queue;
    assert_eq!(queue.touch_artifact(LATER, wanted).await.unwrap(), Some(6));
    assert_eq!(queue.touch_artifact(LATER, Digest::of(b"nothing")).await.unwrap(), None);
    assert_eq!(fixture.clean().await, [lost]);
    for referred in [kept, Digest::of(TRAIN_LIST.as_bytes()), wanted] {
        assert!(!queue.forget_artifact(referred, LATER).await.unwrap(), "whoever asks");
    }

    // A fold that is trained again: what the fit came from stays, with the fit.
    let table = score_table(fold_rows(&fixture.spec, Fold(0)), Fold(0), "first");
    let table = rig.upload(ArtifactKind::Oof, csv(&table)).await;
    let completion = Completion { lease: fixture.lease, table, checkpoint: Some(kept), made_by_json: "{}".to_owned() };
    app::complete(coordinator, completion).await.unwrap();
    app::advance(coordinator, &fixture.id).await.unwrap();
    app::retrain(coordinator, &fixture.id, Fold(0)).await.unwrap();
    let again = app::acquire(coordinator, "w", "b").await.unwrap().unwrap();
    assert_eq!(again.task, Task::Train { checkpoints: Vec::new() });
    assert_eq!(fixture.clean().await, []);
    assert_eq!(app::job_set(coordinator, &fixture.id).await.unwrap().fits.len(), 1);
}

#[tokio::test]
async fn unreferenced_uploads_of_workers_are_deleted() {
    let fixture = one_leased_fold(JobSetSpec::default()).await;
    let mut of_workers = HashSet::new();
    for &kind in ArtifactKind::ALL {
        let digest = fixture.rig.upload(kind, format!("unreferenced: {kind}")).await;
        if matches!(kind.origin(), ArtifactOrigin::Worker { .. }) {
            of_workers.insert(digest);
        }
    }
    assert_eq!(fixture.clean().await.into_iter().collect::<HashSet<_>>(), of_workers);
}
