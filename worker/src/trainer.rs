//! The training of one fold, from the first batch or from a checkpoint to the last epoch.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fivefold_common::ids::Fold;
use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::manifest::LabelledRow;
use fivefold_common::spec::{JobSetSpec, ScoredCheckpoint};
use fivefold_common::threshold::fit_threshold;
use tch::{Device, Kind, TchError, Tensor};

use crate::augmentation::training_matrices;
use crate::checkpoint::{self, CheckpointError, EpochMetrics, TrainingState};
use crate::dataset::ImageFolder;
use crate::device::{self, Failure};
use crate::events::{CheckpointRole, Event, EventSink, Phase, Progress, SavedCheckpoint};
use crate::image_file::ImageError;
use crate::loader::{Batches, load_batches};
use crate::loss::loss;
use crate::model::{Mode, ResNet50};
use crate::optimizer::Optimizer;
use crate::precision::{Gradients, autocast};
use crate::sampler::{training_rows, validation_rows};
use crate::schedule::Verdict;
use crate::stop::{Stop, StopFlag};
use crate::tensor_file::TensorFileError;
use crate::warp::{pixels, warp};
use crate::weights;

/// The rows of a fold, and where their images are.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// The images.
    pub folder: Arc<ImageFolder>,
    /// What is trained on.
    pub train: Arc<[LabelledRow]>,
    /// What is validated on.
    pub valid: Arc<[LabelledRow]>,
    /// Threads that decode images; the result does not depend on their number.
    pub decode_threads: usize,
}

/// What there is to go on from.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// The checkpoint that training goes on from.
    pub last: Option<PathBuf>,
    /// The best one so far; needed only where the spec scores with the best.
    pub best: Option<PathBuf>,
}

/// How training ended.
pub enum Trained {
    /// After its last epoch.
    Finished {
        /// The model that scores: with the last or the best weights, as the spec says.
        model: ResNet50,
        /// The checkpoint that has those weights.
        checkpoint: SavedCheckpoint,
    },
    /// It was asked to stop.
    Stopped {
        /// What was saved; none where nothing was to be kept.
        checkpoint: Option<SavedCheckpoint>,
    },
}

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An image that cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A loss that is no number. The last checkpoint is from before it.
    #[error("the loss of epoch {epoch}, step {step} is not finite, at learning rate {learning_rate}; its images: {}", ids.join(" "))]
    NonFiniteLoss {
        /// The epoch, from 0.
        epoch: u32,
        /// The step, from 0.
        step: u32,
        /// The learning rate.
        learning_rate: f64,
        /// The images of its batch.
        ids: Vec<String>,
    },
    /// The device's memory is too small.
    #[error(
        "out of memory with batch_size = {batch_size} and image_size = {image_size}, {free}: choose a smaller batch_size, or another precision"
    )]
    OutOfMemory {
        /// Images per batch.
        batch_size: u32,
        /// Their side in pixels.
        image_size: u32,
        /// What the device had left.
        free: String,
    },
    /// A checkpoint that cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Initial weights that cannot be used.
    #[error(transparent)]
    Weights(#[from] TensorFileError),
    /// Anything else that libtorch said.
    #[error("libtorch: {0}")]
    Libtorch(String),
}

impl TrainError {
    /// The error behind a message of libtorch.
    pub fn of_libtorch(message: &str, device: Device, spec: &JobSetSpec) -> Self {
        match device::classify(device, message) {
            Failure::OutOfMemory(free) => {
                Self::OutOfMemory { batch_size: spec.batch_size, image_size: spec.image_size, free: free.to_string() }
            }
            Failure::Other => Self::Libtorch(message.to_owned()),
        }
    }

    /// The error behind a panic: tch turns libtorch's errors into panics.
    pub fn of_panic(panic: &(dyn Any + Send), device: Device, spec: &JobSetSpec) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::of_libtorch(text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic"), device, spec)
    }
}

/// Trains `fold` on `device`. Checkpoints are written into `checkpoint_folder` and stay there.
///
/// On the CPU the result depends on the spec and the data alone: not on where it was interrupted, nor on the number of decode
/// threads.
///
/// # Errors
/// The first thing that goes wrong; checkpoints that were saved before it stay good.
#[expect(clippy::too_many_arguments, reason = "they are what training is a function of")]
pub fn train_fold(
    spec: &JobSetSpec,
    fold: Fold,
    data: &TrainingData,
    device: Device,
    resume: &Resume,
    weights: Option<&Path>,
    checkpoint_folder: &Path,
    sink: &mut dyn EventSink,
    stop: &StopFlag,
) -> Result<Trained, TrainError> {
    let libtorch = |error: TchError| TrainError::of_libtorch(&error.to_string(), device, spec);
    device::prepare(device, spec).map_err(libtorch)?;
    let model = ResNet50::new(spec, fold, device);
    if let (Some(weights), None) = (weights, &resume.last) {
        let loaded = weights::load(weights, &model)?;
        tracing::info!("training starts from {} tensors of {}", loaded.tensors, weights.display());
    }
    let mut optimizer = Optimizer::new(spec, model.parameters());
    let mut state = TrainingState::new(spec);
    let mut last = None;
    if let Some(path) = &resume.last {
        state = checkpoint::load(path, spec, fold, &model, Some(&optimizer))?;
        last = Some(saved(path.clone(), CheckpointRole::Last, &state));
    }
    let mut best = resume.best.clone().map(|path| saved(path, CheckpointRole::Best, &state));
    let mut pace = Pace::new();

    while !state.finished {
        let learning_rate = state.plateau.learning_rate();
        let mut unread = Vec::new();
        for batch in training_batches(spec, fold, data, &state) {
            let batch = batch?;
            let first_index = u64::from(state.step) * u64::from(spec.batch_size);
            let matrices = training_matrices(spec, fold, state.epoch, first_index, batch.rows.len());
            let images = warp(&batch.images.to_device(device), &matrices, spec.normalization);
            let targets = targets(&data.train, &batch.rows, device);

            let logits = autocast(device, spec.precision, || model.forward(&images, Mode::Train)).map_err(libtorch)?;
            let loss = loss(spec.loss, &logits, &targets);
            optimizer.zero_grad(model.parameters()).map_err(libtorch)?;
            state.loss_scale.scaled(&loss).f_backward().map_err(libtorch)?;
            if state.loss_scale.unscale(model.parameters()).map_err(libtorch)? == Gradients::Finite {
                optimizer.step(model.parameters(), learning_rate).map_err(libtorch)?;
            }
            unread.push(UnreadLoss { loss: loss.detach(), step: state.step, rows: batch.rows });
            state.step += 1;
            pace.count(unread.last().map_or(0, |unread| unread.rows.len()));

            let checkpoint_is_due = spec.checkpoint_every_batches > 0
                && state.step.is_multiple_of(spec.checkpoint_every_batches)
                && state.step < spec.train_batch_per_epoch;
            // Reading a loss makes the CPU wait for the GPU.
            if device == Device::Cpu || unread.len() >= 16 || checkpoint_is_due || stop.asked().is_some() {
                read_losses(&mut unread, &mut state, learning_rate, &data.train)?;
            }
            if checkpoint_is_due && stop.asked().is_none() {
                save(spec, fold, &model, &optimizer, &state, checkpoint_folder, sink)?;
            }
            pace.report(Phase::Training, &state, spec.train_batch_per_epoch, Some(learning_rate), sink);
            match stop.asked() {
                None => {}
                Some(Stop::Discard) => return Ok(Trained::Stopped { checkpoint: None }),
                Some(Stop::SaveAndStop) => {
                    let checkpoint = Some(save(spec, fold, &model, &optimizer, &state, checkpoint_folder, sink)?);
                    return Ok(Trained::Stopped { checkpoint });
                }
            }
        }
        read_losses(&mut unread, &mut state, learning_rate, &data.train)?;

        let Some(validation) = validate(spec, fold, data, &model, &state, learning_rate, &mut pace, sink, stop)? else {
            let checkpoint = match stop.asked() {
                Some(Stop::SaveAndStop) => Some(save(spec, fold, &model, &optimizer, &state, checkpoint_folder, sink)?),
                _ => None,
            };
            return Ok(Trained::Stopped { checkpoint });
        };
        let metrics = EpochMetrics {
            epoch: state.epoch,
            train_loss: state.loss_sum / f64::from(spec.train_batch_per_epoch),
            valid_loss: validation.loss,
            macro_f1: validation.macro_f1,
            threshold: validation.threshold,
            learning_rate,
        };
        state.plateau.end_epoch(metrics.macro_f1);
        let verdict = state.early_stop.end_epoch(metrics.macro_f1);
        let is_best = state.best_macro_f1.is_none_or(|best| metrics.macro_f1 > best);
        state.best_macro_f1 = if is_best { Some(metrics.macro_f1) } else { state.best_macro_f1 };
        state.epochs.push(metrics.clone());
        state.epoch += 1;
        state.step = 0;
        state.loss_sum = 0.0;
        state.finished = verdict == Verdict::Stop || state.epoch == spec.epochs;

        sink.emit(Event::EpochEnded(metrics));
        let checkpoint = save(spec, fold, &model, &optimizer, &state, checkpoint_folder, sink)?;
        if is_best {
            let checkpoint = SavedCheckpoint { role: CheckpointRole::Best, ..checkpoint.clone() };
            sink.emit(Event::CheckpointSaved(checkpoint.clone()));
            best = Some(checkpoint);
        }
        last = Some(checkpoint);
    }

    let scored = match spec.oof_checkpoint {
        ScoredCheckpoint::Last => last,
        ScoredCheckpoint::Best => best.or(last),
    };
    let checkpoint = scored.ok_or_else(|| TrainError::Libtorch("training ended without a checkpoint".into()))?;
    if spec.oof_checkpoint == ScoredCheckpoint::Best {
        checkpoint::load(&checkpoint.path, spec, fold, &model, None)?;
    }
    Ok(Trained::Finished { model, checkpoint })
}

/// The batches of the epoch that are still to do, in order.
fn training_batches(spec: &JobSetSpec, fold: Fold, data: &TrainingData, state: &TrainingState) -> Batches {
    let rows = training_rows(spec, fold, state.epoch, &data.train);
    let plan = rows.chunks(spec.batch_size as usize).skip(state.step as usize).map(<[u32]>::to_vec).collect();
    load_batches(data.folder.clone(), data.train.clone(), plan, spec.image_size, data.decode_threads)
}

/// Which labels the rows have: f32 `[N, 28]`, 0 or 1.
fn targets(rows: &[LabelledRow], batch: &[u32], device: Device) -> Tensor {
    let held = |labels: Labels| (0..LABEL_COUNT as u8).map(move |label| f32::from(u8::from(labels.contains(label))));
    let values: Vec<f32> = batch.iter().flat_map(|&row| held(rows[row as usize].labels)).collect();
    Tensor::from_slice(&values).reshape([batch.len() as i64, LABEL_COUNT as i64]).to_device(device)
}

/// A loss that is still on the device.
struct UnreadLoss {
    loss: Tensor,
    step: u32,
    rows: Vec<u32>,
}

/// Adds the losses to the epoch's sum, in the order of their steps.
fn read_losses(
    unread: &mut Vec<UnreadLoss>,
    state: &mut TrainingState,
    learning_rate: f64,
    rows: &[LabelledRow],
) -> Result<(), TrainError> {
    for UnreadLoss { loss, step, rows: batch } in unread.drain(..) {
        let loss = loss.double_value(&[]);
        if !loss.is_finite() {
            let ids = batch.iter().map(|&row| rows[row as usize].id.clone()).collect();
            return Err(TrainError::NonFiniteLoss { epoch: state.epoch, step, learning_rate, ids });
        }
        state.loss_sum += loss;
    }
    Ok(())
}

/// Writes the newest checkpoint and tells of it.
fn save(
    spec: &JobSetSpec,
    fold: Fold,
    model: &ResNet50,
    optimizer: &Optimizer,
    state: &TrainingState,
    folder: &Path,
    sink: &mut dyn EventSink,
) -> Result<SavedCheckpoint, TrainError> {
    let path = folder.join(format!("fold-{fold}-epoch-{}-step-{}.safetensors", state.epoch, state.step));
    checkpoint::save(&path, spec, fold, model, optimizer, state)?;
    let checkpoint = saved(path, CheckpointRole::Last, state);
    sink.emit(Event::CheckpointSaved(checkpoint.clone()));
    Ok(checkpoint)
}

fn saved(path: PathBuf, role: CheckpointRole, state: &TrainingState) -> SavedCheckpoint {
    let macro_f1 = match role {
        CheckpointRole::Last => state.epochs.last().map(|epoch| epoch.macro_f1),
        CheckpointRole::Best => state.best_macro_f1,
    };
    SavedCheckpoint { path, role, epoch: state.epoch, step: state.step, macro_f1 }
}

/// What the model is worth on the epoch's validation rows.
struct Validation {
    loss: f64,
    macro_f1: f64,
    threshold: f64,
}

/// Scores the epoch's validation rows, plain images; `None` when asked to stop. It is begun anew after an interruption.
#[expect(clippy::too_many_arguments, reason = "they are what validation is a function of")]
fn validate(
    spec: &JobSetSpec,
    fold: Fold,
    data: &TrainingData,
    model: &ResNet50,
    state: &TrainingState,
    learning_rate: f64,
    pace: &mut Pace,
    sink: &mut dyn EventSink,
    stop: &StopFlag,
) -> Result<Option<Validation>, TrainError> {
    let device = model.device();
    let rows = validation_rows(spec, fold, state.epoch, data.valid.len());
    let plan: Vec<Vec<u32>> = rows.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
    let step_count = plan.len() as u32;
    let (mut scores, mut labels, mut loss_sum) = (Vec::new(), Vec::new(), 0.0);
    let batches = load_batches(data.folder.clone(), data.valid.clone(), plan, spec.image_size, data.decode_threads);
    for (step, batch) in (0u32..).zip(batches) {
        if stop.asked().is_some() {
            return Ok(None);
        }
        let batch = batch?;
        let images = pixels(&batch.images.to_device(device), spec.normalization);
        let logits = autocast(device, spec.precision, || model.forward(&images, Mode::Eval));
        let logits = logits.map_err(|error| TrainError::of_libtorch(&error.to_string(), device, spec))?;
        let loss = loss(spec.loss, &logits, &targets(&data.valid, &batch.rows, device)).double_value(&[]);
        if !loss.is_finite() {
            let ids = batch.rows.iter().map(|&row| data.valid[row as usize].id.clone()).collect();
            return Err(TrainError::NonFiniteLoss { epoch: state.epoch, step: state.step, learning_rate, ids });
        }
        loss_sum += loss;
        scores.extend(probabilities(&logits));
        labels.extend(batch.rows.iter().map(|&row| data.valid[row as usize].labels));
        pace.count(batch.rows.len());
        pace.report(Phase::Validation, &TrainingState { step: step + 1, ..state.clone() }, step_count, None, sink);
    }
    let fit = fit_threshold(&scores, &labels, spec.empty_rows);
    let fit = fit.map_err(|error| TrainError::Libtorch(format!("validation scores: {error}")))?;
    let loss = loss_sum / f64::from(step_count.max(1));
    Ok(Some(Validation { loss, macro_f1: fit.macro_f1, threshold: fit.threshold }))
}

/// The sigmoids of `[N, 28]` logits, row by row.
pub(crate) fn probabilities(logits: &Tensor) -> Vec<f32> {
    let sigmoids = logits.sigmoid().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    let mut values = vec![0.0; sigmoids.numel()];
    let count = values.len();
    sigmoids.copy_data(&mut values, count);
    values
}

/// How fast it goes, told at most once a second and at each change of phase.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    images: usize,
    phase: Option<Phase>,
}

impl Pace {
    const PAUSE: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), images: 0, phase: None }
    }

    pub(crate) fn count(&mut self, images: usize) {
        self.images += images;
    }

    pub(crate) fn report(
        &mut self,
        phase: Phase,
        state: &TrainingState,
        step_count: u32,
        learning_rate: Option<f64>,
        sink: &mut dyn EventSink,
    ) {
        let elapsed = self.since.elapsed();
        let is_new_phase = self.phase != Some(phase);
        if !is_new_phase && elapsed < Self::PAUSE && state.step < step_count {
            return;
        }
        let images_per_second = self.images as f64 / elapsed.as_secs_f64().max(1e-3);
        let loss = learning_rate.map(|_| state.loss_sum / f64::from(state.step.max(1)));
        let (epoch, step) = (state.epoch, state.step);
        sink.emit(Event::Progress(Progress { phase, epoch, step, step_count, loss, learning_rate, images_per_second }));
        *self = Self { since: Instant::now(), images: 0, phase: Some(phase) };
    }
}
