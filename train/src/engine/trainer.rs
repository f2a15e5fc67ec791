//! The training of one fold, from the first batch or from a checkpoint to the last epoch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fivefold_common::checkpoint::{CheckpointRole, TrainingPoint};
use fivefold_common::ids::Fold;
use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::{EpochMetrics, Phase};
use fivefold_common::spec::{JobSetSpec, ScoredCheckpoint};
use fivefold_common::threshold::{ThresholdFit, fit_threshold};
use tch::{Kind, TchError, Tensor};

use crate::checkpoint::{self, CheckpointError, TrainingState};
use crate::data::image_file::ImageError;
use crate::data::image_folder::ImageFolder;
use crate::data::loader::{Batches, load_batches};
use crate::data::sampler::{training_rows, validation_rows};
use crate::engine::events::{Event, EventSink, SavedCheckpoint};
use crate::engine::loss::loss;
use crate::engine::optimizer::Optimizer;
use crate::engine::precision::{Gradients, autocast};
use crate::engine::progress_meter::ProgressMeter;
use crate::engine::schedule::Verdict;
use crate::engine::stop::{Stop, StopFlag};
use crate::models::resnet50::{Mode, ResNet50};
use crate::models::weights;
use crate::torch::device::{self, Device, Failure};
use crate::torch::tensor_file::TensorFileError;
use crate::transform::augmentation::training_matrices;
use crate::transform::warp::{pixels, warp};

/// The rows of a fold, and where their images are.
#[derive(Debug, Clone)]
pub struct FoldData {
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
#[expect(clippy::large_enum_variant, reason = "there is one per training")]
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
    #[error(
        "the loss of batch {step} of epoch {epoch} ({}) is not finite, at learning rate {learning_rate}; its images: {}",
        match phase { Phase::Validation => "validation", _ => "training" },
        ids.join(" ")
    )]
    NonFiniteLoss {
        /// Training or validation.
        phase: Phase,
        /// The epoch, from 0.
        epoch: u32,
        /// The batch of the phase, from 0.
        step: u32,
        /// The learning rate.
        learning_rate: f64,
        /// The images of its batch.
        ids: Vec<String>,
    },
    /// A score that is no number: the weights are unusable.
    #[error("the score of image {id} is not finite: the model's weights are unusable")]
    NonFiniteScore {
        /// The first such image.
        id: String,
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
    /// A checkpoint that cannot be written.
    #[error("a checkpoint cannot be saved: {0}")]
    Checkpoint(#[source] CheckpointError),
    /// A checkpoint that training cannot go on from; an older one may do.
    #[error("training cannot go on from its checkpoint: {0}")]
    Resume(#[source] CheckpointError),
    /// A best checkpoint that cannot be read back.
    #[error("the best weights cannot be read back: {0}")]
    Best(#[source] CheckpointError),
    /// The best weights are wanted, and no epoch since the resumption was better than the ones before.
    #[error("the best weights are wanted (oof_checkpoint = \"best\"), and the best checkpoint was not given")]
    BestMissing,
    /// Initial weights that cannot be used.
    #[error("the first weights cannot be used: {0}")]
    Weights(#[source] TensorFileError),
    /// Anything else that libtorch said.
    #[error("libtorch: {0}")]
    Libtorch(String),
}

impl TrainError {
    /// The error behind a message of libtorch.
    fn of_libtorch(message: &str, device: Device, spec: &JobSetSpec) -> Self {
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

impl From<TchError> for TrainError {
    fn from(error: TchError) -> Self {
        Self::Libtorch(error.to_string())
    }
}

/// Runs `work` with libtorch's failures as errors, those that tch made panics of too, and a full device told from the rest.
pub(crate) fn with_failures_as_errors<T>(
    device: Device,
    spec: &JobSetSpec,
    work: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(TrainError::Libtorch(message))) => Err(TrainError::of_libtorch(&message, device, spec)),
        Ok(result) => result,
        Err(panic) => Err(TrainError::of_panic(panic.as_ref(), device, spec)),
    }
}

/// Trains `fold` on `device`. Checkpoints are written into `checkpoint_folder` and stay there: `last-<epoch>-<step>` says where
/// training goes on from it, `best-<epoch>` which epoch was the best one. The newest best one is wanted until this returns.
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
    data: &FoldData,
    device: Device,
    resume: &Resume,
    weights: Option<&Path>,
    checkpoint_folder: &Path,
    sink: &mut dyn EventSink,
    stop: &StopFlag,
) -> Result<Trained, TrainError> {
    with_failures_as_errors(device, spec, || {
        device::prepare(device, spec)?;
        let model = ResNet50::new(spec, fold, device);
        if let (Some(weights), None) = (weights, &resume.last) {
            let loaded = weights::load(weights, &model).map_err(TrainError::Weights)?;
            tracing::info!("training starts from {} tensors of {}", loaded.tensors, weights.display());
        }
        let mut optimizer = Optimizer::new(spec, model.parameters());
        let mut state = TrainingState::new(spec);
        let (mut last, mut best) = (None, resume.best.clone());
        if let Some(path) = &resume.last {
            state = checkpoint::load(path, spec, fold, &model, Some(&optimizer)).map_err(TrainError::Resume)?;
            last = Some(path.clone());
        }
        let save = |name: String, role, optimizer: &Optimizer, state: &TrainingState, sink: &mut dyn EventSink| {
            let path = checkpoint_folder.join(name);
            checkpoint::save(&path, spec, fold, &model, optimizer, state).map_err(TrainError::Checkpoint)?;
            let checkpoint = saved(path, role, state);
            sink.emit(Event::CheckpointSaved(checkpoint.clone()));
            Ok::<_, TrainError>(checkpoint)
        };

        while !state.finished {
            let epoch = state.epoch;
            let learning_rate = state.plateau.learning_rate();
            let step_count = spec.train_batch_per_epoch;
            let mut meter =
                ProgressMeter::start(Phase::Training, epoch, (state.step, step_count), Some(learning_rate), sink);
            let mut unread = UnreadLosses::new(device);
            let mut asked = stop.asked();

            for batch in training_batches(spec, fold, data, &state) {
                if asked.is_some() {
                    break;
                }
                let batch = batch?;
                let first_index = u64::from(state.step) * u64::from(spec.batch_size);
                let matrices = training_matrices(spec, fold, epoch, first_index, batch.rows.len());
                let images = warp(&batch.images.to_device(device.into()), &matrices, spec.normalization);
                let targets = targets(&data.train, &batch.rows, device);

                let logits = autocast(device, spec.precision, || model.forward(&images, Mode::Train))?;
                let loss = loss(spec.loss, &logits, &targets);
                optimizer.zero_grad(model.parameters())?;
                state.loss_scale.scaled(&loss).f_backward()?;
                if state.loss_scale.unscale(model.parameters())? == Gradients::Finite {
                    optimizer.step(model.parameters(), learning_rate)?;
                }
                meter.count(batch.rows.len());
                unread.push(&loss, state.step, batch.rows);
                state.step += 1;

                let checkpoint_is_due = checkpoint_is_due(spec, state.step);
                if unread.are_many() || checkpoint_is_due || meter.is_due() {
                    unread.add_to(&mut state.loss_sum, Phase::Training, epoch, learning_rate, &data.train)?;
                }
                if checkpoint_is_due {
                    save(last_name(&state), CheckpointRole::Last, &optimizer, &state, sink)?;
                }
                if meter.is_due() {
                    meter.report(state.step, Some(state.loss_sum / f64::from(state.step)), sink);
                }
                asked = stop.asked();
            }
            unread.add_to(&mut state.loss_sum, Phase::Training, epoch, learning_rate, &data.train)?;

            let validation = match asked {
                None => validate(spec, fold, data, &model, &state, sink, stop)?,
                Some(stop) => Validation::Stopped(stop),
            };
            let (valid_loss, fit) = match validation {
                Validation::Finished { loss, fit } => (loss, fit),
                Validation::Stopped(Stop::Discard) => return Ok(Trained::Stopped { checkpoint: None }),
                Validation::Stopped(Stop::SaveAndStop) => {
                    let checkpoint = save(last_name(&state), CheckpointRole::Last, &optimizer, &state, sink)?;
                    return Ok(Trained::Stopped { checkpoint: Some(checkpoint) });
                }
            };
            let metrics = EpochMetrics {
                epoch,
                train_loss: state.loss_sum / f64::from(step_count),
                valid_loss,
                macro_f1: fit.macro_f1,
                threshold: fit.threshold,
                learning_rate,
            };
            state.plateau.end_epoch(metrics.macro_f1);
            let verdict = state.early_stop.end_epoch(metrics.macro_f1);
            let is_best = state.best_macro_f1.is_none_or(|best| metrics.macro_f1 > best);
            state.best_macro_f1 = if is_best { Some(metrics.macro_f1) } else { state.best_macro_f1 };
            state.epochs.push(metrics);
            state.epoch += 1;
            state.step = 0;
            state.loss_sum = 0.0;
            state.finished = verdict == Verdict::Stop || state.epoch >= spec.epochs;

            sink.emit(Event::EpochEnded(metrics));
            if is_best {
                let name = format!("best-{epoch}.safetensors");
                best = Some(save(name, CheckpointRole::Best, &optimizer, &state, sink)?.path);
            }
            last = Some(save(last_name(&state), CheckpointRole::Last, &optimizer, &state, sink)?.path);
        }

        let checkpoint = match spec.oof_checkpoint {
            // A finished state was read from a file or written into one.
            ScoredCheckpoint::Last => saved(last.unwrap_or_default(), CheckpointRole::Last, &state),
            ScoredCheckpoint::Best => {
                let path = best.ok_or(TrainError::BestMissing)?;
                let state = checkpoint::load(&path, spec, fold, &model, None).map_err(TrainError::Best)?;
                saved(path, CheckpointRole::Best, &state)
            }
        };
        Ok(Trained::Finished { model, checkpoint })
    })
}

/// The batches of the epoch that are still to do, in order.
fn training_batches(spec: &JobSetSpec, fold: Fold, data: &FoldData, state: &TrainingState) -> Batches {
    let rows = training_rows(spec, fold, state.epoch, &data.train);
    let plan = rows.chunks(spec.batch_size as usize).skip(state.step as usize).map(<[u32]>::to_vec).collect();
    load_batches(data.folder.clone(), data.train.clone(), plan, spec.image_size, data.decode_threads)
}

/// Which labels the rows have: f32 `[N, 28]`, 0 or 1.
fn targets(rows: &[LabelledRow], batch: &[u32], device: Device) -> Tensor {
    let held = |labels: Labels| (0..LABEL_COUNT as u8).map(move |label| f32::from(u8::from(labels.contains(label))));
    let values: Vec<f32> = batch.iter().flat_map(|&row| held(rows[row as usize].labels)).collect();
    Tensor::from_slice(&values).reshape([batch.len() as i64, LABEL_COUNT as i64]).to_device(device.into())
}

/// Whether a checkpoint is due after `step` batches. The epoch's last batch has its own after the validation.
fn checkpoint_is_due(spec: &JobSetSpec, step: u32) -> bool {
    let every = spec.checkpoint_every_batches;
    every > 0 && step.is_multiple_of(every) && step < spec.train_batch_per_epoch
}

fn last_name(state: &TrainingState) -> String {
    format!("last-{}-{}.safetensors", state.epoch, state.step)
}

fn saved(path: PathBuf, role: CheckpointRole, state: &TrainingState) -> SavedCheckpoint {
    let macro_f1 = state.epochs.last().map(|epoch| epoch.macro_f1);
    let point = TrainingPoint { epoch: state.epoch, step: state.step };
    SavedCheckpoint { path, role, point, macro_f1 }
}

/// Losses that are still on the device, in the order of their batches: reading one makes the CPU wait for the GPU.
struct UnreadLosses {
    losses: Vec<UnreadLoss>,
    most: usize,
}

struct UnreadLoss {
    loss: Tensor,
    step: u32,
    rows: Vec<u32>,
}

/// How many losses stay unread on a GPU at most; one that is not finite is noticed after as many batches.
const MOST_UNREAD: usize = 16;

impl UnreadLosses {
    fn new(device: Device) -> Self {
        Self { losses: Vec::new(), most: if device.is_cuda() { MOST_UNREAD } else { 1 } }
    }

    fn push(&mut self, loss: &Tensor, step: u32, rows: Vec<u32>) {
        self.losses.push(UnreadLoss { loss: loss.detach(), step, rows });
    }

    fn are_many(&self) -> bool {
        self.losses.len() >= self.most
    }

    /// Reads all and adds one after the other to `sum`, whose bits do not depend on when this is done. Fails with the first
    /// that is not finite.
    fn add_to(
        &mut self,
        sum: &mut f64,
        phase: Phase,
        epoch: u32,
        learning_rate: f64,
        rows: &[LabelledRow],
    ) -> Result<(), TrainError> {
        let unread = std::mem::take(&mut self.losses);
        let losses: Vec<&Tensor> = unread.iter().map(|unread| &unread.loss).collect();
        let values = if losses.is_empty() { Vec::new() } else { floats(&Tensor::f_stack(&losses, 0)?)? };
        for (value, UnreadLoss { step, rows: batch, .. }) in values.into_iter().zip(unread) {
            if !value.is_finite() {
                let ids = batch.iter().map(|&row| rows[row as usize].id.clone()).collect();
                return Err(TrainError::NonFiniteLoss { phase, epoch, step, learning_rate, ids });
            }
            *sum += f64::from(value);
        }
        Ok(())
    }
}

/// The numbers of a tensor, row by row.
pub(crate) fn floats(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    Vec::try_from(tensor.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)
}

/// How a validation ended.
enum Validation {
    /// The mean loss of its batches, and the threshold with the best macro F1.
    Finished { loss: f64, fit: ThresholdFit },
    /// It was asked to stop.
    Stopped(Stop),
}

/// Scores the epoch's validation rows, plain images. It is begun anew after an interruption.
fn validate(
    spec: &JobSetSpec,
    fold: Fold,
    data: &FoldData,
    model: &ResNet50,
    state: &TrainingState,
    sink: &mut dyn EventSink,
    stop: &StopFlag,
) -> Result<Validation, TrainError> {
    let (device, epoch, learning_rate) = (model.device(), state.epoch, state.plateau.learning_rate());
    let rows = validation_rows(spec, fold, epoch, data.valid.len());
    let plan: Vec<Vec<u32>> = rows.chunks(spec.batch_size as usize).map(<[u32]>::to_vec).collect();
    let step_count = plan.len() as u32;
    let mut meter = ProgressMeter::start(Phase::Validation, epoch, (0, step_count), None, sink);
    let (mut unread, mut scores, mut loss_sum) = (UnreadLosses::new(device), Vec::new(), 0.0);

    let batches = load_batches(data.folder.clone(), data.valid.clone(), plan, spec.image_size, data.decode_threads);
    for (step, batch) in (0u32..).zip(batches) {
        if let Some(stop) = stop.asked() {
            return Ok(Validation::Stopped(stop));
        }
        let batch = batch?;
        let images = pixels(&batch.images.to_device(device.into()), spec.normalization);
        let logits = autocast(device, spec.precision, || model.forward(&images, Mode::Eval))?;
        let loss = loss(spec.loss, &logits, &targets(&data.valid, &batch.rows, device));
        scores.push(logits.sigmoid());
        meter.count(batch.rows.len());
        unread.push(&loss, step, batch.rows);
        if unread.are_many() || meter.is_due() {
            unread.add_to(&mut loss_sum, Phase::Validation, epoch, learning_rate, &data.valid)?;
        }
        if meter.is_due() {
            meter.report(step + 1, Some(loss_sum / f64::from(step + 1)), sink);
        }
    }
    unread.add_to(&mut loss_sum, Phase::Validation, epoch, learning_rate, &data.valid)?;

    let labels: Vec<Labels> = rows.iter().map(|&row| data.valid[row as usize].labels).collect();
    let fit = fit_threshold(&floats(&Tensor::f_cat(&scores, 0)?)?, &labels, spec.empty_rows);
    // Finite losses come from finite logits, and these make scores in 0..=1.
    let fit = fit.map_err(|error| TrainError::Libtorch(format!("its validation scores cannot be used: {error}")))?;
    Ok(Validation::Finished { loss: loss_sum / f64::from(step_count), fit })
}

#[cfg(test)]
mod tests {
    use fivefold_common::scores::Source;

    use super::*;

    #[test]
    fn a_full_device_is_an_error_of_its_own_however_libtorch_says_it() {
        let spec = JobSetSpec::default();
        let kind = tch::kind::FLOAT_CPU;
        let failure = |work: &dyn Fn() -> Result<Tensor, TrainError>| {
            with_failures_as_errors(Device::Cpu, &spec, work).map(|_| ()).unwrap_err()
        };
        for full in
            [failure(&|| Ok(Tensor::empty([1 << 50], kind))), failure(&|| Ok(Tensor::f_empty([1 << 50], kind)?))]
        {
            assert!(matches!(full, TrainError::OutOfMemory { batch_size: 32, image_size: 512, .. }), "{full}");
        }
        let other = failure(&|| Ok(Tensor::ones([2, 3], kind).matmul(&Tensor::ones([2, 3], kind))));
        assert!(matches!(&other, TrainError::Libtorch(text) if text.contains("cannot be multiplied")), "{other}");
    }

    #[test]
    fn the_sum_of_losses_does_not_depend_on_when_they_are_read() {
        let rows: Vec<LabelledRow> = (0..100)
            .map(|row| LabelledRow { id: format!("row{row}"), source: Source::Train, labels: Labels::default() })
            .collect();
        let sum_reading_every = |every: u32| {
            let (mut unread, mut sum) = (UnreadLosses::new(Device::Cpu), 0.0);
            for step in 0..50 {
                unread.push(&Tensor::from((step as f32 * 0.37).sin() + 1.5), step, vec![step]);
                if step % every == 0 {
                    unread.add_to(&mut sum, Phase::Training, 0, 1e-3, &rows).unwrap();
                }
            }
            unread.add_to(&mut sum, Phase::Training, 0, 1e-3, &rows).unwrap();
            sum.to_bits()
        };
        assert_eq!(sum_reading_every(1), sum_reading_every(7));
        assert_eq!(sum_reading_every(1), sum_reading_every(50));

        let mut unread = UnreadLosses::new(Device::Cpu);
        for (step, value) in [1.0f32, f32::NAN, 2.0].into_iter().enumerate() {
            unread.push(&Tensor::from(value), 40 + step as u32, vec![2 * step as u32, 2 * step as u32 + 1]);
        }
        let error = unread.add_to(&mut 0.0, Phase::Training, 3, 0.5, &rows).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the loss of batch 41 of epoch 3 (training) is not finite, at learning rate 0.5; its images: row2 row3"
        );
    }
}
