//! Scores of a list of images with the checkpoint of a trained fold.

use std::path::PathBuf;
use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::spec::JobSetSpec;

use crate::data::image_source::ImageSource;
use crate::engine::error::{TrainError, catch_libtorch};
use crate::engine::events::EventSink;
use crate::engine::scoring::{Scored, Scoring};
use crate::engine::stop::StopFlag;
use crate::engine::training::load_model;
use crate::models::Model;
use crate::torch::device::Device;

/// Scores a list of images with the checkpoint of a trained fold.
#[derive(Debug, Clone)]
pub struct Predictor {
    /// How the fold was trained, and how rows are scored.
    pub spec: JobSetSpec,
    /// The fold of the checkpoint.
    pub fold: Fold,
    /// The images.
    pub images: ImageSource,
    /// The rows to score.
    pub rows: Arc<[LabelledRow]>,
    /// Threads that decode images; the result does not depend on their number.
    pub decode_threads: usize,
    /// The device that scores.
    pub device: Device,
    /// The checkpoint.
    pub checkpoint: PathBuf,
}

impl Predictor {
    /// Scores every row with test-time augmentation.
    ///
    /// # Errors
    /// When the checkpoint or an image cannot be used, a score is not finite, or libtorch fails.
    pub fn run(&self, sink: &mut dyn EventSink, stop: &StopFlag) -> Result<Scored, TrainError> {
        let Self { spec, fold, images, rows, decode_threads, device, checkpoint } = self;
        let model = catch_libtorch(*device, spec, || {
            let model = Model::new(spec, *fold, *device);
            load_model(checkpoint, spec, *fold, &model).map_err(TrainError::Resume)?;
            Ok(model)
        })?;
        Scoring { spec, fold: *fold, images, rows, decode_threads: *decode_threads }.run(&model, sink, stop)
    }
}
