//! The way in: train and score a fold, or score a list with a trained fold.

use std::path::PathBuf;
use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;

use crate::checkpoint;
use crate::data::image_folder::ImageFolder;
use crate::engine::events::{EventSink, SavedCheckpoint};
use crate::engine::scoring::score_rows;
use crate::engine::stop::StopFlag;
use crate::engine::trainer::{Resume, TrainError, Trained, train_fold, with_failures_as_errors};
use crate::models::resnet50::ResNet50;
use crate::torch::device::Device;

pub use crate::engine::scoring::Scored;
pub use crate::engine::trainer::FoldData;

/// What training starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Weights drawn from the spec's seed.
    Seed,
    /// Pretrained weights: a safetensors file with torchvision's names.
    Weights(PathBuf),
    /// A checkpoint.
    Checkpoint {
        /// The checkpoint that training resumes from.
        last: PathBuf,
        /// The best one so far; needed only where the spec scores with the best.
        best: Option<PathBuf>,
    },
}

/// Trains one fold and scores its validation rows.
///
/// On the CPU the result depends on the spec, the fold, the data and the weights alone: not on where training was interrupted,
/// nor on the number of decode threads.
#[derive(Debug, Clone)]
pub struct Trainer {
    /// How the fold is trained and scored.
    pub spec: JobSetSpec,
    /// The fold.
    pub fold: Fold,
    /// Its rows and their images.
    pub data: FoldData,
    /// The device that trains.
    pub device: Device,
    /// The folder that checkpoints are written into. They are named `last-<epoch>-<step>`, for where training resumes, and
    /// `best-<epoch>`.
    pub folder: PathBuf,
    /// What training starts from.
    pub start: Start,
}

/// How [`Trainer::run`] ended.
#[derive(Debug)]
pub enum TrainOutcome {
    /// The fold is trained and scored.
    Finished {
        /// The checkpoint that scored.
        checkpoint: SavedCheckpoint,
        /// The scores of the validation rows.
        out_of_fold: ScoreTable,
    },
    /// A stop was asked for.
    Stopped {
        /// The checkpoint saved for it; none with [`Stop::Discard`](crate::Stop::Discard), or where the last one is up to date.
        checkpoint: Option<SavedCheckpoint>,
    },
}

impl Trainer {
    /// Trains to the last epoch, then scores the validation rows with test-time augmentation.
    ///
    /// The newest best checkpoint must stay on disk until this returns.
    ///
    /// # Errors
    /// The first failure. Checkpoints saved before it stay valid.
    pub fn run(&self, sink: &mut dyn EventSink, stop: &StopFlag) -> Result<TrainOutcome, TrainError> {
        let Self { spec, fold, data, device, folder, start } = self;
        let (resume, weights) = match start {
            Start::Seed => (Resume::default(), None),
            Start::Weights(path) => (Resume::default(), Some(path.as_path())),
            Start::Checkpoint { last, best } => (Resume { last: Some(last.clone()), best: best.clone() }, None),
        };
        let (model, checkpoint) = match train_fold(spec, *fold, data, *device, &resume, weights, folder, sink, stop)? {
            Trained::Finished { model, checkpoint } => (model, checkpoint),
            Trained::Stopped { checkpoint } => return Ok(TrainOutcome::Stopped { checkpoint }),
        };
        let threads = data.decode_threads;
        match score_rows(spec, *fold, &model, data.folder.clone(), &data.valid, threads, sink, stop)? {
            Scored::Finished(out_of_fold) => Ok(TrainOutcome::Finished { checkpoint, out_of_fold }),
            Scored::Stopped => Ok(TrainOutcome::Stopped { checkpoint: None }),
        }
    }
}

/// Scores a list of images with the checkpoint of a trained fold.
#[derive(Debug, Clone)]
pub struct Predictor {
    /// How the fold was trained; `tta`, `batch_size` and `precision` shape the scores.
    pub spec: JobSetSpec,
    /// The fold that the checkpoint is of.
    pub fold: Fold,
    /// The images.
    pub folder: Arc<ImageFolder>,
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
    /// The first failure.
    pub fn run(&self, sink: &mut dyn EventSink, stop: &StopFlag) -> Result<Scored, TrainError> {
        let Self { spec, fold, folder, rows, decode_threads, device, checkpoint } = self;
        let model = with_failures_as_errors(*device, spec, || {
            let model = ResNet50::new(spec, *fold, *device);
            checkpoint::load(checkpoint, spec, *fold, &model, None).map_err(TrainError::Resume)?;
            Ok(model)
        })?;
        score_rows(spec, *fold, &model, folder.clone(), rows, *decode_threads, sink, stop)
    }
}
