//! Scores of rows that a model was not trained on, with test-time augmentation.

use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::{Phase, Progress};
use fivefold_common::scores::{ScoreRow, ScoreTable};
use fivefold_common::spec::{JobSetSpec, Task};
use fivefold_images::ImageLayout;
use tch::{Kind, TchError, Tensor};

use crate::data::image_source::ImageSource;
use crate::data::loader::load_batches;
use crate::engine::error::{TrainError, catch_libtorch};
use crate::engine::events::EventSink;
use crate::engine::progress_meter::ProgressMeter;
use crate::engine::stop::StopFlag;
use crate::models::{Mode, Model};
use crate::torch::autocast::autocast;
use crate::torch::device::prepare;
use crate::torch::tensors::values;
use crate::transform::augmentation::test_time_matrices;
use crate::transform::warp::warp;

/// The scores of `logits` `[N, classes]`, of the same shape and kind, each in 0..=1: sigmoids, or a softmax if the task is
/// multiclass.
pub(crate) fn scores_of(task: Task, logits: &Tensor) -> Tensor {
    match task {
        Task::Multilabel => logits.sigmoid(),
        Task::Multiclass => logits.softmax(-1, logits.kind()),
    }
}

/// Rows to be scored.
#[derive(Debug, Clone, Copy)]
pub struct Scoring<'a> {
    /// How; of it `tta`, the keys on images, `batch_size`, `precision`, `normalization`, `seed`, `classes` and `task` shape the
    /// scores.
    pub spec: &'a JobSetSpec,
    /// The fold of the model.
    pub fold: Fold,
    /// The images.
    pub images: &'a ImageSource,
    /// The rows.
    pub rows: &'a Arc<[LabelledRow]>,
    /// Threads that decode images; the result does not depend on their number.
    pub decode_threads: usize,
}

/// How scoring ended.
#[derive(Debug)]
pub enum Scored {
    /// Every row has its scores.
    Finished(ScoreTable),
    /// A stop was asked for.
    Stopped,
}

impl Scoring<'_> {
    /// For each row, in order, the mean of the scores over `spec.tta` passes. An image is decoded and uploaded once; each
    /// pass warps it by another matrix, which depends on the seed, the fold, the pass and the image's place alone.
    ///
    /// # Errors
    /// With the first image that cannot be used, a score that is not finite, or a failure of libtorch.
    pub fn run(&self, model: &Model, sink: &mut dyn EventSink, stop: &StopFlag) -> Result<Scored, TrainError> {
        let Self { spec, images, rows, decode_threads, .. } = *self;
        catch_libtorch(model.device(), spec, || {
            prepare(model.device(), spec)?;
            let places: Vec<u32> = (0..rows.len() as u32).collect();
            let plan: Vec<Vec<u32>> = places.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
            let start = Progress { step_count: plan.len() as u32, ..Progress::start_of(Phase::Scoring) };
            let mut meter = ProgressMeter::start(start, sink);
            let class_count = spec.class_count();
            let mut table = ScoreTable { class_count, rows: Vec::with_capacity(rows.len()) };
            let layout = ImageLayout::of(spec)?;
            let batches = load_batches(images.clone(), rows.clone(), plan, layout, decode_threads);
            for (step, batch) in (1u32..).zip(batches) {
                // A stop ends waits for images with an error.
                if stop.asked().is_some() {
                    return Ok(Scored::Stopped);
                }
                let batch = batch?;
                let Some(means) = self.mean_scores(model, &batch.images, table.rows.len() as u64, stop)? else {
                    return Ok(Scored::Stopped);
                };
                for (&place, scores) in batch.rows.iter().zip(values(&means)?.chunks_exact(class_count)) {
                    table.rows.push(self.scored_row(place, scores.to_vec())?);
                }
                meter.count(batch.rows.len());
                if meter.is_due() {
                    meter.report(step, None, sink);
                }
            }
            Ok(Scored::Finished(table))
        })
    }

    /// The mean scores, fp64 `[N, classes]`, of a batch of `images` whose places start at `first_index`; none when a stop was
    /// asked for. The flag is polled at each pass, since on a CPU a batch may take a while.
    fn mean_scores(
        &self,
        model: &Model,
        images: &Tensor,
        first_index: u64,
        stop: &StopFlag,
    ) -> Result<Option<Tensor>, TchError> {
        let (Self { spec, fold, .. }, device) = (*self, model.device());
        let images = images.to_device(device.into());
        let count = images.size()[0];
        let mut sum = Tensor::zeros([count, spec.class_count() as i64], (Kind::Double, device.into()));
        for pass in 0..spec.tta {
            if stop.asked().is_some() {
                return Ok(None);
            }
            let matrices = test_time_matrices(spec, fold, pass, first_index, count as usize);
            let pixels = warp(&images, &matrices, spec.normalization);
            let logits = autocast(device, spec.precision, || model.forward(&pixels, Mode::Eval))?;
            sum += scores_of(spec.task, &logits.to_kind(Kind::Double));
        }
        Ok(Some(sum / f64::from(spec.tta)))
    }

    fn scored_row(&self, place: u32, scores: Vec<f32>) -> Result<ScoreRow, TrainError> {
        let LabelledRow { id, source, labels } = self.rows[place as usize].clone();
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(TrainError::NonFiniteScore { id });
        }
        Ok(ScoreRow { id, source, fold: self.fold, target: labels, scores })
    }
}
