//! Which checkpoints are kept, and what is forgotten: never a blob that something names.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::ids::{Attempt, Digest, JobId, JobSetId};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::checkpoints::{self, NewCheckpoint};
use fivefold_coordinator::queue::ending::{self, JobResult};
use fivefold_coordinator::queue::job_sets::{self, NewJobSet};
use fivefold_coordinator::queue::{artifacts, fits, lease, workers};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

const NOW: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(2_000_000);

/// A database with one leased fold.
async fn one_leased_fold(spec: JobSetSpec) -> (SqliteConnection, tempfile::TempDir, JobSetId, JobId) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("q.sqlite")).create_if_missing(true);
    let mut connection = options.foreign_keys(true).connect().await.unwrap();
    sqlx::migrate!("../migrations").run(&mut connection).await.unwrap();
    let list = blob(&mut connection, "a list", "manifest").await;
    let id = JobSetId::from_entropy(1);
    let new = NewJobSet {
        id: id.clone(),
        request_id: "r".into(),
        request_digest: list,
        spec: JobSetSpec { fold: vec![0], ..spec },
        train: list,
        hpa: None,
        test: None,
        weights: None,
        folds: list,
    };
    job_sets::insert(&mut connection, NOW, &new).await.unwrap();
    workers::register(&mut connection, NOW, "w", "cpu", "0").await.unwrap();
    let leased = lease::acquire(&mut connection, NOW, "w", "a", 60).await.unwrap().unwrap();
    (connection, folder, id, JobId(leased.id))
}

async fn blob(connection: &mut SqliteConnection, content: &str, kind: &str) -> Digest {
    let digest = Digest::of(content.as_bytes());
    artifacts::record(connection, NOW, digest, kind, content.len() as u64).await.unwrap();
    digest
}

async fn record(connection: &mut SqliteConnection, job: JobId, role: &'static str, epoch: u32) -> Digest {
    let digest = blob(connection, &format!("{role} of epoch {epoch}"), "checkpoint").await;
    let checkpoint = NewCheckpoint { digest, role, epoch, step: 0, macro_f1: None };
    checkpoints::record(connection, NOW, job, Attempt(1), checkpoint).await.unwrap();
    digest
}

/// What would be deleted now; all of it can be.
async fn collect(connection: &mut SqliteConnection) -> Vec<Digest> {
    let unnamed = artifacts::unnamed(&mut *connection, LATER).await.unwrap();
    for digest in &unnamed {
        assert!(artifacts::forget(connection, *digest, LATER).await.unwrap());
    }
    unnamed
}

#[tokio::test]
async fn as_many_checkpoints_are_kept_as_the_spec_says() {
    let (mut connection, _folder, _, job) =
        one_leased_fold(JobSetSpec { keep_last: 3, keep_best: 2, ..JobSetSpec::default() }).await;
    for epoch in 0..5 {
        record(&mut connection, job, "last", epoch).await;
        record(&mut connection, job, "best", epoch).await;
    }
    let kept = checkpoints::of_job(&mut connection, job).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|kept| (kept.role.as_str(), kept.epoch)).collect();
    assert_eq!(kept, [("last", 4), ("last", 3), ("last", 2), ("best", 4), ("best", 3)]);
    assert_eq!(collect(&mut connection).await.len(), 5, "the others go");
    assert_eq!(collect(&mut connection).await, []);
}

#[tokio::test]
async fn a_checkpoint_that_was_overtaken_on_its_way_is_not_the_newest() {
    let (mut connection, _folder, _, job) = one_leased_fold(JobSetSpec::default()).await;
    let (older, newer) = (record(&mut connection, job, "last", 1).await, record(&mut connection, job, "last", 2).await);
    // The first call again, late.
    record(&mut connection, job, "last", 1).await;
    let kept = checkpoints::of_job(&mut connection, job).await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.digest.clone()).collect::<Vec<_>>(), [newer.to_string(), older.to_string()]);
}

#[tokio::test]
async fn what_something_names_or_somebody_just_wanted_is_not_forgotten() {
    let (mut connection, _folder, id, job) = one_leased_fold(JobSetSpec::default()).await;
    let kept = record(&mut connection, job, "last", 0).await;
    let wanted = blob(&mut connection, "wanted", "checkpoint").await;
    let lost = blob(&mut connection, "an attempt's that lost its lease", "oof").await;
    assert_eq!(artifacts::touch(&mut connection, LATER, wanted).await.unwrap(), Some(6));
    assert_eq!(artifacts::touch(&mut connection, LATER, Digest::of(b"nothing")).await.unwrap(), None);
    assert_eq!(collect(&mut connection).await, [lost]);
    for named in [kept, Digest::of(b"a list"), wanted] {
        assert!(!artifacts::forget(&mut connection, named, LATER).await.unwrap(), "whoever asks");
    }

    // A fold that is trained again: what the fit came from stays, with the fit.
    let result = blob(&mut connection, "oof", "oof").await;
    let made = JobResult { digest: result, checkpoint_digest: Some(kept), made_by_json: "{}".into() };
    ending::complete(&mut connection, NOW, (job, Attempt(1)), &made).await.unwrap();
    let fit = (blob(&mut connection, "merged", "oof").await, blob(&mut connection, "report", "report").await);
    fits::store(&mut connection, NOW, &id, fit, (0.5, 0.7)).await.unwrap();
    fits::retrain(&mut connection, NOW, &id, fivefold_common::ids::Fold(0)).await.unwrap();
    assert_eq!(checkpoints::of_job(&mut connection, job).await.unwrap(), []);
    assert_eq!(collect(&mut connection).await, []);
    assert_eq!(fits::of_job_set(&mut connection, &id).await.unwrap().len(), 1);
}
