//! Which checkpoints are kept, and which artifacts are deleted: never one that is referred to.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, Fold, JobSetId, LeaseRef};
use fivefold_common::spec::{JobSetSpec, ScoredCheckpoint};
use fivefold_coordinator::app::{self, Completion, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::{ImageAccess, NewWorker, Task};

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
    let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 0, retain_days: 0 };
    let rig = Rig::open(&folder.path().join("q.sqlite"), settings).await;
    rig.clock.set(NOW);
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let spec = JobSetSpec { fold: vec![0], ..spec };
    let id = app::submit(&rig.coordinator, submission("r", spec.clone(), None)).await.unwrap();
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
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

    /// Deletes what was released, without any time passing, and says what that was.
    async fn sweep(&self) -> Vec<Digest> {
        let before = self.rig.blobs.digests();
        app::sweep(&self.rig.coordinator).await.unwrap();
        self.gone_since(&before).await
    }

    /// Deletes what is unreferenced, and says what that was.
    async fn clean(&self) -> Vec<Digest> {
        self.rig.clock.set(LATER);
        let before = self.rig.blobs.digests();
        app::clean(&self.rig.coordinator).await.unwrap();
        self.rig.clock.set(NOW);
        self.gone_since(&before).await
    }

    async fn gone_since(&self, before: &HashSet<Digest>) -> Vec<Digest> {
        let after = self.rig.blobs.digests();
        assert_eq!(after, self.rig.known().await);
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
    assert_eq!(fixture.sweep().await.len(), 5, "the others go");
    assert_eq!(fixture.clean().await, []);
}

#[tokio::test]
async fn a_superseded_checkpoint_goes_at_once_unless_it_is_wanted_elsewhere() {
    let fixture = one_leased_fold(JobSetSpec { keep_last: 1, ..JobSetSpec::default() }).await;
    let first = fixture.record(CheckpointRole::Last, 1).await;
    assert_eq!(fixture.sweep().await, []);
    let second = fixture.record(CheckpointRole::Last, 2).await;
    assert_eq!(fixture.sweep().await, [first]);

    // The worker of an equal fold was told that it is held, and has not recorded it yet. The clock may have been set back.
    fixture.rig.clock.set(Timestamp(NOW.0 - 500_000));
    app::held(&fixture.rig.coordinator, second).await.unwrap();
    fixture.rig.clock.set(NOW);
    fixture.record(CheckpointRole::Last, 3).await;
    assert_eq!(fixture.sweep().await, []);
    assert_eq!(fixture.clean().await, [second]);
}

#[tokio::test]
async fn a_checkpoint_that_is_last_and_best_stays_while_it_is_either() {
    let fixture = one_leased_fold(JobSetSpec { keep_last: 1, keep_best: 1, ..JobSetSpec::default() }).await;
    let rig = &fixture.rig;
    let both = rig.upload(ArtifactKind::Checkpoint, "both").await;
    for role in [CheckpointRole::Best, CheckpointRole::Last] {
        app::held(&rig.coordinator, both).await.unwrap();
        let point = TrainingPoint { epoch: 1, step: 0 };
        let checkpoint = Checkpoint { digest: both, size_bytes: 4, role, point, macro_f1: None };
        app::record_checkpoint(&rig.coordinator, fixture.lease, &checkpoint).await.unwrap();
    }
    let last = fixture.record(CheckpointRole::Last, 2).await;
    assert_eq!(fixture.sweep().await, []);
    fixture.record(CheckpointRole::Best, 3).await;
    assert_eq!(fixture.sweep().await, [both]);
    assert!(rig.blobs.get(last).is_some());
}

#[tokio::test]
async fn a_lease_that_is_handed_over_keeps_what_it_was_told_of() {
    let fixture = one_leased_fold(JobSetSpec::default()).await;
    let (rig, coordinator) = (&fixture.rig, &fixture.rig.coordinator);
    for epoch in 1..4 {
        fixture.record(CheckpointRole::Last, epoch).await;
        fixture.record(CheckpointRole::Best, epoch).await;
    }
    app::release(coordinator, fixture.lease).await.unwrap();
    let taken = app::acquire(coordinator, "w", "b").await.unwrap().unwrap();
    let Task::Train { checkpoints: told } = taken.task else { panic!("{taken:?}") };
    assert_eq!(told.len(), 3);
    // The worker that gave it back is late with another one.
    let late = rig.upload(ArtifactKind::Checkpoint, "late").await;
    let checkpoint = Checkpoint { digest: late, point: TrainingPoint { epoch: 9, step: 0 }, ..told[0] };
    app::record_checkpoint(coordinator, fixture.lease, &checkpoint).await.unwrap_err();
    fixture.sweep().await;
    fixture.clean().await;
    assert!(told.iter().all(|told| rig.blobs.get(told.digest).is_some()));
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

impl Fixture {
    /// Ends the fold with a result that the model `model` made.
    async fn complete(&self) -> Digest {
        let table = score_table(fold_rows(&self.spec, Fold(0)), Fold(0), "scores");
        let table = self.rig.upload(ArtifactKind::Oof, csv(&table)).await;
        let model = self.rig.upload(ArtifactKind::Checkpoint, "model").await;
        let completion =
            Completion { lease: self.lease, table, checkpoint: Some(model), made_by_json: "{}".to_owned() };
        app::complete(&self.rig.coordinator, completion).await.unwrap();
        model
    }
}

#[tokio::test]
async fn a_trained_fold_keeps_the_model_that_scored_and_its_optimizer_on_request() {
    for keep_optimizer in [false, true] {
        let fixture = one_leased_fold(JobSetSpec { keep_optimizer, ..JobSetSpec::default() }).await;
        let coordinator = &fixture.rig.coordinator;
        let older = fixture.record(CheckpointRole::Last, 4).await;
        let best = fixture.record(CheckpointRole::Best, 4).await;
        let last = fixture.record(CheckpointRole::Last, 5).await;
        let not_yet = app::resumable(coordinator, &fixture.id, Fold(0)).await.unwrap_err();
        assert!(not_yet.to_string().contains("is not trained"), "{not_yet}");
        let model = fixture.complete().await;
        let mut expected = vec![older, best];
        let resumable = app::resumable(coordinator, &fixture.id, Fold(0)).await;
        if keep_optimizer {
            assert_eq!(resumable.unwrap().digest, last);
        } else {
            expected.push(last);
            let gone = resumable.unwrap_err().to_string();
            assert!(gone.contains("optimiser state of fold 0") && gone.contains("--keep_optimizer"), "{gone}");
        }
        let mut deleted = fixture.sweep().await;
        expected.sort();
        deleted.sort();
        assert_eq!(deleted, expected);
        assert!(fixture.rig.blobs.get(model).is_some());
        assert_eq!(fixture.clean().await, []);
    }
}

#[tokio::test]
async fn a_fold_that_may_be_trained_on_keeps_its_best_model_if_that_scores() {
    for oof_checkpoint in [ScoredCheckpoint::Last, ScoredCheckpoint::Best] {
        let spec = JobSetSpec { keep_optimizer: true, oof_checkpoint, ..JobSetSpec::default() };
        let fixture = one_leased_fold(spec).await;
        let best = fixture.record(CheckpointRole::Best, 4).await;
        fixture.record(CheckpointRole::Last, 5).await;
        fixture.complete().await;
        let deleted = fixture.sweep().await;
        assert_eq!(deleted.contains(&best), oof_checkpoint == ScoredCheckpoint::Last, "{deleted:?}");
    }
}

#[tokio::test]
async fn unreferenced_artifacts_of_every_kind_are_deleted() {
    let fixture = one_leased_fold(JobSetSpec::default()).await;
    let mut unreferenced = HashSet::new();
    for &kind in ArtifactKind::ALL {
        unreferenced.insert(fixture.rig.upload(kind, format!("unreferenced: {kind}")).await);
    }
    assert_eq!(fixture.sweep().await, []);
    // A push that was interrupted goes on with its segments for a day.
    let segment = Digest::of(b"unreferenced: segment");
    assert!(unreferenced.remove(&segment));
    assert_eq!(fixture.clean().await.into_iter().collect::<HashSet<_>>(), unreferenced);
    fixture.rig.clock.set(Timestamp(NOW.0 + 25 * 3_600_000));
    app::clean(&fixture.rig.coordinator).await.unwrap();
    assert!(fixture.rig.blobs.get(segment).is_none());
}
