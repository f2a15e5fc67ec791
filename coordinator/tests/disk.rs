//! The use of the disk, and what happens when little of it is free.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, JobSetUsage, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{ImageAccess, NewWorker};

use crate::rig::{DISK_BYTES, Rig, TEST_LIST, TRAIN_LIST, submission};

mod rig;

/// A checkpoint of the default network, roughly.
const CHECKPOINT_BYTES: u64 = 296_000_000;

async fn rig(folder: &tempfile::TempDir) -> Rig {
    let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };
    let rig = Rig::open(&folder.path().join("q.sqlite"), settings).await;
    rig.clock.set(Timestamp(1_000_000));
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    rig.upload(ArtifactKind::Manifest, TEST_LIST.as_bytes()).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    rig
}

fn spec() -> JobSetSpec {
    JobSetSpec { fold: vec![0, 1], keep_last: 1, keep_best: 1, ..JobSetSpec::default() }
}

async fn submit(rig: &Rig, request: &str, test: Option<Digest>) -> Result<JobSetId, Error> {
    app::submit(&rig.coordinator, submission(request, spec(), test)).await
}

fn bytes_of(usage: &JobSetUsage, kind: ArtifactKind) -> u64 {
    usage.bytes.get(&kind).copied().unwrap_or(0)
}

#[tokio::test]
async fn each_job_set_has_its_bytes_and_those_that_it_shares() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder).await;
    let first = submit(&rig, "first", None).await.unwrap();
    let second = submit(&rig, "second", Some(Digest::of(TEST_LIST.as_bytes()))).await.unwrap();
    let lease = app::acquire(&rig.coordinator, "w", "a").await.unwrap().unwrap().lease;
    let digest = rig.upload(ArtifactKind::Checkpoint, vec![0; 1000]).await;
    let point = TrainingPoint { epoch: 1, step: 0 };
    let checkpoint = Checkpoint { digest, size_bytes: 1000, role: CheckpointRole::Last, point, macro_f1: None };
    app::record_checkpoint(&rig.coordinator, lease, &checkpoint).await.unwrap();
    rig.upload(ArtifactKind::Manifest, vec![0; 77]).await;

    let usage = app::disk_usage(&rig.coordinator).await.unwrap();
    assert_eq!((usage.unreferenced_bytes, usage.upload_bytes), (77, 0));
    assert_eq!((usage.disk.free_bytes, usage.disk.total_bytes), (DISK_BYTES, DISK_BYTES));
    let [of_second, of_first] = &usage.job_sets[..] else { panic!("{usage:?}") };
    assert_eq!((&of_first.id, &of_second.id), (&first, &second));
    assert_eq!(bytes_of(of_first, ArtifactKind::Checkpoint), 1000);
    assert_eq!(bytes_of(of_second, ArtifactKind::Checkpoint), 0);
    assert_eq!(bytes_of(of_first, ArtifactKind::Manifest), TRAIN_LIST.len() as u64);
    assert_eq!(bytes_of(of_second, ArtifactKind::Manifest), (TRAIN_LIST.len() + TEST_LIST.len()) as u64);
    // Both have the training list and the same folds.
    assert_eq!((of_first.own_bytes, of_second.own_bytes), (1000, TEST_LIST.len() as u64));
}

#[tokio::test]
async fn a_job_set_without_room_is_refused_before_the_folds_in_training_suffer() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder).await;
    assert!(app::warnings(&rig.coordinator).await.is_empty());
    // Room for the kept checkpoints of one fold and an upload.
    rig.blobs.leave_free(3 * CHECKPOINT_BYTES);
    submit(&rig, "first", None).await.unwrap();
    submit(&rig, "second", None).await.unwrap();
    assert!(app::warnings(&rig.coordinator).await[0].contains("nearly full"));

    app::acquire(&rig.coordinator, "w", "a").await.unwrap().unwrap();
    let refused = submit(&rig, "third", None).await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted(_)), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains("has 888 MB free") && message.contains("`fivefold disk`"), "{message}");
    assert!(message.contains("for the folds in training"), "{message}");
    // A repeat of an earlier request is no new job set.
    submit(&rig, "first", None).await.unwrap();
    rig.blobs.leave_free(6 * CHECKPOINT_BYTES);
    submit(&rig, "third", None).await.unwrap();
}

#[tokio::test]
async fn a_deletion_frees_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder).await;
    let kept = submit(&rig, "kept", None).await.unwrap();
    let deleted = submit(&rig, "deleted", Some(Digest::of(TEST_LIST.as_bytes()))).await.unwrap();
    let before = app::disk_usage(&rig.coordinator).await.unwrap();
    app::cancel(&rig.coordinator, &deleted).await.unwrap();
    app::delete(&rig.coordinator, &deleted).await.unwrap();
    let after = app::disk_usage(&rig.coordinator).await.unwrap();
    assert_eq!(after.job_sets.iter().map(|usage| &usage.id).collect::<Vec<_>>(), [&kept]);
    assert_eq!(after.unreferenced_bytes, before.job_sets[0].own_bytes);
}
