//! Job sets as messages.

use fivefold_common::job::{JobKind, JobState};
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{job_kind_to_wire, job_state_to_wire, spec_to_wire};
use fivefold_proto::v1;
use sqlx::SqlitePool;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::job_sets::{self, JobRow, JobSetRow};
use crate::queue::{artifacts, fits, report};
use crate::results::stored;

/// A job set with its jobs and results.
///
/// # Errors
/// When the database fails.
pub async fn job_set(readers: &SqlitePool, row: JobSetRow) -> Result<v1::JobSet, Error> {
    let id = row.id.parse().map_err(|error| Error::Stored(format!("{error}")))?;
    let spec = JobSetSpec::from_stored_json(&row.spec_json).map_err(|error| Error::Stored(format!("{id}: {error}")))?;
    let mut jobs = Vec::new();
    for row in job_sets::jobs(readers, &id).await? {
        jobs.push(job(readers, row).await?);
    }
    let results =
        results_of(readers, [&row.oof_digest, &row.report_digest, &row.submission_digest].map(Option::as_deref))
            .await?;
    let mut fits = Vec::new();
    for fit in fits::of_job_set(readers, &id).await? {
        let digests = [Some(fit.oof_digest.as_str()), Some(&fit.report_digest), fit.submission_digest.as_deref()];
        fits.push(v1::Fit {
            results: results_of(readers, digests).await?,
            macro_f1: fit.macro_f1,
            threshold: fit.threshold,
            create_time: Some(Timestamp(fit.created_ms).to_wire()),
        });
    }
    let state = match row.state.as_str() {
        "training" => v1::job_set::State::Training,
        "predicting" => v1::job_set::State::Predicting,
        "succeeded" => v1::job_set::State::Succeeded,
        "failed" => v1::job_set::State::Failed,
        "cancelled" => v1::job_set::State::Cancelled,
        other => return Err(Error::Stored(format!("state {other:?} of {}", row.id))),
    };
    Ok(v1::JobSet {
        id: row.id,
        spec: Some(spec_to_wire(&spec)),
        state: state.into(),
        state_reason: row.state_reason,
        jobs,
        manifests: Some(v1::Manifests {
            train_digest: row.train_digest,
            hpa_digest: row.hpa_digest.unwrap_or_default(),
            test_digest: row.test_digest.unwrap_or_default(),
            weights_digest: row.weights_digest.unwrap_or_default(),
        }),
        results,
        create_time: Some(Timestamp(row.created_ms).to_wire()),
        update_time: Some(Timestamp(row.updated_ms).to_wire()),
        macro_f1: row.macro_f1,
        threshold: row.threshold,
        paused: row.paused == 1,
        fits,
    })
}

/// The artifacts of an OOF table, a report and a submission, as far as they are there.
async fn results_of(readers: &SqlitePool, digests: [Option<&str>; 3]) -> Result<Vec<v1::Artifact>, Error> {
    let kinds = [v1::ArtifactKind::Oof, v1::ArtifactKind::Report, v1::ArtifactKind::Submission];
    let mut results = Vec::new();
    for (kind, digest) in kinds.into_iter().zip(digests) {
        results.extend(artifact(readers, kind, digest).await?);
    }
    Ok(results)
}

async fn job(readers: &SqlitePool, row: JobRow) -> Result<v1::Job, Error> {
    let kind: JobKind = row.kind.parse().map_err(|error| Error::Stored(format!("{error}")))?;
    let state: JobState = row.state.parse().map_err(|error| Error::Stored(format!("{error}")))?;
    let epochs = match kind {
        JobKind::Train => report::epochs(readers, fivefold_common::ids::JobId(row.id)).await?,
        JobKind::Predict => Vec::new(),
    };
    let progress = (row.phase > 0).then_some(v1::Progress {
        phase: row.phase as i32,
        epoch: row.epoch as u32,
        step: row.step as u32,
        step_count: row.step_count as u32,
        loss: row.loss,
        learning_rate: row.learning_rate,
        images_per_second: row.images_per_second,
    });
    let mut results = Vec::new();
    let table = match kind {
        JobKind::Train => v1::ArtifactKind::Oof,
        JobKind::Predict => v1::ArtifactKind::Predictions,
    };
    results.extend(artifact(readers, table, row.result_digest.as_deref()).await?);
    let checkpoint = row.result_checkpoint_digest.as_deref();
    results.extend(artifact(readers, v1::ArtifactKind::Checkpoint, checkpoint).await?);
    let waits = state == JobState::Queued && row.not_before_ms > 0;
    Ok(v1::Job {
        id: row.id,
        kind: job_kind_to_wire(kind).into(),
        fold: row.fold as u32,
        state: job_state_to_wire(state).into(),
        state_reason: row.state_reason,
        attempt: row.attempt as u32,
        worker_name: row.worker_name,
        progress,
        best_macro_f1: epochs.iter().map(|epoch| epoch.valid_macro_f1).reduce(f64::max),
        not_before_time: waits.then(|| Timestamp(row.not_before_ms).to_wire()),
        last_epoch: epochs.last().map(epoch_metrics),
        results,
        stalled_since_time: (state == JobState::Leased && row.stalled == 1)
            .then(|| Timestamp(row.advanced_ms).to_wire()),
    })
}

async fn artifact(
    readers: &SqlitePool,
    kind: v1::ArtifactKind,
    digest: Option<&str>,
) -> Result<Option<v1::Artifact>, Error> {
    let Some(digest) = digest else { return Ok(None) };
    let size_bytes = artifacts::size_bytes(readers, stored(digest)?).await?.unwrap_or_default();
    Ok(Some(v1::Artifact { kind: kind.into(), digest: digest.to_owned(), size_bytes }))
}

/// One epoch's metrics.
pub fn epoch_metrics(epoch: &report::EpochMetrics) -> v1::EpochMetrics {
    v1::EpochMetrics {
        epoch: epoch.epoch as u32,
        train_loss: epoch.train_loss,
        valid_loss: epoch.valid_loss,
        valid_macro_f1: epoch.valid_macro_f1,
        valid_threshold: epoch.valid_threshold,
        learning_rate: epoch.learning_rate,
        duration_seconds: epoch.duration_seconds,
    }
}
