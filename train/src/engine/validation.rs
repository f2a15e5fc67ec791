//! The validation after an epoch.

use fivefold_common::labels::Labels;
use fivefold_common::objective::ValidationScores;
use fivefold_common::progress::{Phase, Progress};
use fivefold_images::ImageLayout;
use tch::Tensor;

use crate::data::loader::{batch_targets, load_batches};
use crate::data::sampler::validation_rows;
use crate::engine::error::TrainError;
use crate::engine::events::EventSink;
use crate::engine::pending_losses::PendingLosses;
use crate::engine::progress_meter::ProgressMeter;
use crate::engine::scoring::scores_of;
use crate::engine::stop::{Interruptible, StopFlag};
use crate::engine::trainer::Trainer;
use crate::engine::training::Training;
use crate::models::Mode;
use crate::torch::autocast::autocast;
use crate::torch::tensors::values;
use crate::transform::warp::pixels;

/// The result of a validation.
pub(crate) struct Validation {
    /// Mean loss of its batches.
    pub(crate) loss: f64,
    /// The metrics of its scores.
    pub(crate) scores: ValidationScores,
}

impl Trainer {
    /// Scores the epoch's validation rows without augmentation. After an interruption it starts again.
    pub(crate) fn validate(
        &self,
        training: &Training,
        sink: &mut dyn EventSink,
        stop: &StopFlag,
    ) -> Result<Interruptible<Validation>, TrainError> {
        let (Self { spec, fold, data, device, .. }, Training { model, state, loss, .. }) = (self, training);
        let rows = validation_rows(spec, *fold, state.epoch, data.valid.len());
        let plan: Vec<Vec<u32>> = rows.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
        let start =
            Progress { epoch: state.epoch, step_count: plan.len() as u32, ..Progress::start_of(Phase::Validation) };
        let mut meter = ProgressMeter::start(start, sink);
        let mut losses = PendingLosses::of_validation(spec, state, &data.valid, *device);
        let mut scores = Vec::new();
        let layout = ImageLayout::of(spec)?;
        let batches = load_batches(data.images.clone(), data.valid.clone(), plan, layout, data.decode_threads);
        for (step, batch) in (1u32..).zip(batches) {
            if let Some(stop) = stop.asked() {
                return Ok(Interruptible::Stopped(stop));
            }
            let batch = batch?;
            let images = pixels(&batch.images.to_device((*device).into()), spec.normalization);
            let targets = batch_targets(&data.valid, &batch.rows, spec.class_count()).to_device((*device).into());
            let logits = autocast(*device, spec.precision, || model.forward(&images, Mode::Eval))?;
            scores.push(scores_of(spec.task, &logits));
            meter.count(batch.rows.len());
            losses.push(&loss.of(&logits, &targets), batch.rows);

            let report_now = meter.is_due();
            if losses.are_many() || report_now {
                losses.read()?;
            }
            if report_now {
                meter.report(step, Some(losses.mean()), sink);
            }
        }
        losses.read()?;

        let labels: Vec<Labels> = rows.iter().map(|&row| data.valid[row as usize].labels.clone()).collect();
        let scores = values(&Tensor::f_cat(&scores, 0)?)?;
        // Finite losses come from finite logits, and these give scores in 0..=1.
        let scores = ValidationScores::of(spec, &scores, &labels)
            .map_err(|error| TrainError::Libtorch(format!("the validation scores are unusable: {error}")))?;
        Ok(Interruptible::Finished(Validation { loss: losses.mean(), scores }))
    }
}
