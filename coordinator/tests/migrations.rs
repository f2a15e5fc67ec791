//! A state folder of every earlier schema: it is brought up to date, and what it holds goes on.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId, LeaseRef};
use fivefold_common::job::{JobEvent, JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_coordinator::app::{self, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::Effect;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::state_folder::check_start;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::rig::Rig;

mod rig;

const FIRST: &str = include_str!("fixtures/queue-0001.sql");

/// A database as the first `versions` migrations made it, with what the first version left in it.
async fn old_database(file: &std::path::Path, versions: usize) {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.migrations = Cow::Owned(migrator.iter().take(versions).cloned().collect());
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true).foreign_keys(true);
    let mut connection = options.journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
    migrator.run(&mut connection).await.unwrap();
    sqlx::raw_sql(FIRST).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn every_earlier_schema_is_brought_up_to_date_and_its_jobs_go_on() {
    let all = sqlx::migrate!("../migrations").iter().count();
    assert!(all >= 3);
    for versions in 1..all {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fivefold.sqlite");
        old_database(&file, versions).await;
        let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };
        let rig = Rig::open(&file, settings).await;
        let now = Timestamp(5000);
        rig.clock.set(now);
        let (coordinator, queue) = (&rig.coordinator, &rig.coordinator.queue);

        let (done, running): (JobSetId, JobSetId) = ("js-aaaaaaaa".parse().unwrap(), "js-bbbbbbbb".parse().unwrap());
        let job_set = queue.job_set(&done).await.unwrap();
        assert_eq!((job_set.state, job_set.fit.unwrap().scores.macro_f1), (JobSetState::Succeeded, 0.71));
        assert_eq!(job_set.fits.len(), usize::from(versions < 3), "what was fitted before the table of fits is in it");

        // The worker that was running goes on, delivers, and a fold of the finished job set is trained anew.
        let lease = LeaseRef { job: JobId(4), attempt: Attempt(2) };
        assert_eq!(app::resume_work(coordinator).await.unwrap(), 1);
        app::report(coordinator, lease, 1, None, Vec::new()).await.unwrap();
        let (checkpoint, table) = (Digest::of(b"a checkpoint"), Digest::of(b"the result"));
        for (digest, kind) in [(checkpoint, ArtifactKind::Checkpoint), (table, ArtifactKind::Oof)] {
            queue.record_artifact(now, Artifact { kind, digest, size_bytes: 1 }).await.unwrap();
        }
        let recorded = Checkpoint {
            digest: checkpoint,
            size_bytes: 1,
            role: CheckpointRole::Last,
            point: TrainingPoint { epoch: 4, step: 0 },
            macro_f1: None,
        };
        app::record_checkpoint(coordinator, lease, &recorded).await.unwrap();
        let leased = app::acquire(coordinator, "w", "c").await.unwrap().unwrap();
        let fivefold_coordinator::queue::Task::Train { checkpoints } = leased.task else { panic!("{leased:?}") };
        assert_eq!(checkpoints.iter().map(|kept| kept.point.epoch).collect::<Vec<_>>(), [4, 3]);
        let transition = JobState::Leased.on(JobEvent::Completed).unwrap();
        let made_by_json = "{}".to_owned();
        let complete = Effect::Complete {
            lease,
            transition,
            table,
            checkpoint: Some(checkpoint),
            made_by_json,
            keep_last: 0,
            keep_best: 0,
        };
        queue.change(now, &running, Box::new(move |_| Ok(vec![complete.clone()]))).await.unwrap();
        app::retrain(coordinator, &done, Fold(0)).await.unwrap();

        let job_set = queue.job_set(&running).await.unwrap();
        let trained = job_set.jobs_of(JobKind::Train).nth(1).unwrap();
        assert_eq!(trained.result.as_ref().unwrap().table.digest, table);
        assert_eq!(queue.job_set(&done).await.unwrap().state, JobSetState::Training);
        let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
        assert!(broken.is_empty());
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fivefold.sqlite");
    old_database(&file, 1).await;
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the future', 1, x'00', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = SqliteQueue::open(&file, Durability::Disk).await.unwrap_err().to_string();
    let words = format!("{} is of a newer version of Fivefold, with schema 9999: start that version", file.display());
    assert!(refused.ends_with(&words), "{refused}");
    let checked = check_start(folder.path()).await.unwrap_err().to_string();
    assert_eq!(checked, words);
}
