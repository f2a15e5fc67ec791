//! The losses of a phase, read from the device in groups.

use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::Phase;
use fivefold_common::spec::JobSetSpec;
use tch::Tensor;

use crate::engine::error::TrainError;
use crate::engine::state::TrainingState;
use crate::torch::device::Device;
use crate::torch::tensors::values;

/// The most losses left on a GPU. A loss that is not finite is noticed that many batches later at most.
const MAX_PENDING: usize = 16;

/// The losses of a phase's batches. Reading one makes the CPU wait for the GPU, so they stay on the device until
/// [`PendingLosses::read`].
pub(crate) struct PendingLosses<'a> {
    phase: Phase,
    epoch: u32,
    epoch_count: u32,
    learning_rate: f64,
    rows: &'a [LabelledRow],
    limit: usize,
    pending: Vec<(Tensor, Vec<u32>)>,
    /// Batches whose losses were read.
    steps: u32,
    /// The sum of their losses.
    sum: f64,
}

impl<'a> PendingLosses<'a> {
    /// The losses of an epoch's training batches, which are of `rows`, from where `state` is.
    pub(crate) fn of_training(
        spec: &JobSetSpec,
        state: &TrainingState,
        rows: &'a [LabelledRow],
        device: Device,
    ) -> Self {
        let losses = Self::of_validation(spec, state, rows, device);
        Self { phase: Phase::Training, steps: state.step, sum: state.loss_sum, ..losses }
    }

    /// The losses of the validation batches after an epoch, which are of `rows`.
    pub(crate) fn of_validation(
        spec: &JobSetSpec,
        state: &TrainingState,
        rows: &'a [LabelledRow],
        device: Device,
    ) -> Self {
        Self {
            phase: Phase::Validation,
            epoch: state.epoch,
            epoch_count: spec.epochs,
            learning_rate: state.learning_rate(spec),
            rows,
            limit: if device.is_cuda() { MAX_PENDING } else { 1 },
            pending: Vec::new(),
            steps: 0,
            sum: 0.0,
        }
    }

    /// Adds the loss of the next batch, a scalar, and the places of the batch in the rows.
    pub(crate) fn push(&mut self, loss: &Tensor, batch: Vec<u32>) {
        self.pending.push((loss.detach(), batch));
    }

    /// Whether it is time to read.
    pub(crate) fn are_many(&self) -> bool {
        self.pending.len() >= self.limit
    }

    /// Reads all pending losses and returns the sum of the phase so far. Its bits do not depend on when losses are read.
    ///
    /// # Errors
    /// With the first loss that is not finite.
    pub(crate) fn read(&mut self) -> Result<f64, TrainError> {
        if self.pending.is_empty() {
            return Ok(self.sum);
        }
        let pending = std::mem::take(&mut self.pending);
        let losses: Vec<&Tensor> = pending.iter().map(|(loss, _)| loss).collect();
        let read = values(&Tensor::f_stack(&losses, 0)?)?;
        for (loss, (_, batch)) in read.into_iter().zip(pending) {
            if !loss.is_finite() {
                let ids = batch.iter().map(|&row| self.rows[row as usize].id.clone()).collect();
                let Self { phase, epoch, epoch_count, learning_rate, steps: step, .. } = *self;
                return Err(TrainError::NonFiniteLoss { phase, epoch, epoch_count, step, learning_rate, ids });
            }
            self.sum += f64::from(loss);
            self.steps += 1;
        }
        Ok(self.sum)
    }

    /// The mean of the losses read so far.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / f64::from(self.steps)
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::labels::Labels;
    use fivefold_common::scores::Source;

    use super::*;

    fn rows() -> Vec<LabelledRow> {
        (0..100)
            .map(|row| LabelledRow { id: format!("row{row}"), source: Source::Train, labels: Labels::default() })
            .collect()
    }

    #[test]
    fn the_sum_of_losses_does_not_depend_on_when_they_are_read() {
        let spec = JobSetSpec::default();
        let (rows, state) = (rows(), TrainingState::new(&spec));
        let sum_reading_every = |every: u32| {
            let mut losses = PendingLosses::of_training(&spec, &state, &rows, Device::Cpu);
            for step in 0..50 {
                losses.push(&Tensor::from((step as f32 * 0.37).sin() + 1.5), vec![step]);
                if step % every == 0 {
                    losses.read().unwrap();
                }
            }
            losses.read().unwrap().to_bits()
        };
        assert_eq!(sum_reading_every(1), sum_reading_every(7));
        assert_eq!(sum_reading_every(1), sum_reading_every(50));
    }

    #[test]
    fn a_loss_that_is_not_finite_names_its_batch() {
        let rows = rows();
        let spec = JobSetSpec { epochs: 25, learning_rate: 0.5, ..JobSetSpec::default() };
        let state = TrainingState { epoch: 3, step: 40, ..TrainingState::new(&spec) };
        let mut losses = PendingLosses::of_training(&spec, &state, &rows, Device::Cpu);
        for (step, value) in [1.0f32, f32::NAN, 2.0].into_iter().enumerate() {
            losses.push(&Tensor::from(value), vec![2 * step as u32, 2 * step as u32 + 1]);
        }
        assert_eq!(
            losses.read().unwrap_err().to_string(),
            "the loss of batch 42 of epoch 4/25 (training) is not finite, at learning rate 0.5: with the same settings it would \
             be so again; submit with a lower learning_rate; its images: row2 row3"
        );
    }
}
