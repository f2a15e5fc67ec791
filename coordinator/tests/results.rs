//! The way of a score table from a worker to the report and the submission.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::{Report, build_report};
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Completion, Settings};
use fivefold_coordinator::queue::{NewWorker, Task};

use crate::rig::{Rig, TEST_LIST, TRAIN_LIST, csv, fold_rows, score_table, submission, test_rows};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600 };

async fn submitted(rig: &Rig, spec: &JobSetSpec) -> JobSetId {
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let test = rig.upload(ArtifactKind::Manifest, TEST_LIST).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into() };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    app::submit(&rig.coordinator, submission("r", spec.clone(), Some(test))).await.unwrap()
}

/// Completes every free job, and returns the tables.
async fn complete_all(rig: &Rig, spec: &JobSetSpec) -> Vec<ScoreTable> {
    let mut tables = Vec::new();
    while let Some(leased) = app::acquire(&rig.coordinator, "w", &format!("wait {}", tables.len())).await.unwrap() {
        let (rows, kind, checkpoint) = match leased.task {
            Task::Train { .. } => {
                let checkpoint = rig.upload(ArtifactKind::Checkpoint, leased.lease.to_string()).await;
                (fold_rows(spec, leased.fold), ArtifactKind::Oof, Some(checkpoint))
            }
            Task::Predict { .. } => (test_rows(), ArtifactKind::Predictions, None),
        };
        let table = score_table(rows, leased.fold, &leased.lease.to_string());
        let digest = rig.upload(kind, csv(&table)).await;
        let completion = Completion { lease: leased.lease, table: digest, checkpoint, made_by_json: "{}".to_owned() };
        app::complete(&rig.coordinator, completion).await.unwrap();
        tables.push(table);
    }
    tables
}

#[tokio::test]
async fn a_score_table_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec { folds: 2, ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    for kind in [JobKind::Train, JobKind::Predict] {
        let tables = complete_all(&rig, &spec).await;
        app::sweep(&rig.coordinator).await.unwrap();
        assert_eq!(tables.len(), 2, "{kind}");
        for table in &tables {
            assert_eq!(rig.blobs.reads(Digest::of(&csv(table))), 1, "{kind}");
        }
    }
    let job_set = app::job_set(&rig.coordinator, &id).await.unwrap();
    assert_eq!(job_set.state, JobSetState::Succeeded);
}

#[tokio::test]
async fn a_report_is_the_same_after_a_restart_before_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec { folds: 2, ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    let tables = complete_all(&rig, &spec).await;
    // A coordinator that remembers nothing.
    let restarted = Rig::new(rig.coordinator.queue.clone(), rig.blobs.clone(), rig.clock.clone(), SETTINGS);
    app::resume_work(&restarted.coordinator).await.unwrap();
    app::sweep(&restarted.coordinator).await.unwrap();

    let merged = ScoreTable { rows: tables.into_iter().flat_map(|table| table.rows).collect() };
    let fit = app::job_set(&restarted.coordinator, &id).await.unwrap().fit.unwrap();
    assert_eq!(rig.blobs.get(fit.oof.digest).unwrap(), csv(&merged));
    let report: Report = serde_json::from_slice(&rig.blobs.get(fit.report.digest).unwrap()).unwrap();
    let expected = build_report(&merged, spec.empty_rows).unwrap();
    let Report { job_set, made_by, .. } = report.clone();
    assert_eq!(report, Report { job_set, made_by, ..expected });
    assert_eq!(report.oof_digest, fit.oof.digest.to_string());
}
