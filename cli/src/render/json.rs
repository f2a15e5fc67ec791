//! Messages as JSON for programs: keys in snake case, states as words, times as RFC 3339, `null` for unset. Epochs, steps and
//! folds are counted from 0, as in checkpoints and tables.

use fivefold_common::eta::{Certainty, Eta};
use fivefold_proto::convert::{
    artifact_kind_from_wire, job_kind_from_wire, job_set_state_from_wire, job_state_from_wire, phase_from_wire,
    progress_from_wire, spec_from_wire,
};
use fivefold_proto::v1::{Artifact, EpochMetrics, Event, Fit, Job, JobSet, Submission, Worker};
use serde_json::{Value, json};

use super::text::word;
use super::view::View;

pub(crate) fn job_set(set: &JobSet) -> Value {
    let spec = set.spec.clone().and_then(|spec| spec_from_wire(spec).ok());
    json!({
        "id": set.id,
        "state": word(job_set_state_from_wire(set.state)),
        "state_reason": set.state_reason,
        "paused": set.paused,
        "pause_time": set.pause_time.map(|time| time.to_string()),
        "warm_start_of": set.manifests.as_ref().map(|lists| &lists.warm_start_job_set_id).filter(|id| !id.is_empty()),
        "images_digest": set.manifests.as_ref().map(|lists| &lists.images_digest).filter(|digest| !digest.is_empty()),
        "macro_f1": set.macro_f1,
        "threshold": set.threshold,
        "objective": set.objective,
        "create_time": set.create_time.map(|time| time.to_string()),
        "update_time": set.update_time.map(|time| time.to_string()),
        "jobs": set.jobs.iter().map(job).collect::<Vec<_>>(),
        "results": set.results.iter().map(artifact).collect::<Vec<_>>(),
        "fits": set.fits.iter().map(fit).collect::<Vec<_>>(),
        "kept_folds": (!set.kept_folds.is_empty()).then_some(&set.kept_folds),
        "submissions": set.submissions.iter().map(submission).collect::<Vec<_>>(),
        "spec": spec,
    })
}

/// A job set with its remaining times.
pub(crate) fn job_set_view(view: &View<'_>) -> Value {
    let mut value = job_set(view.set);
    value["remaining"] = eta(view.eta());
    for (place, job) in view.set.jobs.iter().enumerate() {
        value["jobs"][place]["remaining"] = eta(view.eta_of(job));
    }
    value
}

fn eta(eta: Option<Eta>) -> Value {
    eta.map_or(Value::Null, |Eta { seconds, certainty }| {
        json!({ "seconds": seconds.round(), "is_upper_bound": certainty == Certainty::AtMost })
    })
}

fn fit(fit: &Fit) -> Value {
    json!({
        "macro_f1": fit.macro_f1,
        "threshold": fit.threshold,
        "objective": fit.objective,
        "create_time": fit.create_time.map(|time| time.to_string()),
        "folds": fit.folds,
        "results": fit.results.iter().map(artifact).collect::<Vec<_>>(),
    })
}

fn submission(submission: &Submission) -> Value {
    json!({
        "test_digest": submission.test_digest,
        "oof_digest": submission.oof_digest,
        "folds": submission.folds,
        "create_time": submission.create_time.map(|time| time.to_string()),
        "artifact": submission.artifact.as_ref().map(artifact),
    })
}

fn job(job: &Job) -> Value {
    let progress = job.progress.map(|progress| {
        json!({
            "phase": word(phase_from_wire(progress.phase)),
            "epoch": progress_from_wire(progress).ok().and_then(|progress| progress.epoch()),
            "step": progress.step,
            "step_count": progress.step_count,
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "images_per_second": progress.images_per_second,
        })
    });
    json!({
        "id": job.id,
        "kind": word(job_kind_from_wire(job.kind)),
        "fold": job.fold,
        "state": word(job_state_from_wire(job.state)),
        "state_reason": job.state_reason,
        "attempt": job.attempt,
        "worker_name": job.worker_name,
        "progress": progress,
        "best_macro_f1": job.best_macro_f1,
        "best_objective": job.best_objective,
        "best_epoch": job.best_epoch,
        "last_epoch": job.last_epoch.as_ref().map(epoch),
        "not_before_time": job.not_before_time.map(|time| time.to_string()),
        "stalled_since_time": job.stalled_since_time.map(|time| time.to_string()),
    })
}

pub(crate) fn epoch(epoch: &EpochMetrics) -> Value {
    json!({
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "valid_loss": epoch.valid_loss,
        "valid_macro_f1": epoch.valid_macro_f1,
        "valid_threshold": epoch.valid_threshold,
        "valid_objective": epoch.valid_objective,
        "learning_rate": epoch.learning_rate,
        "duration_seconds": epoch.duration_seconds,
    })
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "kind": word(artifact_kind_from_wire(artifact.kind)),
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
    })
}

pub(crate) fn event(event: &Event) -> Value {
    json!({
        "cursor": event.cursor,
        "time": event.time.map(|time| time.to_string()),
        "job_id": (event.job_id != 0).then_some(event.job_id),
        "name": event.name,
        "message": event.message,
    })
}

pub(crate) fn worker(worker: &Worker) -> Value {
    json!({
        "name": worker.name,
        "device": worker.device,
        "version": worker.version,
        "has_image_folder": worker.has_image_folder,
        "last_seen_time": worker.last_seen_time.map(|time| time.to_string()),
        "job_id": (worker.job_id != 0).then_some(worker.job_id),
        "draining": worker.draining,
        "gone": worker.gone,
        "excluded_job_set_ids": worker.excluded_job_set_ids,
    })
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{ArtifactKind, JobKind, Phase, Progress, job, job_set};

    use super::*;
    use crate::render::epoch_history::EpochHistory;
    use crate::render::fold_table::tests::{history, spec, training};

    /// Programs depend on every key and word.
    #[test]
    fn job_sets_keep_their_keys_and_words() {
        let artifact = Artifact { kind: ArtifactKind::Oof.into(), digest: "00".into(), size_bytes: 7 };
        let train = Job {
            id: 1,
            kind: JobKind::Train.into(),
            fold: 2,
            state: job::State::Leased.into(),
            attempt: 1,
            worker_name: "gpu1".into(),
            progress: Some(Progress { phase: Phase::Scoring.into(), step: 3, step_count: 4, ..Progress::default() }),
            last_epoch: Some(EpochMetrics { valid_macro_f1: 0.5, ..EpochMetrics::default() }),
            ..Job::default()
        };
        let set = JobSet {
            id: "js-abcdefgh".into(),
            state: job_set::State::Predicting.into(),
            jobs: vec![train],
            results: vec![artifact.clone()],
            fits: vec![Fit {
                results: vec![artifact],
                macro_f1: 0.5,
                threshold: Some(0.25),
                objective: None,
                folds: vec![0, 2],
                create_time: None,
                fold_results: Vec::new(),
            }],
            kept_folds: vec![0, 2],
            submissions: vec![Submission { folds: vec![0], ..Submission::default() }],
            ..JobSet::default()
        };
        let oof = json!({ "kind": "oof", "digest": "00", "size_bytes": 7 });
        let mut expected = json!({
            "id": "js-abcdefgh", "state": "predicting", "state_reason": "", "paused": false, "pause_time": null, "warm_start_of": null, "macro_f1": null,
            "threshold": null, "objective": null, "create_time": null, "update_time": null, "spec": null, "results": [oof],
            "fits": [{ "macro_f1": 0.5, "threshold": 0.25, "objective": null, "folds": [0, 2], "create_time": null, "results": [oof] }],
            "kept_folds": [0, 2],
            "submissions": [
                { "test_digest": "", "oof_digest": "", "folds": [0], "create_time": null, "artifact": null },
            ],
            "jobs": [{
                "id": 1, "kind": "train", "fold": 2, "state": "leased", "state_reason": "", "attempt": 1,
                "worker_name": "gpu1", "best_macro_f1": null, "best_objective": null, "best_epoch": null, "not_before_time": null, "stalled_since_time": null,
                "progress": {
                    "phase": "scoring", "epoch": null, "step": 3, "step_count": 4, "loss": null, "learning_rate": null,
                    "images_per_second": 0.0,
                },
                "last_epoch": {
                    "epoch": 0, "train_loss": 0.0, "valid_loss": 0.0, "valid_macro_f1": 0.5, "valid_threshold": null, "valid_objective": null,
                    "learning_rate": 0.0, "duration_seconds": 0.0,
                },
            }],
        });
        // One key more than the macro can expand.
        expected["images_digest"] = Value::Null;
        assert_eq!(job_set(&set), expected);
        let history = EpochHistory::default();
        let view = job_set_view(&View::new(&set, &history));
        assert_eq!((&view["remaining"], &view["jobs"][0]["remaining"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn remaining_times_are_beside_the_jobs() {
        let jobs = vec![training(0, 24)];
        let history = history(&jobs);
        let set = JobSet { jobs, spec: Some(spec()), state: job_set::State::Training.into(), ..JobSet::default() };
        let value = job_set_view(&View::new(&set, &history));
        // Half of the training batches are done, at 152 images a second.
        let remaining = json!({ "seconds": 516.0, "is_upper_bound": false });
        assert_eq!((&value["remaining"], &value["jobs"][0]["remaining"]), (&remaining, &remaining));
    }

    #[test]
    fn events_and_workers_keep_their_keys() {
        let event_keys = json!({ "cursor": 5, "time": null, "job_id": null, "name": "leased", "message": "" });
        assert_eq!(event(&Event { cursor: 5, name: "leased".into(), ..Event::default() }), event_keys);
        let worker_keys = json!({
            "name": "gpu1", "device": "", "version": "", "last_seen_time": null, "job_id": 3, "draining": true,
            "gone": false, "has_image_folder": false, "excluded_job_set_ids": [],
        });
        assert_eq!(
            worker(&Worker { name: "gpu1".into(), job_id: 3, draining: true, ..Worker::default() }),
            worker_keys
        );
    }
}
