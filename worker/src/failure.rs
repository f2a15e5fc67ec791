//! Why an attempt fails, and what that counts as.

use fivefold_client::{CallError, TransferError};
use fivefold_common::job::FailureCause;
use fivefold_proto::convert::WireError;
use fivefold_train::TrainError;
use fivefold_train::models::weights::WeightsError;
use fivefold_train::torch::tensor_file::TensorFileError;

use crate::run::ThreadStuck;

/// Why an attempt at a job failed. The text goes to the coordinator and is shown to the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// The lease cannot be understood.
    #[error("the lease cannot be understood: {0}")]
    Lease(#[from] WireError),
    /// Images are missing or cannot be used, or their folder cannot be read.
    #[error("{0}")]
    BadData(String),
    /// Training or scoring failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file was not transferred.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The coordinator refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The training thread does not stop.
    #[error(transparent)]
    Stuck(#[from] ThreadStuck),
    /// Anything else, such as a list that cannot be read or a full disk.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// What a failure counts as in the job's budget of attempts.
pub(crate) fn failure_cause(error: &AttemptError) -> FailureCause {
    match error {
        AttemptError::BadData(_) => FailureCause::BadData,
        AttemptError::Train(error) => match error {
            TrainError::Image(error) if error.problem.is_lasting() => FailureCause::BadData,
            TrainError::Weights(WeightsError::Mismatch(_) | WeightsError::File(TensorFileError::Mismatch { .. })) => {
                FailureCause::BadWeights
            }
            TrainError::OutOfMemory { .. } => FailureCause::OutOfMemory,
            TrainError::NonFiniteLoss { .. } | TrainError::NonFiniteScore { .. } => FailureCause::NonFiniteLoss,
            TrainError::Spec(_)
            | TrainError::Image(_)
            | TrainError::Checkpoint(_)
            | TrainError::Resume(_)
            | TrainError::Best(_)
            | TrainError::BestMissing
            | TrainError::Weights(_)
            | TrainError::Libtorch(_) => FailureCause::Error,
        },
        AttemptError::Lease(_)
        | AttemptError::Transfer(_)
        | AttemptError::Call(_)
        | AttemptError::Stuck(_)
        | AttemptError::Other(_) => FailureCause::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let score = TrainError::NonFiniteScore { id: "image".into() };
        assert_eq!(failure_cause(&score.into()), FailureCause::NonFiniteLoss);
        let weights = TrainError::Weights(WeightsError::Mismatch(Default::default()));
        assert_eq!(failure_cause(&weights.into()), FailureCause::BadWeights);
        let memory = TrainError::OutOfMemory { batch_size: 32, image_size: 512, free: "unknown".into() };
        assert_eq!(failure_cause(&memory.into()), FailureCause::OutOfMemory);
        assert_eq!(failure_cause(&AttemptError::BadData("3 image files are missing".into())), FailureCause::BadData);
        assert_eq!(failure_cause(&ThreadStuck.into()), FailureCause::Error);
    }
}
