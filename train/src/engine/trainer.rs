//! The training of a fold, from its start or a checkpoint to its out-of-fold scores.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fivefold_common::checkpoint::CheckpointRole;
use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::{Phase, Progress};
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::{JobSetSpec, ScoredCheckpoint};
use fivefold_images::ImageLayout;

use crate::data::image_source::ImageSource;
use crate::data::loader::{Batches, batch_targets, load_batches};
use crate::data::sampler::training_rows;
use crate::engine::checkpoint_pace::CheckpointPace;
use crate::engine::error::{TrainError, catch_libtorch};
use crate::engine::events::{Event, EventSink, SavedCheckpoint};
use crate::engine::pending_losses::PendingLosses;
use crate::engine::progress_meter::ProgressMeter;
use crate::engine::scoring::{Scored, Scoring};
use crate::engine::state::{Rank, TrainingState};
use crate::engine::stop::{Interruptible, Stop, StopFlag};
use crate::engine::training::{BestModel, Training, load_model, saved_checkpoint};
use crate::engine::validation::Validation;
use crate::models::weights;
use crate::torch::device::{Device, prepare};

/// The rows of a fold and their images.
#[derive(Debug, Clone)]
pub struct FoldData {
    /// The images.
    pub images: ImageSource,
    /// The rows to train on.
    pub train: Arc<[LabelledRow]>,
    /// The rows to validate on; also the rows of the out-of-fold table.
    pub valid: Arc<[LabelledRow]>,
    /// Threads that decode images; the result does not depend on their number.
    pub decode_threads: usize,
}

/// What training starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Weights drawn from the spec's seed.
    Seed,
    /// Pretrained weights: a safetensors file with torchvision's names.
    Weights(PathBuf),
    /// A trained model of the same network, such as a checkpoint of this fold in another job set. Its weights, head included, and
    /// running statistics are taken; optimiser and schedule begin anew.
    Model(PathBuf),
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
/// On the CPU the result depends on the spec, the fold, the data and the start alone: not on where training was interrupted,
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
    /// The folder that checkpoints are written into. They are named `last-<epoch>-<step>.safetensors`, for where training
    /// resumes, `best-<epoch>.safetensors`, and `model.safetensors` for the one that scores. Only `last` has the state of the
    /// optimiser.
    pub folder: PathBuf,
    /// What training starts from.
    pub start: Start,
}

/// How [`Trainer::run`] ended.
#[derive(Debug)]
pub enum TrainOutcome {
    /// The fold is trained and scored.
    Finished {
        /// The checkpoint that scored, without optimiser state.
        checkpoint: SavedCheckpoint,
        /// The scores of the validation rows.
        out_of_fold: ScoreTable,
    },
    /// A stop was asked for.
    Stopped {
        /// The checkpoint saved for [`Stop::SaveAndStop`]; none where the last one is up to date, or with [`Stop::Discard`].
        checkpoint: Option<SavedCheckpoint>,
    },
}

impl Trainer {
    /// Trains to the last epoch, then scores the validation rows with test-time augmentation.
    ///
    /// Checkpoints stay on disk. The newest best one is needed until this returns.
    ///
    /// # Errors
    /// With the first failure. Checkpoints saved before it stay valid.
    pub fn run(&self, sink: &mut dyn EventSink, stop: &StopFlag) -> Result<TrainOutcome, TrainError> {
        catch_libtorch(self.device, &self.spec, || {
            prepare(self.device, &self.spec)?;
            let (mut training, mut checkpoints) = self.start()?;
            while !training.state.finished {
                match self.epoch(&mut training, &mut checkpoints, sink, stop)? {
                    Interruptible::Finished(()) => {}
                    Interruptible::Stopped(Stop::Discard) => return Ok(TrainOutcome::Stopped { checkpoint: None }),
                    Interruptible::Stopped(Stop::SaveAndStop) => {
                        let checkpoint = Some(self.save(&training, &mut checkpoints, sink)?);
                        return Ok(TrainOutcome::Stopped { checkpoint });
                    }
                }
            }
            tracing::info!("checkpoints took {:.1}% of the time", 100.0 * checkpoints.pace.share(Instant::now()));
            let checkpoint = self.scoring_checkpoint(&training, &checkpoints)?;
            match self.scoring().run(&training.model, sink, stop)? {
                Scored::Finished(out_of_fold) => Ok(TrainOutcome::Finished { checkpoint, out_of_fold }),
                Scored::Stopped => Ok(TrainOutcome::Stopped { checkpoint: None }),
            }
        })
    }

    /// Trains an epoch, validates it and saves the checkpoints that are due.
    fn epoch(
        &self,
        training: &mut Training,
        checkpoints: &mut Checkpoints,
        sink: &mut dyn EventSink,
        stop: &StopFlag,
    ) -> Result<Interruptible<()>, TrainError> {
        if let Interruptible::Stopped(stop) = self.train_batches(training, checkpoints, sink, stop)? {
            return Ok(Interruptible::Stopped(stop));
        }
        let validation_began = Instant::now();
        let Validation { loss, scores } = match self.validate(training, sink, stop)? {
            Interruptible::Finished(validation) => validation,
            Interruptible::Stopped(stop) => return Ok(Interruptible::Stopped(stop)),
        };
        checkpoints.validation = Some(validation_began.elapsed());
        let (metrics, rank) = training.state.end_epoch(&self.spec, loss, &scores);
        sink.emit(Event::EpochEnded(metrics));
        if rank == Rank::Best {
            checkpoints.unsaved_best = Some(training.best_model());
        }
        if training.state.finished || checkpoints.pace.is_due_after_epoch(Instant::now()) {
            self.save(training, checkpoints, sink)?;
        }
        Ok(Interruptible::Finished(()))
    }

    /// Trains the batches of the epoch that are left.
    fn train_batches(
        &self,
        training: &mut Training,
        checkpoints: &mut Checkpoints,
        sink: &mut dyn EventSink,
        stop: &StopFlag,
    ) -> Result<Interruptible<()>, TrainError> {
        let Self { spec, data, device, .. } = self;
        let (began, first_step) = (Instant::now(), training.state.step);
        let mut meter = ProgressMeter::start(epoch_start(spec, &training.state), sink);
        let mut losses = PendingLosses::of_training(spec, &training.state, &data.train, *device);
        for batch in self.remaining_batches(&training.state)? {
            if stop.asked().is_some() {
                break;
            }
            let batch = batch?;
            let targets = batch_targets(&data.train, &batch.rows, spec.class_count());
            let loss = training.step(&batch.images, &targets)?;
            meter.count(batch.rows.len());
            losses.push(&loss, batch.rows);

            let step = training.state.step;
            let batch_time = began.elapsed() / (step - first_step);
            let save_now = is_due_by_batches(spec, step) || checkpoints.are_due(spec, step, batch_time);
            let report_now = meter.is_due();
            if losses.are_many() || save_now || report_now {
                training.state.loss_sum = losses.read()?;
            }
            if save_now {
                self.save(training, checkpoints, sink)?;
            }
            if report_now {
                meter.report(step, Some(losses.mean()), sink);
            }
        }
        training.state.loss_sum = losses.read()?;
        Ok(stop.asked().map_or(Interruptible::Finished(()), Interruptible::Stopped))
    }

    /// The training before its first step, and the checkpoints there are.
    fn start(&self) -> Result<(Training, Checkpoints), TrainError> {
        let mut training = Training::new(&self.spec, self.fold, &self.data.train, self.device);
        let mut checkpoints = Checkpoints::none(&self.spec);
        match &self.start {
            Start::Seed => {}
            Start::Weights(path) => {
                let loaded = weights::load(path, &training.model).map_err(TrainError::Weights)?;
                let count = loaded.taken.len() + usize::from(loaded.converted.is_some());
                tracing::info!("training starts from {count} tensors of {}", path.display());
            }
            Start::Model(path) => {
                weights::load_model(path, &training.model).map_err(|error| TrainError::Weights(error.into()))?;
                tracing::info!("training starts from the model in {}", path.display());
            }
            Start::Checkpoint { last, best } => {
                training.resume(last).map_err(TrainError::Resume)?;
                checkpoints.best.clone_from(best);
            }
        }
        Ok((training, checkpoints))
    }

    /// Saves a checkpoint to resume from. The best model goes before it if it is not saved yet: whoever resumes here does not
    /// train its epoch again.
    fn save(
        &self,
        training: &Training,
        checkpoints: &mut Checkpoints,
        sink: &mut dyn EventSink,
    ) -> Result<SavedCheckpoint, TrainError> {
        let began = Instant::now();
        if let Some(best) = checkpoints.unsaved_best.take() {
            let saved = training.save_best(best, &self.folder).map_err(TrainError::Checkpoint)?;
            checkpoints.best = Some(saved.path.clone());
            sink.emit(Event::CheckpointSaved(saved));
        }
        let last = training.save_last(&self.folder).map_err(TrainError::Checkpoint)?;
        sink.emit(Event::CheckpointSaved(last.clone()));
        checkpoints.pace.note(began, Instant::now());
        Ok(last)
    }

    /// Puts the weights that score into the model, and writes them to a checkpoint without optimiser state.
    fn scoring_checkpoint(
        &self,
        training: &Training,
        checkpoints: &Checkpoints,
    ) -> Result<SavedCheckpoint, TrainError> {
        let (role, state) = match self.spec.oof_checkpoint {
            ScoredCheckpoint::Last => (CheckpointRole::Last, training.state.clone()),
            ScoredCheckpoint::Best => {
                let path = checkpoints.best.as_ref().ok_or(TrainError::BestMissing)?;
                let state = load_model(path, &self.spec, self.fold, &training.model).map_err(TrainError::Best)?;
                (CheckpointRole::Best, state)
            }
        };
        let path = self.folder.join("model.safetensors");
        training.write_model(&path, &state).map_err(TrainError::Checkpoint)?;
        Ok(saved_checkpoint(path, role, &state))
    }

    /// The batches of the epoch that are still to be trained, in order.
    fn remaining_batches(&self, state: &TrainingState) -> Result<Batches, TrainError> {
        let Self { spec, fold, data, .. } = self;
        let rows = training_rows(spec, *fold, state.epoch, &data.train);
        let plan = rows.chunks(spec.batch_size as usize).skip(state.step as usize).map(<[u32]>::to_vec).collect();
        let layout = ImageLayout::of(spec)?;
        Ok(load_batches(data.images.clone(), data.train.clone(), plan, layout, data.decode_threads))
    }

    fn scoring(&self) -> Scoring<'_> {
        Scoring {
            spec: &self.spec,
            fold: self.fold,
            images: &self.data.images,
            rows: &self.data.valid,
            decode_threads: self.data.decode_threads,
        }
    }
}

/// The checkpoints of a training.
struct Checkpoints {
    /// The file of the best model.
    best: Option<PathBuf>,
    /// The best model, until it is saved.
    unsaved_best: Option<BestModel>,
    pace: CheckpointPace,
    /// Duration of the last validation.
    validation: Option<Duration>,
}

impl Checkpoints {
    fn none(spec: &JobSetSpec) -> Self {
        Self { best: None, unsaved_best: None, pace: CheckpointPace::new(spec, Instant::now()), validation: None }
    }

    /// Whether a checkpoint is due by the time after `step` batches of an epoch. After the last one, the next opportunity comes
    /// with the end of the validation, of which a batch takes less time than one of training.
    fn are_due(&self, spec: &JobSetSpec, step: u32, batch_time: Duration) -> bool {
        let ahead = if step < spec.train_batch_per_epoch {
            batch_time
        } else {
            self.validation.unwrap_or(batch_time * spec.valid_batch_per_epoch)
        };
        self.pace.is_due_within_epoch(Instant::now(), ahead)
    }
}

fn epoch_start(spec: &JobSetSpec, state: &TrainingState) -> Progress {
    Progress {
        epoch: state.epoch,
        step: state.step,
        step_count: spec.train_batch_per_epoch,
        learning_rate: Some(state.learning_rate(spec)),
        ..Progress::start_of(Phase::Training)
    }
}

/// Whether the spec asks for a checkpoint after `step` batches of an epoch. After the last batch the one at the epoch's end serves.
fn is_due_by_batches(spec: &JobSetSpec, step: u32) -> bool {
    let every = spec.checkpoint_every_batches;
    every > 0 && step.is_multiple_of(every) && step < spec.train_batch_per_epoch
}
