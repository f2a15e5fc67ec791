//! Job sets, jobs and their progress.

use fivefold_common::ids::{Fold, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::{EpochMetrics, EpochReport, Phase, Progress};

use super::{WireError, same_enum};
use crate::v1;

/// The job set id in `text`.
///
/// # Errors
/// If `text` is not an id.
pub fn job_set_id_from_wire(text: &str) -> Result<JobSetId, WireError> {
    text.parse().map_err(|error| WireError::new("job_set_id", error))
}

/// The fold with this number.
///
/// # Errors
/// If the number is above 99.
pub fn fold_from_wire(number: u32) -> Result<Fold, WireError> {
    Fold::new(number)
        .ok_or_else(|| WireError::new("fold", format!("{number} is not a fold: expected a number below 100")))
}

same_enum! {
    job_kind_to_wire, job_kind_from_wire, JobKind, v1::JobKind, "kind", [Train, Predict]
}
same_enum! {
    job_state_to_wire, job_state_from_wire, JobState, v1::job::State, "state",
    [Queued, Leased, Succeeded, Failed, Cancelled]
}
same_enum! {
    job_set_state_to_wire, job_set_state_from_wire, JobSetState, v1::job_set::State, "state",
    [Training, Predicting, Succeeded, Failed, Cancelled]
}
same_enum! {
    phase_to_wire, phase_from_wire, Phase, v1::Phase, "progress.phase",
    [Preparing, Training, Validation, Scoring, Uploading]
}

/// The wire form of a job's progress.
pub fn progress_to_wire(progress: &Progress) -> v1::Progress {
    v1::Progress {
        phase: phase_to_wire(progress.phase).into(),
        epoch: progress.epoch,
        step: progress.step,
        step_count: progress.step_count,
        loss: progress.loss,
        learning_rate: progress.learning_rate,
        images_per_second: progress.images_per_second,
    }
}

/// The domain form of a job's progress.
///
/// # Errors
/// If the phase is not set.
pub fn progress_from_wire(wire: v1::Progress) -> Result<Progress, WireError> {
    Ok(Progress {
        phase: phase_from_wire(wire.phase)?,
        epoch: wire.epoch,
        step: wire.step,
        step_count: wire.step_count,
        loss: wire.loss,
        learning_rate: wire.learning_rate,
        images_per_second: wire.images_per_second,
    })
}

/// The wire form of an epoch's metrics.
pub fn epoch_to_wire(epoch: &EpochReport) -> v1::EpochMetrics {
    let EpochReport { metrics, duration_seconds } = *epoch;
    v1::EpochMetrics {
        epoch: metrics.epoch,
        train_loss: metrics.train_loss,
        valid_loss: metrics.valid_loss,
        valid_macro_f1: metrics.macro_f1,
        valid_threshold: metrics.threshold,
        learning_rate: metrics.learning_rate,
        duration_seconds,
        valid_objective: metrics.objective,
    }
}

/// The domain form of an epoch's metrics.
pub fn epoch_from_wire(wire: &v1::EpochMetrics) -> EpochReport {
    let metrics = EpochMetrics {
        epoch: wire.epoch,
        train_loss: wire.train_loss,
        valid_loss: wire.valid_loss,
        macro_f1: wire.valid_macro_f1,
        threshold: wire.valid_threshold,
        learning_rate: wire.learning_rate,
        objective: wire.valid_objective,
    };
    EpochReport { metrics, duration_seconds: wire.duration_seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_epochs_round_trip() {
        let progress = Progress { step: 3, step_count: 9, loss: Some(0.5), ..Progress::start_of(Phase::Validation) };
        assert_eq!(progress_from_wire(progress_to_wire(&progress)), Ok(progress));
        let unset = v1::Progress { phase: 0, ..progress_to_wire(&progress) };
        assert_eq!(progress_from_wire(unset).unwrap_err().field, "progress.phase");
        let metrics = EpochMetrics {
            epoch: 2,
            train_loss: 0.25,
            valid_loss: 0.5,
            macro_f1: 0.125,
            threshold: Some(0.375),
            learning_rate: 1e-3,
            objective: Some(0.75),
        };
        for metrics in [metrics, EpochMetrics { threshold: None, objective: None, ..metrics }] {
            let epoch = EpochReport { metrics, duration_seconds: 1.5 };
            assert_eq!(epoch_from_wire(&epoch_to_wire(&epoch)), epoch);
        }
        assert_eq!(fold_from_wire(100).unwrap_err().field, "fold");
    }
}
