//! What the coordinator answers, as JSON for programs: snake case, states as words, times as RFC 3339, `null` for unset.

use fivefold_proto::convert::spec_from_wire;
use fivefold_proto::v1::{
    Artifact, ArtifactKind, EpochMetrics, Event, Fit, Job, JobKind, JobSet, Phase, Worker, job, job_set,
};
use serde_json::{Value, json};

/// A job set with its jobs.
pub(crate) fn job_set_json(set: &JobSet) -> Value {
    let spec = set.spec.clone().and_then(|spec| spec_from_wire(spec).ok());
    json!({
        "id": set.id,
        "state": job_set_state(set.state()),
        "state_reason": set.state_reason,
        "paused": set.paused,
        "macro_f1": set.macro_f1,
        "threshold": set.threshold,
        "create_time": set.create_time.map(|time| time.to_string()),
        "update_time": set.update_time.map(|time| time.to_string()),
        "jobs": set.jobs.iter().map(job_json).collect::<Vec<_>>(),
        "results": set.results.iter().map(artifact_json).collect::<Vec<_>>(),
        "fits": set.fits.iter().map(fit_json).collect::<Vec<_>>(),
        "spec": spec,
    })
}

fn fit_json(fit: &Fit) -> Value {
    json!({
        "macro_f1": fit.macro_f1,
        "threshold": fit.threshold,
        "create_time": fit.create_time.map(|time| time.to_string()),
        "results": fit.results.iter().map(artifact_json).collect::<Vec<_>>(),
    })
}

fn job_json(job: &Job) -> Value {
    let progress = job.progress.map(|progress| {
        json!({
            "phase": phase(progress.phase()),
            "epoch": progress.epoch,
            "step": progress.step,
            "step_count": progress.step_count,
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "images_per_second": progress.images_per_second,
        })
    });
    json!({
        "id": job.id,
        "kind": job_kind(job.kind()),
        "fold": job.fold,
        "state": job_state(job.state()),
        "state_reason": job.state_reason,
        "attempt": job.attempt,
        "worker_name": job.worker_name,
        "progress": progress,
        "best_macro_f1": job.best_macro_f1,
        "last_epoch": job.last_epoch.as_ref().map(epoch_json),
        "not_before_time": job.not_before_time.map(|time| time.to_string()),
        "stalled_since_time": job.stalled_since_time.map(|time| time.to_string()),
    })
}

fn epoch_json(epoch: &EpochMetrics) -> Value {
    json!({
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "valid_loss": epoch.valid_loss,
        "valid_macro_f1": epoch.valid_macro_f1,
        "valid_threshold": epoch.valid_threshold,
        "learning_rate": epoch.learning_rate,
        "duration_seconds": epoch.duration_seconds,
    })
}

fn artifact_json(artifact: &Artifact) -> Value {
    json!({ "kind": artifact_kind(artifact.kind()), "digest": artifact.digest, "size_bytes": artifact.size_bytes })
}

/// One line of the event log.
pub(crate) fn event_json(event: &Event) -> Value {
    json!({
        "cursor": event.cursor,
        "time": event.time.map(|time| time.to_string()),
        "job_id": (event.job_id != 0).then_some(event.job_id),
        "name": event.name,
        "message": event.message,
    })
}

/// A worker.
pub(crate) fn worker_json(worker: &Worker) -> Value {
    json!({
        "name": worker.name,
        "device": worker.device,
        "version": worker.version,
        "last_seen_time": worker.last_seen_time.map(|time| time.to_string()),
        "job_id": (worker.job_id != 0).then_some(worker.job_id),
        "draining": worker.draining,
    })
}

/// A job set's state as a word.
pub(crate) fn job_set_state(state: job_set::State) -> &'static str {
    match state {
        job_set::State::Unspecified => "unknown",
        job_set::State::Training => "training",
        job_set::State::Predicting => "predicting",
        job_set::State::Succeeded => "succeeded",
        job_set::State::Failed => "failed",
        job_set::State::Cancelled => "cancelled",
    }
}

/// A job's state as a word.
pub(crate) fn job_state(state: job::State) -> &'static str {
    match state {
        job::State::Unspecified => "unknown",
        job::State::Queued => "queued",
        job::State::Leased => "leased",
        job::State::Succeeded => "succeeded",
        job::State::Failed => "failed",
        job::State::Cancelled => "cancelled",
    }
}

/// A job's kind as a word.
pub(crate) fn job_kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Unspecified => "unknown",
        JobKind::Train => "train",
        JobKind::Predict => "predict",
    }
}

/// A phase as a word.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "unknown",
        Phase::Preparing => "preparing",
        Phase::Training => "training",
        Phase::Validation => "validation",
        Phase::Scoring => "scoring",
        Phase::Uploading => "uploading",
    }
}

fn artifact_kind(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Unspecified => "unknown",
        ArtifactKind::Manifest => "manifest",
        ArtifactKind::Folds => "folds",
        ArtifactKind::Weights => "weights",
        ArtifactKind::Checkpoint => "checkpoint",
        ArtifactKind::Oof => "oof",
        ArtifactKind::Predictions => "predictions",
        ArtifactKind::Report => "report",
        ArtifactKind::Submission => "submission",
    }
}
