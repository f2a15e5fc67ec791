//! Folds that are trained for more epochs.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::{EpochMetrics, EpochReport};
use fivefold_common::spec::{JobSetSpec, LrSchedule};
use fivefold_coordinator::app::{self, Completion, Extension, Settings};
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{ImageAccess, JobSet, NewWorker, Task};
use tempfile::TempDir;

use crate::rig::{Rig, TEST_LIST, TRAIN_LIST, csv, fold_rows, score_table, submission, test_rows};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

struct Fixture {
    rig: Rig,
    _folder: TempDir,
    id: JobSetId,
}

/// Two folds of at most three epochs, of which fold 1 stops early after two.
async fn fixture(spec: JobSetSpec) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let test = rig.upload(ArtifactKind::Manifest, TEST_LIST).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    let spec = JobSetSpec { folds: 2, epochs: 3, early_stop_patience: 1, ..spec };
    let id = app::submit(&rig.coordinator, submission("r", spec, Some(test))).await.unwrap();
    Fixture { rig, _folder: folder, id }
}

fn folds(folds: &[u8]) -> FoldSet {
    folds.iter().copied().map(Fold).collect()
}

impl Fixture {
    async fn job_set(&self) -> JobSet {
        app::job_set(&self.rig.coordinator, &self.id).await.unwrap()
    }

    async fn extend(&self, epochs: u32, folds: Option<FoldSet>) -> Result<FoldSet, Error> {
        app::extend(&self.rig.coordinator, &self.id, Extension { epochs, folds }).await
    }

    async fn refusal(&self, epochs: u32, folds: Option<FoldSet>) -> String {
        self.extend(epochs, folds).await.unwrap_err().to_string()
    }

    /// Trains a leased fold from its newest checkpoint on to its end, and completes it. `None` without a free job. Returns the
    /// epochs that it trained.
    async fn work(&self) -> Option<(JobKind, Fold, Vec<u32>)> {
        let (rig, coordinator) = (&self.rig, &self.rig.coordinator);
        let leased = app::acquire(coordinator, "w", &format!("{:?}", rig.blobs.digests())).await.unwrap()?;
        let fold = leased.fold;
        let mut trained = Vec::new();
        let (kind, rows, table_kind, checkpoint) = match &leased.task {
            Task::Train { checkpoints } => {
                let first = checkpoints.first().map_or(0, |last| last.point.epoch);
                let end = if fold == Fold(1) { 2 } else { leased.spec.epochs };
                let epoch = |epoch: u32| {
                    let macro_f1 = if fold == Fold(1) { 0.5 } else { 0.1 * f64::from(epoch + 1) };
                    let (train_loss, valid_loss, learning_rate) = (0.1, 0.1, 1e-3);
                    let (threshold, objective) = (Some(0.5), None);
                    let metrics =
                        EpochMetrics { epoch, train_loss, valid_loss, macro_f1, threshold, learning_rate, objective };
                    EpochReport { metrics, duration_seconds: 1.0 }
                };
                trained.extend(first..end);
                let epochs = trained.iter().copied().map(epoch).collect();
                app::report(coordinator, leased.lease, 1, None, epochs).await.unwrap();
                let content = format!("last of {} of {end}", leased.lease);
                let size_bytes = content.len() as u64;
                let digest = rig.upload(ArtifactKind::Checkpoint, content).await;
                let (role, point) = (CheckpointRole::Last, TrainingPoint { epoch: end, step: 0 });
                let last = Checkpoint { digest, size_bytes, role, point, macro_f1: None };
                app::record_checkpoint(coordinator, leased.lease, &last).await.unwrap();
                let model = rig.upload(ArtifactKind::Checkpoint, format!("model of {}", leased.lease)).await;
                (JobKind::Train, fold_rows(&leased.spec, fold), ArtifactKind::Oof, Some(model))
            }
            Task::Predict { .. } => (JobKind::Predict, test_rows(), ArtifactKind::Predictions, None),
        };
        let table = csv(&score_table(rows, fold, &leased.lease.to_string()));
        let table = rig.upload(table_kind, table).await;
        let completion = Completion { lease: leased.lease, table, checkpoint, made_by_json: "{}".to_owned() };
        app::complete(coordinator, completion).await.unwrap();
        app::sweep(coordinator).await.unwrap();
        Some((kind, fold, trained))
    }

    async fn finish(&self) -> Vec<(JobKind, Fold, Vec<u32>)> {
        let mut done = Vec::new();
        while let Some(work) = self.work().await {
            done.push(work);
        }
        assert_eq!(self.job_set().await.state, JobSetState::Succeeded);
        done
    }
}

#[tokio::test]
async fn folds_go_on_where_they_ended_and_a_new_fit_follows_beside_the_older_one() {
    let fixture = fixture(JobSetSpec { keep_optimizer: true, ..JobSetSpec::default() }).await;
    let refused = fixture.refusal(5, None).await;
    assert!(refused.contains("fold 0") && refused.contains("epochs = 3"), "{refused}");
    assert_eq!(fixture.finish().await.len(), 4);
    let first = fixture.job_set().await;

    assert_eq!(fixture.extend(5, None).await.unwrap(), folds(&[1]), "fold 1 stopped early");
    let extended = fixture.job_set().await;
    assert_eq!((extended.state, extended.spec.epochs, extended.fit), (JobSetState::Training, 5, None));
    let states: Vec<_> = extended.jobs_of(JobKind::Train).map(|job| (job.state, job.last_epoch.is_some())).collect();
    assert_eq!(states, [(JobState::Queued, true), (JobState::Succeeded, true)]);
    assert_eq!(fixture.extend(5, None).await.unwrap(), folds(&[1]), "asking twice is asking once");
    assert_eq!(fixture.job_set().await, extended);
    let refused = fixture.refusal(6, None).await;
    assert!(refused.contains("fold 0") && refused.contains("epochs = 5"), "{refused}");

    let done = fixture.finish().await;
    assert_eq!(done, [(JobKind::Train, Fold(0), vec![3, 4]), (JobKind::Predict, Fold(0), vec![])]);
    let epochs = app::epochs(&fixture.rig.coordinator, &fixture.id, Fold(0)).await.unwrap();
    assert_eq!(epochs.iter().map(|epoch| epoch.metrics.epoch).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let second = fixture.job_set().await;
    assert_eq!((second.fits.len(), second.submissions.len()), (2, 2));
    assert_eq!(second.fits[0], first.fits[0]);
    let kept = |artifact: Digest| fixture.rig.blobs.get(artifact).is_some();
    for job in first.jobs_of(JobKind::Train) {
        let result = job.result.as_ref().unwrap();
        assert!(kept(result.table.digest) && kept(result.checkpoint.unwrap().digest), "of the first fit");
    }
    let refused = fixture.refusal(5, Some(folds(&[0]))).await;
    assert!(refused.contains("trained for 5 epochs already"), "{refused}");
    assert!(fixture.refusal(4, None).await.contains("4 is below the 5"));
    assert!(fixture.refusal(10_001, None).await.contains("epochs"));
    let refused = fixture.refusal(9, Some(folds(&[1]))).await;
    assert!(refused.contains("stopped early (1)") && refused.contains("early_stop_patience above 1"), "{refused}");
    assert!(fixture.refusal(9, Some(folds(&[7]))).await.contains("has no fold 7: its folds are 0, "));
}

#[tokio::test]
async fn what_was_finished_before_stays_when_an_extension_is_cancelled() {
    let fixture = fixture(JobSetSpec { keep_optimizer: true, ..JobSetSpec::default() }).await;
    fixture.finish().await;
    let finished = fixture.job_set().await;
    let models: Vec<_> = finished.jobs_of(JobKind::Train).map(|job| job.result.as_ref().unwrap().checkpoint).collect();
    fixture.extend(5, None).await.unwrap();
    let extended = fixture.job_set().await;
    assert_eq!(extended.fit_at_end(), None, "it has not ended");
    assert_eq!(extended.fits[0].fold_results.iter().map(|fold| fold.checkpoint).collect::<Vec<_>>(), models);
    app::cancel(&fixture.rig.coordinator, &fixture.id).await.unwrap();
    let cancelled = fixture.job_set().await;
    assert_eq!((cancelled.state, cancelled.fit), (JobSetState::Cancelled, None));
    assert_eq!(cancelled.fit_at_end(), finished.fits.first());
    app::retry(&fixture.rig.coordinator, &fixture.id, None).await.unwrap();
    assert_eq!(fixture.finish().await[0], (JobKind::Train, Fold(0), vec![3, 4]), "it goes on where it was");
    assert_eq!(fixture.job_set().await.fit_at_end(), fixture.job_set().await.fits.last());
}

#[tokio::test]
async fn what_cannot_go_on_is_refused_with_what_to_do() {
    let without = fixture(JobSetSpec::default()).await;
    without.finish().await;
    let before = without.job_set().await;
    let refused = without.refusal(5, None).await;
    assert!(refused.contains("optimiser state of fold 0") && refused.contains("--keep_optimizer"), "{refused}");
    assert_eq!(without.job_set().await, before);

    let cosine = JobSetSpec { keep_optimizer: true, lr_schedule: LrSchedule::Cosine, ..JobSetSpec::default() };
    let cosine = fixture(cosine).await;
    cosine.finish().await;
    let refused = cosine.refusal(5, None).await;
    assert!(refused.contains("lr_schedule = cosine") && refused.contains("submit --like"), "{refused}");

    let cancelled = fixture(JobSetSpec { keep_optimizer: true, ..JobSetSpec::default() }).await;
    app::cancel(&cancelled.rig.coordinator, &cancelled.id).await.unwrap();
    assert!(cancelled.refusal(5, None).await.contains("`fivefold retry` it first"));
}
