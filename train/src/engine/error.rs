//! Why training or scoring failed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fivefold_common::progress::{Phase, epoch_words};
use fivefold_common::spec::{JobSetSpec, SpecError};
use fivefold_images::ImageError;
use tch::TchError;

use crate::checkpoint::CheckpointError;
use crate::models::weights::WeightsError;
use crate::torch::device::{Device, Failure, classify};

/// Why training or scoring failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The settings say no images.
    #[error("the settings cannot be used: {0}")]
    Spec(#[from] SpecError),
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A loss is infinite or not a number. The last checkpoint is from before it.
    #[error(
        "the loss of batch {} of {} ({phase}) is not finite, at learning rate {learning_rate}: with the same settings it would be \
         so again; submit with a lower learning_rate; its images: {}",
        step + 1, epoch_words(*epoch, *epoch_count), ids.join(" ")
    )]
    NonFiniteLoss {
        /// Training or validation.
        phase: Phase,
        /// The epoch, from 0.
        epoch: u32,
        /// The epochs of the spec.
        epoch_count: u32,
        /// The batch of the phase, from 0.
        step: u32,
        /// The learning rate.
        learning_rate: f64,
        /// The images of the batch.
        ids: Vec<String>,
    },
    /// A score is infinite or not a number.
    #[error("the score of image {id} is not finite: the model's weights are unusable")]
    NonFiniteScore {
        /// The first such image.
        id: String,
    },
    /// The device has too little memory.
    #[error(
        "out of memory with batch_size = {batch_size} and image_size = {image_size}, {free}: choose a smaller batch_size, or another precision"
    )]
    OutOfMemory {
        /// Images per batch.
        batch_size: u32,
        /// Side of an image in pixels.
        image_size: u32,
        /// The memory that the device had left.
        free: String,
    },
    /// A checkpoint cannot be written.
    #[error("cannot save a checkpoint: {0}")]
    Checkpoint(#[source] CheckpointError),
    /// A checkpoint cannot be resumed from or scored with; an older one might do.
    #[error("cannot use the checkpoint: {0}")]
    Resume(#[source] CheckpointError),
    /// The best checkpoint cannot be read back.
    #[error("cannot read the best checkpoint: {0}")]
    Best(#[source] CheckpointError),
    /// The spec scores with the best checkpoint, which was not given, and no epoch since resuming was better.
    #[error("the best checkpoint is needed (oof_checkpoint = \"best\"), and it was not given")]
    BestMissing,
    /// The initial weights cannot be used.
    #[error("cannot use the initial weights: {0}")]
    Weights(#[source] WeightsError),
    /// Any other failure of libtorch.
    #[error("libtorch: {0}")]
    Libtorch(String),
}

impl TrainError {
    fn from_libtorch(message: &str, device: Device, spec: &JobSetSpec) -> Self {
        match classify(device, message) {
            Failure::OutOfMemory(free) => {
                Self::OutOfMemory { batch_size: spec.batch_size, image_size: spec.image_size, free: free.to_string() }
            }
            Failure::Other => Self::Libtorch(message.to_owned()),
        }
    }

    /// tch panics with libtorch's message where it has no fallible function.
    fn from_panic(panic: &(dyn Any + Send), device: Device, spec: &JobSetSpec) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::from_libtorch(text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic"), device, spec)
    }
}

impl From<TchError> for TrainError {
    fn from(error: TchError) -> Self {
        Self::Libtorch(error.to_string())
    }
}

/// Runs `work` and returns libtorch's failures as errors, including those that tch raises as panics. A lack of memory gets
/// its own error.
pub(crate) fn catch_libtorch<T>(
    device: Device,
    spec: &JobSetSpec,
    work: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(TrainError::Libtorch(message))) => Err(TrainError::from_libtorch(&message, device, spec)),
        Ok(result) => result,
        Err(panic) => Err(TrainError::from_panic(panic.as_ref(), device, spec)),
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn a_full_device_is_an_error_of_its_own_however_libtorch_says_it() {
        let spec = JobSetSpec::default();
        let kind = tch::kind::FLOAT_CPU;
        let failure = |work: &dyn Fn() -> Result<Tensor, TrainError>| {
            catch_libtorch(Device::Cpu, &spec, work).map(|_| ()).unwrap_err()
        };
        for full in
            [failure(&|| Ok(Tensor::empty([1 << 50], kind))), failure(&|| Ok(Tensor::f_empty([1 << 50], kind)?))]
        {
            assert!(matches!(full, TrainError::OutOfMemory { batch_size: 32, image_size: 512, .. }), "{full}");
        }
        let other = failure(&|| Ok(Tensor::ones([2, 3], kind).matmul(&Tensor::ones([2, 3], kind))));
        assert!(matches!(&other, TrainError::Libtorch(text) if text.contains("cannot be multiplied")), "{other}");
    }
}
