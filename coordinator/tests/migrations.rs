//! A state folder of every earlier schema: it is brought up to date, and what it holds goes on.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;

use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::database::Database;
use fivefold_coordinator::queue::checkpoints::{self, NewCheckpoint};
use fivefold_coordinator::queue::ending::{self, JobResult};
use fivefold_coordinator::queue::{artifacts, fits, job_sets, lease, report};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

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
        let database = Database::open(&file).await.unwrap();

        let (done, running): (JobSetId, JobSetId) = ("js-aaaaaaaa".parse().unwrap(), "js-bbbbbbbb".parse().unwrap());
        let row = job_sets::row(database.readers(), &done).await.unwrap();
        assert_eq!((row.state.as_str(), row.macro_f1), ("succeeded", Some(0.71)));
        let known = fits::of_job_set(database.readers(), &done).await.unwrap();
        assert_eq!(known.len(), usize::from(versions < 3), "what was fitted before the table of fits is in it");

        // The worker that was running goes on, delivers, and a fold of the finished job set is trained anew.
        let attempt = (JobId(4), Attempt(2));
        let result = Digest::of(b"the result");
        database
            .write(move |c| {
                Box::pin(async move {
                    let now = Timestamp(5000);
                    lease::extend_all(&mut *c, now, 60).await?;
                    report::store(&mut *c, now, 60, attempt, 1, None, &[]).await?;
                    let checkpoint = Digest::of(b"a checkpoint");
                    for (digest, kind) in [(checkpoint, "checkpoint"), (result, "oof")] {
                        artifacts::record(&mut *c, now, digest, kind, 1).await?;
                    }
                    let named = NewCheckpoint { digest: checkpoint, role: "last", epoch: 4, step: 0, macro_f1: None };
                    checkpoints::record(&mut *c, now, attempt.0, attempt.1, named).await?;
                    let made =
                        JobResult { digest: result, checkpoint_digest: Some(checkpoint), made_by_json: "{}".into() };
                    ending::complete(&mut *c, now, attempt, &made).await?;
                    fits::retrain(&mut *c, now, &"js-aaaaaaaa".parse().unwrap(), Fold(0)).await
                })
            })
            .await
            .unwrap();
        let jobs = job_sets::jobs(database.readers(), &running).await.unwrap();
        assert_eq!(jobs[1].result_digest, Some(result.to_string()));
        let kept = checkpoints::of_job(database.readers(), attempt.0).await.unwrap();
        assert_eq!(kept.iter().map(|kept| kept.epoch).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(job_sets::row(database.readers(), &done).await.unwrap().state, "training");
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(database.readers()).await.unwrap();
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
    let refused = Database::open(&file).await.unwrap_err().to_string();
    assert!(refused.contains("9999") && refused.contains("fivefold.sqlite"), "{refused}");
}
