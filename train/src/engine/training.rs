//! A training in progress, and the one training step.

use std::path::{Path, PathBuf};

use fivefold_common::checkpoint::CheckpointRole;
use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::spec::JobSetSpec;
use tch::{TchError, Tensor};

use crate::checkpoint::{self, CheckpointError};
use crate::engine::events::SavedCheckpoint;
use crate::engine::loss::LossFunction;
use crate::engine::loss_scale::Gradients;
use crate::engine::optimizer::Optimizer;
use crate::engine::state::TrainingState;
use crate::models::{Mode, Model};
use crate::torch::autocast::autocast;
use crate::torch::device::Device;
use crate::torch::tensors::NamedTensor;
use crate::transform::steps::{changed, training_changes};

/// A model in training, with all that changes from step to step.
pub struct Training {
    spec: JobSetSpec,
    fold: Fold,
    /// The loss.
    pub loss: LossFunction,
    /// The model.
    pub model: Model,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The rest of the state.
    pub state: TrainingState,
}

impl Training {
    /// The training of `fold` before its first step. `rows` are its training rows, by which balanced class weights are counted.
    pub fn new(spec: &JobSetSpec, fold: Fold, rows: &[LabelledRow], device: Device) -> Self {
        let model = Model::new(spec, fold, device);
        let optimizer = Optimizer::new(spec, model.parameters());
        let loss = LossFunction::new(spec, rows, device);
        Self { spec: spec.clone(), fold, loss, model, optimizer, state: TrainingState::new(spec) }
    }

    /// One training step: augments a batch and updates the weights by it. `images` are u8 `[N, C, S, S]` and `targets` f32
    /// `[N, classes]`, 0 or 1, both on the CPU. Returns the mean loss, a scalar that stays on the device.
    ///
    /// # Errors
    /// When libtorch fails. Where tch has no fallible function, it panics instead.
    pub fn step(&mut self, images: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let device = self.model.device().into();
        let first_index = u64::from(self.state.step) * u64::from(self.spec.batch_size);
        let count = images.size()[0] as usize;
        let changes = training_changes(&self.spec, self.fold, self.state.epoch, first_index, count);
        let images = changed(&images.to_device(device), &changes, self.spec.normalization);
        let loss = self.update(&images, &targets.to_device(device))?;
        self.state.step += 1;
        Ok(loss)
    }

    /// Forward pass, loss, backward pass and the optimiser's step. `images` are fp32 `[N, C, S, S]`, preferably
    /// channels-last, and `targets` f32 `[N, classes]`, both on the model's device. Returns the mean loss.
    ///
    /// # Errors
    /// When libtorch fails. Where tch has no fallible function, it panics instead.
    pub fn update(&mut self, images: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let Self { spec, loss, model, optimizer, state, .. } = self;
        let parameters = model.parameters();
        let logits = autocast(model.device(), spec.precision, || model.forward(images, Mode::Train))?;
        let loss = loss.of(&logits, targets);
        optimizer.zero_grad(parameters)?;
        state.loss_scale.scaled(&loss).f_backward()?;
        if state.loss_scale.unscale(parameters)? == Gradients::Finite {
            optimizer.step(parameters, state.learning_rate(spec))?;
        }
        Ok(loss.detach())
    }

    /// Writes a checkpoint to resume from into `folder`: `last-<epoch>-<step>`, named for where training resumes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_last(&self, folder: &Path) -> Result<SavedCheckpoint, CheckpointError> {
        let TrainingState { epoch, step, .. } = self.state;
        let path = folder.join(format!("last-{epoch}-{step}.safetensors"));
        self.write(&path)?;
        Ok(saved_checkpoint(path, CheckpointRole::Last, &self.state))
    }

    /// Writes the model of the best epoch into `folder`: `best-<epoch>`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_best(&self, best: BestModel, folder: &Path) -> Result<SavedCheckpoint, CheckpointError> {
        let BestModel { tensors, state } = best;
        let path = folder.join(format!("best-{}.safetensors", state.epoch.saturating_sub(1)));
        checkpoint::write(&path, &self.spec, self.fold, &state, tensors, Vec::new())?;
        Ok(saved_checkpoint(path, CheckpointRole::Best, &state))
    }

    /// Writes the present model, which scores, to `path`. `state` is that of the training when it had this model.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_model(&self, path: &Path, state: &TrainingState) -> Result<(), CheckpointError> {
        checkpoint::write(path, &self.spec, self.fold, state, self.model.tensors(), Vec::new())
    }

    /// A copy of the model after its best epoch, on its device.
    pub(crate) fn best_model(&self) -> BestModel {
        let copy = |NamedTensor { name, tensor }| NamedTensor { name, tensor: tensor.detach().copy() };
        BestModel { tensors: self.model.tensors().into_iter().map(copy).collect(), state: self.state.clone() }
    }

    /// Writes a checkpoint to resume from to `path`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        checkpoint::write(path, &self.spec, self.fold, &self.state, self.model.tensors(), self.optimizer.state())
    }

    /// Continues from a checkpoint. After an error nothing has changed.
    ///
    /// # Errors
    /// When the file is damaged, or of another fold or spec.
    pub fn resume(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let checkpoint = checkpoint::read(path, &self.spec, self.fold)?;
        checkpoint.copy_into(self.model.tensors(), Some(self.optimizer.state()))?;
        self.state = checkpoint.state;
        // The spec may have more epochs than the one that the checkpoint was trained with.
        self.state.finished = self.state.has_ended(&self.spec);
        Ok(())
    }
}

/// The model after the best epoch so far, until it is saved. Its checkpoint has no optimiser state: it scores, and no
/// training resumes from it.
pub(crate) struct BestModel {
    tensors: Vec<NamedTensor>,
    state: TrainingState,
}

/// What `path` is, which holds `state`.
pub(crate) fn saved_checkpoint(path: PathBuf, role: CheckpointRole, state: &TrainingState) -> SavedCheckpoint {
    let macro_f1 = state.epochs.last().map(|epoch| epoch.macro_f1);
    SavedCheckpoint { path, role, point: state.point(), macro_f1 }
}

/// Reads the model of a checkpoint, to score with it, and returns the state that training had.
///
/// # Errors
/// When the file is damaged, or of another fold or spec. Then the model is unchanged.
pub fn load_model(path: &Path, spec: &JobSetSpec, fold: Fold, model: &Model) -> Result<TrainingState, CheckpointError> {
    let checkpoint = checkpoint::read(path, spec, fold)?;
    checkpoint.copy_into(model.tensors(), None)?;
    let mut state: TrainingState = checkpoint.state;
    // As in `Training::resume`.
    state.finished = state.has_ended(spec);
    Ok(state)
}
