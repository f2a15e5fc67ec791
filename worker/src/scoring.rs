//! Scores of rows that the model was not trained on, by test-time augmentation: the out-of-fold table, the predictions.

use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::{ScoreRow, ScoreTable};
use fivefold_common::spec::JobSetSpec;
use tch::{Device, Kind, TchError, Tensor};

use crate::augmentation::test_time_matrices;
use crate::checkpoint::TrainingState;
use crate::dataset::ImageFolder;
use crate::device;
use crate::events::{EventSink, Phase};
use crate::loader::load_batches;
use crate::model::{Mode, ResNet50};
use crate::precision::autocast;
use crate::stop::StopFlag;
use crate::trainer::{Pace, TrainError};
use crate::warp::warp;

/// How scoring ended.
#[derive(Debug)]
pub enum Scored {
    /// With a score for every row.
    Finished(ScoreTable),
    /// It was asked to stop.
    Stopped,
}

/// The mean of the sigmoids over `spec.tta` passes for each of `rows`, in their order. An image is decoded and uploaded once;
/// each pass warps it anew.
///
/// # Errors
/// An image that cannot be used, or what libtorch says.
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
    let libtorch = |error: TchError| TrainError::of_libtorch(&error.to_string(), device, spec);
    device::prepare(device, spec).map_err(libtorch)?;
    let places: Vec<u32> = (0..rows.len() as u32).collect();
    let plan: Vec<Vec<u32>> = places.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
    let step_count = plan.len() as u32;
    let mut table = ScoreTable::default();
    let mut pace = Pace::new();
    let mut state = TrainingState::new(spec);
    for batch in load_batches(folder, rows.clone(), plan, spec.image_size, decode_threads) {
        if stop.asked().is_some() {
            return Ok(Scored::Stopped);
        }
        let batch = batch?;
        let images = batch.images.to_device(device);
        let (first_index, count) = (table.rows.len() as u64, batch.rows.len());
        let mut sum = Tensor::zeros([count as i64, LABEL_COUNT as i64], (Kind::Double, device));
        for pass in 0..spec.tta {
            let matrices = test_time_matrices(spec, fold, pass, first_index, count);
            let warped = warp(&images, &matrices, spec.normalization);
            let logits = autocast(device, spec.precision, || model.forward(&warped, Mode::Eval)).map_err(libtorch)?;
            sum += logits.to_kind(Kind::Double).sigmoid();
        }
        let means = (sum / f64::from(spec.tta)).to_kind(Kind::Float).to_device(Device::Cpu).contiguous().view(-1);
        let mut scores = vec![0f32; count * LABEL_COUNT];
        means.copy_data(&mut scores, count * LABEL_COUNT);
        for (&place, scores) in batch.rows.iter().zip(scores.as_chunks::<LABEL_COUNT>().0) {
            let row = &rows[place as usize];
            if scores.iter().any(|score| !score.is_finite()) {
                return Err(TrainError::Libtorch(format!("the scores of {} {} are not finite", row.source, row.id)));
            }
            let (id, source, fold, target) = (row.id.clone(), row.source, fold.0, row.labels);
            table.rows.push(ScoreRow { id, source, fold, target, scores: *scores });
        }
        state.step += 1;
        pace.count(count);
        pace.report(Phase::Scoring, &state, step_count, None, sink);
    }
    Ok(Scored::Finished(table))
}
