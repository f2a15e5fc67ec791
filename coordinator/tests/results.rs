//! The way of a score table from a worker to the report and the submission.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
use fivefold_common::report::{Report, build_report};
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::{JobSetSpec, SplitMethod};
use fivefold_coordinator::app::{self, Completion, Settings};
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{NewWorker, Task};

use crate::rig::{Rig, TEST_LIST, TRAIN_LIST, csv, fold_rows, score_table, submission, test_rows};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

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

/// Thirty training images of patients p0 to p9, and twelve HPA images of patients p6 to p11.
fn grouped_lists() -> (String, String) {
    let train: String = (0..30).map(|row| format!("t{row},{},p{}\n", row % 2, row / 3)).collect();
    let hpa: String = (0..12).map(|row| format!("h{row},{},p{}\n", row % 2, 6 + row / 2)).collect();
    (format!("Id,Target,patient\n{train}"), format!("Id,Target,patient\n{hpa}"))
}

async fn grouped_submission(rig: &Rig, spec: &JobSetSpec, folds_csv: Option<&str>) -> Result<JobSetId, Error> {
    let (train, hpa) = grouped_lists();
    let mut submission = submission(&format!("{} {} {folds_csv:?}", spec.folds, spec.split_method), spec.clone(), None);
    submission.train = rig.upload(ArtifactKind::Manifest, train).await;
    submission.hpa = Some(rig.upload(ArtifactKind::Manifest, hpa).await);
    if let Some(csv) = folds_csv {
        submission.folds = Some(rig.upload(ArtifactKind::Manifest, csv.to_owned()).await);
    }
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into() };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    app::submit(&rig.coordinator, submission).await
}

/// Completes every fold of a job set of [`grouped_lists`], and returns the report.
async fn grouped_report(rig: &Rig, id: &JobSetId) -> Report {
    let read = |text: String| Manifest::read_labelled_csv("list", "patient", text.as_bytes()).unwrap();
    let (train, hpa) = grouped_lists();
    let (train, hpa) = (read(train), read(hpa));
    let patient = |id: &str| {
        let list = if id.starts_with('t') { &train } else { &hpa };
        let row = list.rows.iter().position(|row| row.id == id).unwrap();
        list.groups.as_ref().unwrap().of_rows[row].clone()
    };
    let mut leases = 0;
    while let Some(leased) = app::acquire(&rig.coordinator, "w", &format!("{id} {leases}")).await.unwrap() {
        leases += 1;
        let folds = rig.blobs.get(leased.inputs.folds).unwrap();
        let folds = FoldTable::read_csv("folds", folds.as_ref()).unwrap();
        let rows = FoldRows::of(&leased.spec, leased.fold, &train, Some(&hpa), &folds).unwrap();
        if leased.spec.split_method.keeps_groups() {
            let validated: Vec<String> = rows.valid.iter().map(|row| patient(&row.id)).collect();
            let leaked = rows.train.iter().find(|row| validated.contains(&patient(&row.id)));
            assert_eq!(leaked, None, "fold {}: a patient is trained on and validated on", leased.fold);
        }
        let table = score_table(rows.valid, leased.fold, "same");
        let checkpoint = rig.upload(ArtifactKind::Checkpoint, leased.lease.to_string()).await;
        let digest = rig.upload(ArtifactKind::Oof, csv(&table)).await;
        let (lease, checkpoint) = (leased.lease, Some(checkpoint));
        let completion = Completion { lease, table: digest, checkpoint, made_by_json: "{}".to_owned() };
        app::complete(&rig.coordinator, completion).await.unwrap();
    }
    app::sweep(&rig.coordinator).await.unwrap();
    let fit = app::job_set(&rig.coordinator, id).await.unwrap().fit.unwrap();
    serde_json::from_slice(&rig.blobs.get(fit.report.digest).unwrap()).unwrap()
}

#[tokio::test]
async fn a_group_is_never_trained_on_and_validated_on_and_the_report_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    for (split_method, leaks) in [(SplitMethod::Gkf, false), (SplitMethod::Sgkf, false), (SplitMethod::Mskf, true)] {
        let group_column = "patient".to_owned();
        let spec = JobSetSpec { folds: 3, valid_with_hpa: false, split_method, group_column, ..JobSetSpec::default() };
        let id = grouped_submission(&rig, &spec, None).await.unwrap();
        let split = grouped_report(&rig, &id).await.split.unwrap();
        assert_eq!(split.method, split_method);
        assert_eq!(split.fold_rows.iter().sum::<u64>(), 42);
        let groups = split.groups.unwrap();
        assert_eq!((groups.column.as_str(), groups.count), ("patient", 12));
        assert_eq!(groups.in_two_folds > 0, leaks, "{split_method}: {groups:?}");
        if !leaks {
            assert_eq!(groups.fold_groups.iter().sum::<u64>(), 12);
        }
    }
}

#[tokio::test]
async fn folds_made_elsewhere_are_used_if_they_have_exactly_the_rows_of_the_lists() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec {
        folds: 2,
        split_method: SplitMethod::Given,
        group_column: "patient".to_owned(),
        ..JobSetSpec::default()
    };
    let row = |id: String, fold: usize| format!("{id},{fold}\n");
    let train: String = (0..30).map(|place| row(format!("t{place}"), usize::from(place >= 15))).collect();
    let hpa: String = (0..12).map(|place| row(format!("h{place}"), 1)).collect();
    let whole = format!("Id,Fold\n{hpa}{train}");
    let id = grouped_submission(&rig, &spec, Some(&whole)).await.unwrap();
    let stored = app::job_set(&rig.coordinator, &id).await.unwrap().inputs.folds;
    let stored = FoldTable::read_csv("folds", rig.blobs.get(stored).unwrap().as_ref()).unwrap();
    assert_eq!(stored.rows.iter().take(30).map(|row| row.fold.0).sum::<u8>(), 15);
    assert_eq!((stored.rows[30].id.as_str(), stored.rows[30].fold.0), ("h0", 1));
    let split = grouped_report(&rig, &id).await.split.unwrap();
    assert_eq!((split.method, split.fold_rows), (SplitMethod::Given, vec![15, 27]));
    assert_eq!(split.groups.unwrap().in_two_folds, 0);

    let refused =
        async |spec: &JobSetSpec, csv: Option<&str>| grouped_submission(&rig, spec, csv).await.unwrap_err().to_string();
    let message = refused(&spec, Some(&format!("Id,Fold\n{train}"))).await;
    assert!(message.contains("lacks 12 of 12 images of the hpa list, the first of them \"h0\""), "{message}");
    let message = refused(&spec, Some(&format!("{whole}x,0\n"))).await;
    assert!(message.contains("in no list, such as \"x\""), "{message}");
    assert!(refused(&spec, None).await.contains("--folds-csv"));
    let other = JobSetSpec { split_method: SplitMethod::Gkf, ..spec.clone() };
    assert!(refused(&other, Some(&whole)).await.contains("makes its own folds"));
    let other = JobSetSpec { folds: 5, ..spec };
    assert!(refused(&other, Some(&whole)).await.contains("has 2 folds, but folds = 5"));
}
