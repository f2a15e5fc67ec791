//! What goes with a job set, and what stays.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::FailureCause;
use fivefold_common::log_line::{LogLevel, LogLine};
use fivefold_common::progress::{EpochMetrics, EpochReport};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Completion, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{ImageAccess, NewLogLines, NewReport, NewWorker};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

use crate::rig::{Rig, TRAIN_LIST, csv, fold_rows, score_table, submission};

mod rig;

const DAY_MS: i64 = 24 * 3600 * 1000;

struct Fixture {
    rig: Rig,
    file: PathBuf,
    _folder: tempfile::TempDir,
    spec: JobSetSpec,
}

async fn fixture(retain_days: u32) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("q.sqlite");
    let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 0, retain_days };
    let rig = Rig::open(&file, settings).await;
    rig.clock.set(Timestamp(1_000_000));
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    Fixture {
        rig,
        file,
        _folder: folder,
        spec: JobSetSpec { fold: vec![0], epochs: 1, keep_optimizer: true, ..JobSetSpec::default() },
    }
}

impl Fixture {
    async fn submit(&self, request: &str) -> JobSetId {
        app::submit(&self.rig.coordinator, submission(request, self.spec.clone(), None)).await.unwrap()
    }

    /// Trains the only fold, with a failure on another worker, an epoch and a checkpoint on the way. Returns the digest of the
    /// model.
    async fn train(&self, name: &str) -> Digest {
        let (rig, coordinator) = (&self.rig, &self.rig.coordinator);
        let failed = app::acquire(coordinator, "x", &format!("{name} 1")).await.unwrap().unwrap().lease;
        app::fail(coordinator, failed, FailureCause::BadData, "it failed").await.unwrap();
        rig.clock.set(Timestamp(coordinator.clock.now().0 + DAY_MS / 24));
        let lease = app::acquire(coordinator, "w", &format!("{name} 2")).await.unwrap().unwrap().lease;
        let metrics = EpochMetrics {
            epoch: 0,
            train_loss: 1.0,
            valid_loss: 1.0,
            macro_f1: 0.5,
            threshold: Some(0.5),
            objective: None,
            learning_rate: 0.1,
        };
        let epochs = vec![EpochReport { metrics, duration_seconds: 1.0 }];
        let expires = coordinator.clock.now().plus_seconds(60);
        let report = NewReport { lease, expires, sequence: 1, progress: None, epochs };
        coordinator.queue.report(coordinator.clock.now(), report).await.unwrap();
        let line = LogLine { number: 1, time_ms: 0, level: LogLevel::Info, message: "epoch 1/1".to_owned() };
        let new = NewLogLines { lease, worker: "w".to_owned(), lines: vec![line] };
        app::append_log(coordinator, new).await.unwrap();
        let content = format!("checkpoint of {name}");
        let size_bytes = content.len() as u64;
        let digest = rig.upload(ArtifactKind::Checkpoint, content).await;
        let point = TrainingPoint { epoch: 1, step: 0 };
        let checkpoint = Checkpoint { digest, size_bytes, role: CheckpointRole::Last, point, macro_f1: None };
        app::record_checkpoint(coordinator, lease, &checkpoint).await.unwrap();
        let table =
            rig.upload(ArtifactKind::Oof, csv(&score_table(fold_rows(&self.spec, Fold(0)), Fold(0), name))).await;
        let model = rig.upload(ArtifactKind::Checkpoint, format!("model of {name}")).await;
        let completion = Completion { lease, table, checkpoint: Some(model), made_by_json: "{}".to_owned() };
        app::complete(coordinator, completion).await.unwrap();
        app::sweep(coordinator).await.unwrap();
        add_rows(&self.file).await;
        model
    }

    async fn is_known(&self, id: &JobSetId) -> bool {
        match app::job_set(&self.rig.coordinator, id).await {
            Ok(_) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A submission for each fit, without the predictions that it would come from, a model to begin from, and pushed images.
async fn add_rows(file: &Path) {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let add = "INSERT INTO submissions SELECT id, oof_digest, train_digest, '[0]', report_digest, 0 FROM job_sets
               WHERE oof_digest IS NOT NULL ON CONFLICT DO NOTHING";
    sqlx::query(add).execute(&mut connection).await.unwrap();
    let add = "INSERT INTO warm_starts SELECT id, 0, train_digest FROM job_sets WHERE true ON CONFLICT DO NOTHING";
    sqlx::query(add).execute(&mut connection).await.unwrap();
    let add = "UPDATE job_sets SET images_digest = report_digest WHERE report_digest IS NOT NULL";
    sqlx::query(add).execute(&mut connection).await.unwrap();
    let add =
        "INSERT INTO image_segments SELECT images_digest, train_digest FROM job_sets WHERE images_digest IS NOT NULL
               ON CONFLICT DO NOTHING";
    sqlx::query(add).execute(&mut connection).await.unwrap();
}

/// The rows of each table that belongs to job sets; artifacts, data sets and workers aside.
async fn rows_by_table(file: &Path) -> Vec<(String, i64)> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let tables =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx_%'
                  AND name NOT IN ('artifacts', 'data_sets', 'workers', 'tokens') ORDER BY name";
    let mut counts = Vec::new();
    for row in sqlx::query(tables).fetch_all(&mut connection).await.unwrap() {
        let table: String = row.get(0);
        let count = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        counts.push((table, count.fetch_one(&mut connection).await.unwrap().get(0)));
    }
    counts
}

#[tokio::test]
async fn everything_of_a_deleted_job_set_goes_and_what_others_share_stays() {
    let fixture = fixture(0).await;
    let (rig, coordinator) = (&fixture.rig, &fixture.rig.coordinator);
    let first = fixture.submit("first").await;
    let first_model = fixture.train("first").await;
    let before = rows_by_table(&fixture.file).await;
    assert!(before.iter().all(|(_, rows)| *rows > 0), "each table should be tested: {before:?}");
    let second = fixture.submit("second").await;
    let second_model = fixture.train("second").await;

    app::delete(coordinator, &second).await.unwrap();
    assert!(fixture.is_known(&first).await && !fixture.is_known(&second).await);
    assert_eq!(rows_by_table(&fixture.file).await, before);
    rig.clock.set(Timestamp(coordinator.clock.now().0 + DAY_MS));
    app::sweep(coordinator).await.unwrap();
    app::clean(coordinator).await.unwrap();
    assert!(rig.blobs.get(second_model).is_none());
    assert!(rig.blobs.get(first_model).is_some() && rig.blobs.get(Digest::of(TRAIN_LIST.as_bytes())).is_some());
    assert_eq!(rig.blobs.digests(), rig.known().await);

    app::delete(coordinator, &first).await.unwrap();
    app::clean(coordinator).await.unwrap();
    assert!(rows_by_table(&fixture.file).await.iter().all(|(_, rows)| *rows == 0));
    assert!(rig.blobs.digests().is_empty());
    let again = app::delete(coordinator, &first).await.unwrap_err();
    assert!(matches!(again, Error::NotFound { .. }), "{again}");
}

#[tokio::test]
async fn a_job_set_that_has_not_ended_is_not_deleted() {
    let fixture = fixture(0).await;
    let coordinator = &fixture.rig.coordinator;
    let id = fixture.submit("r").await;
    let lease = app::acquire(coordinator, "w", "a").await.unwrap().unwrap().lease;
    let refused = app::delete(coordinator, &id).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("`fivefold cancel {id}` it first")), "{refused}");
    assert!(fixture.is_known(&id).await);

    app::cancel(coordinator, &id).await.unwrap();
    app::delete(coordinator, &id).await.unwrap();
    // The worker learns that its lease is over.
    let late = app::fail(coordinator, lease, FailureCause::Error, "").await.unwrap_err();
    assert!(matches!(late, Error::StaleAttempt(_)), "{late}");
    app::sweep(coordinator).await.unwrap();
}

#[tokio::test]
async fn old_job_sets_are_deleted_after_the_days_that_were_asked_for() {
    for (retain_days, expected) in [(0, true), (3, false)] {
        let fixture = fixture(retain_days).await;
        let coordinator = &fixture.rig.coordinator;
        let old = fixture.submit("old").await;
        app::cancel(coordinator, &old).await.unwrap();
        let running = fixture.submit("running").await;
        fixture.rig.clock.set(Timestamp(coordinator.clock.now().0 + 3 * DAY_MS));
        app::delete_old(coordinator).await.unwrap();
        assert!(fixture.is_known(&old).await, "it is just three days old");
        fixture.rig.clock.set(Timestamp(coordinator.clock.now().0 + 1));
        app::delete_old(coordinator).await.unwrap();
        assert_eq!(fixture.is_known(&old).await, expected, "after {retain_days} days");
        assert!(fixture.is_known(&running).await);
    }
}
