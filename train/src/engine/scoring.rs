//! Scores of rows that the model was not trained on, by test-time augmentation: the out-of-fold table, the predictions.

use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::Phase;
use fivefold_common::scores::{ScoreRow, ScoreTable};
use fivefold_common::spec::JobSetSpec;
use tch::{Kind, Tensor};

use crate::data::image_folder::ImageFolder;
use crate::data::loader::load_batches;
use crate::engine::events::EventSink;
use crate::engine::precision::autocast;
use crate::engine::progress_meter::ProgressMeter;
use crate::engine::stop::StopFlag;
use crate::engine::trainer::{TrainError, floats, with_failures_as_errors};
use crate::models::resnet50::{Mode, ResNet50};
use crate::torch::device;
use crate::transform::augmentation::test_time_matrices;
use crate::transform::warp::warp;

/// How scoring ended.
#[derive(Debug)]
pub enum Scored {
    /// With a score for every row.
    Finished(ScoreTable),
    /// It was asked to stop.
    Stopped,
}

/// The mean of the sigmoids over `spec.tta` passes for each of `rows`, in their order. An image is decoded and uploaded once;
/// each pass warps it anew, by a matrix that depends on the seed, the fold, the pass and the image's place in `rows` alone.
///
/// # Errors
/// An image that cannot be used, a score that is not a number, or what libtorch says.
#[expect(clippy::too_many_arguments, reason = "they are what the scores are a function of")]
pub fn score_rows(
    spec: &JobSetSpec,
    fold: Fold,
    model: &ResNet50,
    folder: Arc<ImageFolder>,
    rows: &Arc<[LabelledRow]>,
    decode_threads: usize,
    sink: &mut dyn EventSink,
    stop: &StopFlag,
) -> Result<Scored, TrainError> {
    let device = model.device();
    with_failures_as_errors(device, spec, || {
        device::prepare(device, spec)?;
        let places: Vec<u32> = (0..rows.len() as u32).collect();
        let plan: Vec<Vec<u32>> = places.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
        let mut meter = ProgressMeter::start(Phase::Scoring, spec.epochs, (0, plan.len() as u32), None, sink);
        let mut table = ScoreTable { rows: Vec::with_capacity(rows.len()) };
        for (step, batch) in (0u32..).zip(load_batches(folder, rows.clone(), plan, spec.image_size, decode_threads)) {
            let batch = batch?;
            let images = batch.images.to_device(device.into());
            let (first_index, count) = (table.rows.len() as u64, batch.rows.len());
            let mut sum = Tensor::zeros([count as i64, LABEL_COUNT as i64], (Kind::Double, tch::Device::from(device)));
            for pass in 0..spec.tta {
                // Polled here, since all passes over a batch take a while on a CPU.
                if stop.asked().is_some() {
                    return Ok(Scored::Stopped);
                }
                let matrices = test_time_matrices(spec, fold, pass, first_index, count);
                let pixels = warp(&images, &matrices, spec.normalization);
                let logits = autocast(device, spec.precision, || model.forward(&pixels, Mode::Eval))?;
                sum += logits.to_kind(Kind::Double).sigmoid();
            }
            let means = floats(&(sum / f64::from(spec.tta)))?;
            for (&place, scores) in batch.rows.iter().zip(means.as_chunks::<LABEL_COUNT>().0) {
                let LabelledRow { id, source, labels } = rows[place as usize].clone();
                if scores.iter().any(|score| !score.is_finite()) {
                    return Err(TrainError::NonFiniteScore { id });
                }
                table.rows.push(ScoreRow { id, source, fold: fold.0, target: labels, scores: *scores });
            }
            meter.count(count);
            if meter.is_due() {
                meter.report(step + 1, None, sink);
            }
        }
        Ok(Scored::Finished(table))
    })
}
