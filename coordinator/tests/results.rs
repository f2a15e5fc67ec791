//! The way of a score table from a worker to the report and the submission.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::{FailureCause, JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
use fivefold_common::progress::{EpochMetrics, EpochReport};
use fivefold_common::report::{Report, build_report};
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::{JobSetSpec, Loss, Objective, SplitMethod, ThresholdRule};
use fivefold_common::submission::{mean_scores, write_submission};
use fivefold_coordinator::app::{self, Completion, Prediction, Settings};
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{ImageAccess, JobSet, Leased, NewWorker, Task};

use crate::rig::{Rig, TEST_LIST, TRAIN_LIST, csv, fold_rows, score_table, submission, test_rows};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

async fn submitted(rig: &Rig, spec: &JobSetSpec) -> JobSetId {
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let test = rig.upload(ArtifactKind::Manifest, TEST_LIST).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    app::submit(&rig.coordinator, submission("r", spec.clone(), Some(test))).await.unwrap()
}

/// Completes a job, and returns its table.
async fn complete(rig: &Rig, leased: &Leased) -> ScoreTable {
    let (rows, kind, checkpoint) = match leased.task {
        Task::Train { .. } => {
            let checkpoint = rig.upload(ArtifactKind::Checkpoint, leased.lease.to_string()).await;
            (fold_rows(&leased.spec, leased.fold), ArtifactKind::Oof, Some(checkpoint))
        }
        Task::Predict { .. } => (test_rows(), ArtifactKind::Predictions, None),
    };
    let table = score_table(rows, leased.fold, &leased.lease.to_string());
    let digest = rig.upload(kind, csv(&table)).await;
    let completion = Completion { lease: leased.lease, table: digest, checkpoint, made_by_json: "{}".to_owned() };
    app::complete(&rig.coordinator, completion).await.unwrap();
    table
}

/// Completes every free job, and returns the tables.
async fn complete_all(rig: &Rig) -> Vec<ScoreTable> {
    let mut tables = Vec::new();
    while let Some(leased) = app::acquire(&rig.coordinator, "w", &format!("wait {}", tables.len())).await.unwrap() {
        tables.push(complete(rig, &leased).await);
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
        let tables = complete_all(&rig).await;
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
async fn a_job_set_has_the_classes_of_its_spec() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let classes = ["even", "odd"].map(str::to_owned).to_vec();
    let spec = JobSetSpec { folds: 2, classes: classes.clone(), ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    let mut leases = 0;
    while let Some(leased) = app::acquire(&rig.coordinator, "w", &format!("wait {leases}")).await.unwrap() {
        leases += 1;
        let (rows, kind) = match leased.task {
            Task::Train { .. } => (fold_rows(&spec, leased.fold), ArtifactKind::Oof),
            Task::Predict { .. } => (test_rows(), ArtifactKind::Predictions),
        };
        let wide = score_table(rows, leased.fold, "scores");
        let mut narrow = wide.clone();
        narrow.class_count = 2;
        narrow.rows.iter_mut().for_each(|row| row.scores.truncate(2));
        let (wide, narrow) = (rig.upload(kind, csv(&wide)).await, rig.upload(kind, csv(&narrow)).await);
        let checkpoint = Some(rig.upload(ArtifactKind::Checkpoint, "a checkpoint").await);
        let complete = |table| {
            let made_by_json = "{}".to_owned();
            app::complete(&rig.coordinator, Completion { lease: leased.lease, table, checkpoint, made_by_json })
        };
        let message = complete(wide).await.unwrap_err().to_string();
        assert!(message.contains("it has the scores of 28 classes, where 2 are expected"), "{message}");
        complete(narrow).await.unwrap();
        app::sweep(&rig.coordinator).await.unwrap();
    }
    let job_set = app::job_set(&rig.coordinator, &id).await.unwrap();
    assert_eq!((leases, job_set.state), (4, JobSetState::Succeeded));
    let fit = job_set.fit.unwrap();
    let report: Report = serde_json::from_slice(&rig.blobs.get(fit.report.digest).unwrap()).unwrap();
    assert_eq!(report.per_class.into_iter().map(|class| class.name).collect::<Vec<_>>(), classes);
    let oof = rig.blobs.get(fit.oof.digest).unwrap();
    assert!(oof.starts_with(b"Id,Source,Fold,Target,p0,p1\nt"), "{}", String::from_utf8_lossy(&oof));
}

#[tokio::test]
async fn a_submission_follows_the_rule_of_the_report() {
    let thresholds = |threshold| JobSetSpec { threshold, ..JobSetSpec::default() };
    let task = fivefold_common::spec::Task::Multiclass;
    let (loss, objective) = (Loss::CrossEntropy, Objective::Accuracy);
    for spec in [
        thresholds(ThresholdRule::PerClass),
        thresholds(ThresholdRule::Fixed(0.75)),
        JobSetSpec { task, loss, objective, ..JobSetSpec::default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
        let id = submitted(&rig, &JobSetSpec { folds: 2, ..spec.clone() }).await;
        complete_all(&rig).await;
        app::sweep(&rig.coordinator).await.unwrap();
        let predictions = complete_all(&rig).await;
        app::sweep(&rig.coordinator).await.unwrap();
        let fit = job_set(&rig, &id).await.fit.unwrap();
        let report = report(&rig, fit.report.digest);
        assert_eq!(fit.scores.threshold, if spec.threshold == ThresholdRule::Fixed(0.75) { Some(0.75) } else { None });
        assert_eq!(fit.scores.objective, spec.objective.of_report(report.metrics.as_ref().unwrap()));
        let rule = report.decision_rule();
        assert_eq!(rule.thresholds_per_class().is_some(), spec.threshold == ThresholdRule::PerClass);
        let ids: Vec<_> = test_rows().into_iter().map(|row| row.id).collect();
        let mut expected = Vec::new();
        write_submission(&ids, &mean_scores(&predictions).unwrap(), &rule, &spec, &mut expected).unwrap();
        assert_eq!(rig.blobs.get(fit.submission.unwrap().digest).unwrap(), expected);
    }
}

#[tokio::test]
async fn the_best_epoch_is_that_of_the_objective() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec { folds: 2, objective: Objective::Loss, ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    let leased = app::acquire(&rig.coordinator, "w", "wait").await.unwrap().unwrap();
    let epoch = |(epoch, valid_loss, macro_f1)| {
        let (train_loss, learning_rate, threshold, objective) = (0.5, 0.1, None, None);
        let metrics = EpochMetrics { epoch, train_loss, valid_loss, macro_f1, threshold, learning_rate, objective };
        EpochReport { metrics, duration_seconds: 1.0 }
    };
    let epochs: Vec<_> = [(0, 0.75, 0.5), (1, 0.25, 0.25), (2, 0.5, 0.75)].into_iter().map(epoch).collect();
    app::report(&rig.coordinator, leased.lease, 1, None, epochs.clone()).await.unwrap();
    let job_set = job_set(&rig, &id).await;
    let job = job_set.jobs.iter().find(|job| job.id == leased.lease.job).unwrap();
    assert_eq!((job.best_score, job.best_epoch, job.last_epoch), (Some(-0.25), Some(1), Some(epochs[2])));
    assert_eq!(rig.coordinator.queue.epochs(leased.lease.job).await.unwrap(), epochs);
}

#[tokio::test]
async fn a_report_is_the_same_after_a_restart_before_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec { folds: 2, ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    let tables = complete_all(&rig).await;
    // A coordinator that remembers nothing.
    let restarted = Rig::new(rig.coordinator.queue.clone(), rig.blobs.clone(), rig.clock.clone(), SETTINGS);
    app::resume_work(&restarted.coordinator).await.unwrap();
    app::sweep(&restarted.coordinator).await.unwrap();

    let merged = ScoreTable { class_count: 28, rows: tables.into_iter().flat_map(|table| table.rows).collect() };
    let fit = app::job_set(&restarted.coordinator, &id).await.unwrap().fit.unwrap();
    assert_eq!(rig.blobs.get(fit.oof.digest).unwrap(), csv(&merged));
    let report: Report = serde_json::from_slice(&rig.blobs.get(fit.report.digest).unwrap()).unwrap();
    let expected = build_report(&merged, &spec.class_names(), spec.empty_rows).unwrap();
    let Report { job_set, made_by, .. } = report.clone();
    assert_eq!(report, Report { job_set, made_by, ..expected });
    assert_eq!(report.oof_digest, fit.oof.digest.to_string());
}

fn folds(folds: &[u8]) -> FoldSet {
    folds.iter().copied().map(Fold).collect()
}

async fn job_set(rig: &Rig, id: &JobSetId) -> JobSet {
    app::job_set(&rig.coordinator, id).await.unwrap()
}

fn report(rig: &Rig, digest: Digest) -> Report {
    serde_json::from_slice(&rig.blobs.get(digest).unwrap()).unwrap()
}

/// A job set of three folds: fold 0 is trained, fold 1 failed for good, fold 2 is leased.
async fn in_the_middle(rig: &Rig) -> (JobSetId, ScoreTable, Leased) {
    let id = submitted(rig, &JobSetSpec { folds: 3, max_attempts: 1, ..JobSetSpec::default() }).await;
    let lease = async |wait: &str| app::acquire(&rig.coordinator, "w", wait).await.unwrap().unwrap();
    let table = complete(rig, &lease("a").await).await;
    let doomed = lease("b").await;
    app::fail(&rig.coordinator, doomed.lease, FailureCause::Error, "the card is hot").await.unwrap();
    let last = lease("c").await;
    (id, table, last)
}

#[tokio::test]
async fn trained_folds_are_fitted_on_request_and_the_report_says_what_is_missing_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let (id, first, last) = in_the_middle(&rig).await;
    let before = job_set(&rig, &id).await;
    let (fit, _) = app::fit_trained_folds(&rig.coordinator, &id).await.unwrap();
    assert_eq!(job_set(&rig, &id).await, before, "the job set does not change");
    assert_eq!(fit.folds, folds(&[0]));
    assert_eq!(rig.blobs.get(fit.oof.digest).unwrap(), csv(&first));
    let partial = report(&rig, fit.report.digest);
    assert_eq!((partial.macro_f1, partial.threshold), (fit.scores.macro_f1, fit.scores.threshold));
    let partial = partial.partial.unwrap();
    assert_eq!(partial.folds, folds(&[0]));
    let missing: Vec<_> = partial.missing.iter().map(|missing| (missing.fold, missing.state)).collect();
    assert_eq!(missing, [(Fold(1), JobState::Failed), (Fold(2), JobState::Leased)]);
    assert!(partial.missing[0].reason.contains("the card is hot"), "{partial:?}");

    // The job set fails; what is trained is there all the same, and the final fit of a retry is not disturbed.
    complete(&rig, &last).await;
    assert_eq!(job_set(&rig, &id).await.state, JobSetState::Failed);
    let (fit, _) = app::fit_trained_folds(&rig.coordinator, &id).await.unwrap();
    assert_eq!(fit.folds, folds(&[0, 2]));
    app::retry(&rig.coordinator, &id, None).await.unwrap();
    complete_all(&rig).await;
    app::sweep(&rig.coordinator).await.unwrap();
    let whole = job_set(&rig, &id).await.fit.unwrap();
    assert_eq!((whole.folds, report(&rig, whole.report.digest).partial), (folds(&[0, 1, 2]), None));
}

#[tokio::test]
async fn a_partial_report_has_the_figures_of_its_split() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let spec = JobSetSpec { folds: 3, split_method: SplitMethod::Kfold, ..JobSetSpec::default() };
    let id = submitted(&rig, &spec).await;
    complete(&rig, &app::acquire(&rig.coordinator, "w", "a").await.unwrap().unwrap()).await;
    let (fit, _) = app::fit_trained_folds(&rig.coordinator, &id).await.unwrap();
    assert_eq!(report(&rig, fit.report.digest).split.unwrap().method, SplitMethod::Kfold);
}

#[tokio::test]
async fn without_a_trained_fold_there_is_neither_a_fit_nor_an_early_end() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let id = submitted(&rig, &JobSetSpec { folds: 2, ..JobSetSpec::default() }).await;
    app::cancel(&rig.coordinator, &id).await.unwrap();
    let refused = app::fit_trained_folds(&rig.coordinator, &id).await.unwrap_err().to_string();
    assert!(refused.contains("no fold of") && refused.contains("cancelled by a user"), "{refused}");
    let refused = app::finish(&rig.coordinator, &id).await.unwrap_err().to_string();
    assert!(refused.contains("nothing to finish with") && refused.contains("cancelled by a user"), "{refused}");
}

#[tokio::test]
async fn a_job_set_that_is_ended_early_is_fitted_and_predicted_by_its_trained_folds() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let (id, first, last) = in_the_middle(&rig).await;
    app::finish(&rig.coordinator, &id).await.unwrap();
    let answer = app::report(&rig.coordinator, last.lease, 1, None, Vec::new()).await.unwrap();
    assert_eq!(answer, app::Answer::Cancelled, "the worker of the fold that is left out is told");
    app::sweep(&rig.coordinator).await.unwrap();
    let predicting = job_set(&rig, &id).await;
    assert_eq!((predicting.state, predicting.kept_folds), (JobSetState::Predicting, Some(folds(&[0]))));
    let fit = predicting.fit.unwrap();
    assert_eq!(rig.blobs.get(fit.oof.digest).unwrap(), csv(&first));
    let partial = report(&rig, fit.report.digest).partial.unwrap();
    assert!(partial.missing[0].reason.contains("the card is hot"), "{partial:?}");
    assert!(partial.missing[1].reason.contains("left out"), "{partial:?}");
    assert_eq!(complete_all(&rig).await.len(), 1, "one fold predicts");
    app::sweep(&rig.coordinator).await.unwrap();
    let ended = job_set(&rig, &id).await;
    assert_eq!((ended.state, ended.submissions[0].folds), (JobSetState::Succeeded, folds(&[0])));
    let refused = app::finish(&rig.coordinator, &id).await.unwrap_err().to_string();
    assert!(refused.contains("nothing to finish"), "{refused}");

    // A fold that was left out joins again, and then the other one.
    app::retry(&rig.coordinator, &id, Some(Fold(2))).await.unwrap();
    complete_all(&rig).await;
    app::sweep(&rig.coordinator).await.unwrap();
    complete_all(&rig).await;
    app::sweep(&rig.coordinator).await.unwrap();
    let more = job_set(&rig, &id).await;
    assert_eq!((more.state, more.kept_folds), (JobSetState::Succeeded, Some(folds(&[0, 2]))));
    app::retry(&rig.coordinator, &id, None).await.unwrap();
    assert_eq!(job_set(&rig, &id).await.kept_folds, None);
}

#[tokio::test]
async fn some_folds_predict_and_earlier_submissions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let id = submitted(&rig, &JobSetSpec { folds: 3, ..JobSetSpec::default() }).await;
    let other = rig.upload(ArtifactKind::Manifest, "Id,Predicted\nx0,0\n").await;
    let predict =
        async |test, folds, replace| app::predict(&rig.coordinator, &id, Prediction { test, folds, replace }).await;
    // The prediction of the first list waits for the folds: another list does not take its place unasked.
    let refused = predict(Some(other), None, false).await.unwrap_err().to_string();
    assert!(refused.contains("is not predicted yet") && refused.contains("--replace"), "{refused}");
    let fewer = predict(None, Some(folds(&[0])), false).await.unwrap_err().to_string();
    assert!(fewer.contains("is not predicted yet"), "{fewer}");
    for _ in 0..2 {
        complete_all(&rig).await;
        app::sweep(&rig.coordinator).await.unwrap();
    }
    let all = job_set(&rig, &id).await.fit.unwrap().submission.unwrap();
    predict(None, Some(folds(&[0, 2])), false).await.unwrap();
    app::sweep(&rig.coordinator).await.unwrap();
    assert!(complete_all(&rig).await.is_empty(), "what the folds predicted before is used again");
    let some = job_set(&rig, &id).await;
    assert_eq!(some.state, JobSetState::Succeeded);
    assert_eq!(some.submissions.iter().map(|made| made.folds).collect::<Vec<_>>(), [folds(&[0, 1, 2]), folds(&[0, 2])]);
    assert_eq!(some.submissions[0].submission, all);
    assert!(rig.blobs.get(all.digest).is_some() && some.fit.unwrap().submission.unwrap() != all);

    predict(Some(other), None, false).await.unwrap();
    let refused = predict(Some(some.inputs.test.unwrap()), None, false).await.unwrap_err().to_string();
    assert!(refused.contains("is not predicted yet"), "{refused}");
    let untrained = predict(None, Some(folds(&[7])), false).await.unwrap_err().to_string();
    assert!(untrained.contains("has no fold 7: its folds are 0, 1, 2"), "{untrained}");
    assert_eq!(job_set(&rig, &id).await.submissions.len(), 2, "another list drops no submission");
}

#[tokio::test]
async fn a_failed_job_set_keeps_its_reason_when_it_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    let (id, _, last) = in_the_middle(&rig).await;
    complete(&rig, &last).await;
    let failed = job_set(&rig, &id).await;
    assert!(failed.state_reason.contains("the card is hot"), "{}", failed.state_reason);
    let refused = app::cancel(&rig.coordinator, &id).await.unwrap_err().to_string();
    assert!(refused.contains("there is nothing to cancel"), "{refused}");
    assert_eq!(job_set(&rig, &id).await, failed);
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
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    app::submit(&rig.coordinator, submission).await
}

/// Completes every fold of a job set of [`grouped_lists`], and returns the report.
async fn grouped_report(rig: &Rig, id: &JobSetId) -> Report {
    let spec = JobSetSpec { group_column: "patient".to_owned(), ..JobSetSpec::default() };
    let read = |text: String| Manifest::read_labelled_csv("list", &spec, text.as_bytes()).unwrap();
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
