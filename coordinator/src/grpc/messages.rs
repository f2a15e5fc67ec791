//! Job sets, leases and workers as messages.

use std::collections::BTreeMap;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::spec::{Objective, ScoredCheckpoint};
use fivefold_proto::convert::{
    artifact_kind_to_wire, artifact_to_wire, checkpoint_to_wire, epoch_to_wire, job_kind_to_wire,
    job_set_state_to_wire, job_state_to_wire, progress_to_wire, spec_to_wire,
};
use fivefold_proto::v1;

use crate::app::{DataSetUsage, DiskUsage, JobSetUsage, Presence, WorkerView};
use crate::clock::Timestamp;
use crate::queue::{
    DataSet, DataSetLists, Event, Fit, FitFold, FitRecord, ImageAccess, InitialModel, Inputs, Job, JobSet, Leased,
    SubmissionRecord, Task,
};

pub(super) fn timestamp(time: Timestamp) -> fivefold_proto::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    fivefold_proto::Timestamp { seconds: time.0.div_euclid(1000), nanos }
}

/// A time in a message, to the millisecond.
pub(super) fn time(timestamp: fivefold_proto::Timestamp) -> Timestamp {
    Timestamp(timestamp.seconds.saturating_mul(1000).saturating_add(i64::from(timestamp.nanos / 1_000_000)))
}

fn optional_digest(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

fn manifests(inputs: &Inputs) -> v1::Manifests {
    v1::Manifests {
        train_digest: inputs.train.to_string(),
        hpa_digest: optional_digest(inputs.hpa),
        test_digest: optional_digest(inputs.test),
        weights_digest: optional_digest(inputs.weights),
        folds_digest: String::new(),
        warm_start_job_set_id: String::new(),
        images_digest: optional_digest(inputs.images),
    }
}

/// A job set with its jobs and results.
pub(super) fn job_set(job_set: &JobSet) -> v1::JobSet {
    v1::JobSet {
        id: job_set.id.to_string(),
        spec: Some(spec_to_wire(&job_set.spec)),
        state: job_set_state_to_wire(job_set.state).into(),
        state_reason: job_set.state_reason.clone(),
        jobs: job_set.jobs.iter().map(|of_set| job(of_set, job_set.spec.objective)).collect(),
        manifests: Some(v1::Manifests {
            warm_start_job_set_id: job_set.warm_start_of.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..manifests(&job_set.inputs)
        }),
        results: job_set.fit.iter().flat_map(results).collect(),
        create_time: Some(timestamp(job_set.created)),
        update_time: Some(timestamp(job_set.updated)),
        macro_f1: job_set.fit.map(|fit| fit.scores.macro_f1),
        threshold: job_set.fit.and_then(|fit| fit.scores.threshold),
        paused: job_set.paused,
        fits: job_set.fits.iter().map(fit).collect(),
        kept_folds: job_set.kept_folds.map(folds).unwrap_or_default(),
        submissions: job_set.submissions.iter().map(submission).collect(),
        folds_digest: job_set.inputs.folds.to_string(),
        pause_time: job_set.pause_at.map(timestamp),
        objective: job_set.fit.and_then(|fit| fit.scores.objective),
    }
}

fn results(fit: &Fit) -> Vec<v1::Artifact> {
    [Some(fit.oof), Some(fit.report), fit.submission].into_iter().flatten().map(artifact_to_wire).collect()
}

fn folds(folds: FoldSet) -> Vec<u32> {
    folds.iter().map(|fold| fold.0.into()).collect()
}

pub(super) fn fit(FitRecord { fit, created, fold_results }: &FitRecord) -> v1::Fit {
    v1::Fit {
        results: results(fit),
        macro_f1: fit.scores.macro_f1,
        threshold: fit.scores.threshold,
        create_time: Some(timestamp(*created)),
        folds: folds(fit.folds),
        fold_results: fold_results.iter().map(fit_fold).collect(),
        objective: fit.scores.objective,
    }
}

fn fit_fold(FitFold { fold, table, checkpoint }: &FitFold) -> v1::FitFold {
    v1::FitFold {
        fold: fold.0.into(),
        table: Some(artifact_to_wire(*table)),
        checkpoint: checkpoint.map(artifact_to_wire),
    }
}

fn submission(record: &SubmissionRecord) -> v1::Submission {
    v1::Submission {
        artifact: Some(artifact_to_wire(record.submission)),
        test_digest: record.test.to_string(),
        oof_digest: record.oof.to_string(),
        folds: folds(record.folds),
        create_time: Some(timestamp(record.created)),
    }
}

fn job(job: &Job, objective: Objective) -> v1::Job {
    let best = job.best_score.and_then(|score| objective.value_of_score(score));
    let results = job.result.iter().flat_map(|result| [Some(result.table), result.checkpoint]).flatten();
    let waits = job.state == JobState::Queued && job.not_before.0 > 0;
    let is_stalled = job.state == JobState::Leased && job.stalled;
    v1::Job {
        id: job.id.0,
        kind: job_kind_to_wire(job.kind).into(),
        fold: job.fold.0.into(),
        state: job_state_to_wire(job.state).into(),
        // While a worker holds the job, the reason would be that of the attempt before.
        state_reason: if job.state == JobState::Leased { String::new() } else { job.state_reason.clone() },
        attempt: job.attempt.map_or(0, |attempt| attempt.0),
        worker_name: job.worker.clone().unwrap_or_default(),
        progress: job.progress.as_ref().map(progress_to_wire),
        best_macro_f1: best.filter(|_| objective == Objective::MacroF1),
        best_objective: best,
        best_epoch: job.best_epoch,
        not_before_time: waits.then(|| timestamp(job.not_before)),
        last_epoch: job.last_epoch.as_ref().map(epoch_to_wire),
        results: results.map(artifact_to_wire).collect(),
        stalled_since_time: is_stalled.then(|| timestamp(job.advanced)),
    }
}

pub(super) fn event(event: Event) -> v1::Event {
    v1::Event {
        cursor: event.cursor,
        time: Some(timestamp(event.time)),
        job_id: event.job.map_or(0, |job| job.0),
        name: event.name.word().to_owned(),
        message: event.message,
    }
}

pub(super) fn lease(leased: &Leased, lease_seconds: u32) -> v1::Lease {
    let (kind, checkpoints) = match &leased.task {
        Task::Train { checkpoints } => (JobKind::Train, checkpoints.iter().map(checkpoint_to_wire).collect()),
        Task::Predict { checkpoint } => (JobKind::Predict, vec![scoring_checkpoint(leased, checkpoint)]),
    };
    let mut manifests = manifests(&leased.inputs);
    if let Some(InitialModel { of, checkpoint }) = &leased.initial_model {
        (manifests.weights_digest, manifests.warm_start_job_set_id) = (checkpoint.to_string(), of.to_string());
    }
    v1::Lease {
        job_id: leased.lease.job.0,
        attempt: leased.lease.attempt.0,
        lease_seconds,
        job_set_id: leased.job_set.to_string(),
        kind: job_kind_to_wire(kind).into(),
        fold: leased.fold.0.into(),
        spec: Some(spec_to_wire(&leased.spec)),
        manifests: Some(manifests),
        folds_digest: leased.inputs.folds.to_string(),
        checkpoints,
    }
}

/// The checkpoint of a predict job, which resumes nowhere.
fn scoring_checkpoint(leased: &Leased, checkpoint: &Artifact) -> v1::Checkpoint {
    let role = match leased.spec.oof_checkpoint {
        ScoredCheckpoint::Last => CheckpointRole::Last,
        ScoredCheckpoint::Best => CheckpointRole::Best,
    };
    let Artifact { digest, size_bytes, .. } = *checkpoint;
    let point = TrainingPoint { epoch: 0, step: 0 };
    checkpoint_to_wire(&Checkpoint { digest, size_bytes, role, point, macro_f1: None })
}

pub(super) fn worker(WorkerView { worker, presence }: WorkerView) -> v1::Worker {
    v1::Worker {
        name: worker.name,
        device: worker.device,
        version: worker.version,
        last_seen_time: Some(timestamp(worker.last_seen)),
        job_id: worker.job.map_or(0, |job| job.0),
        draining: worker.draining,
        gone: presence == Presence::Gone,
        excluded_job_set_ids: worker.excluded_from.iter().map(JobSetId::to_string).collect(),
        has_image_folder: worker.images == ImageAccess::Folder,
    }
}

pub(super) fn disk_usage(usage: DiskUsage) -> v1::GetDiskUsageResponse {
    v1::GetDiskUsageResponse {
        total_bytes: usage.disk.total_bytes,
        free_bytes: usage.disk.free_bytes,
        job_sets: usage.job_sets.into_iter().map(job_set_usage).collect(),
        unreferenced_bytes: usage.unreferenced_bytes,
        upload_bytes: usage.upload_bytes,
        data_sets: usage.data_sets.into_iter().map(data_set_usage).collect(),
    }
}

fn job_set_usage(usage: JobSetUsage) -> v1::JobSetUsage {
    v1::JobSetUsage {
        job_set_id: usage.id.to_string(),
        name: usage.name,
        state: job_set_state_to_wire(usage.state).into(),
        kinds: kinds(usage.bytes),
        own_bytes: usage.own_bytes,
    }
}

fn data_set_usage(usage: DataSetUsage) -> v1::DataSetUsage {
    v1::DataSetUsage { name: usage.name.to_string(), kinds: kinds(usage.bytes), own_bytes: usage.own_bytes }
}

fn kinds(bytes: BTreeMap<ArtifactKind, u64>) -> Vec<v1::KindUsage> {
    let kind = |(kind, size_bytes)| v1::KindUsage { kind: artifact_kind_to_wire(kind).into(), size_bytes };
    bytes.into_iter().map(kind).collect()
}

/// A pushed data set.
pub(super) fn data_set(data_set: DataSet) -> v1::DataSet {
    let DataSetLists { train, hpa, test, folds } = data_set.lists;
    v1::DataSet {
        name: data_set.name.to_string(),
        dataset_toml: data_set.dataset_toml,
        manifests: Some(v1::Manifests {
            train_digest: train.to_string(),
            hpa_digest: optional_digest(hpa),
            test_digest: optional_digest(test),
            folds_digest: optional_digest(folds),
            images_digest: data_set.images.to_string(),
            ..v1::Manifests::default()
        }),
        image_count: data_set.image_count,
        size_bytes: data_set.size_bytes,
        create_time: Some(timestamp(data_set.created)),
    }
}
