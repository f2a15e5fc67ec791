//! The kinds of artifacts.

use crate::words::words;

words! {
    /// What an artifact is.
    pub enum ArtifactKind, "artifact kind" {
        /// A list of rows: training, HPA or test.
        Manifest,
        /// Initial weights.
        Weights,
        /// The fold of every row.
        Folds,
        /// A checkpoint of a fold.
        Checkpoint,
        /// Out-of-fold scores: of one fold, or merged.
        Oof,
        /// Test scores of one fold.
        Predictions,
        /// The report of a fit.
        Report,
        /// The submission.
        Submission,
    }
}

/// Who makes artifacts of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactOrigin {
    /// A user uploads them. At most this many bytes.
    User {
        /// Limit in bytes.
        limit_bytes: u64,
    },
    /// A worker uploads them under its lease. At most this many bytes.
    Worker {
        /// Limit in bytes.
        limit_bytes: u64,
    },
    /// The coordinator makes them.
    Coordinator,
}

const MIB: u64 = 1 << 20;

impl ArtifactKind {
    /// Who makes artifacts of this kind.
    pub fn origin(self) -> ArtifactOrigin {
        match self {
            Self::Manifest => ArtifactOrigin::User { limit_bytes: 512 * MIB },
            Self::Weights => ArtifactOrigin::User { limit_bytes: 4096 * MIB },
            Self::Checkpoint => ArtifactOrigin::Worker { limit_bytes: 16 * 1024 * MIB },
            Self::Oof | Self::Predictions => ArtifactOrigin::Worker { limit_bytes: 2048 * MIB },
            Self::Folds | Self::Report | Self::Submission => ArtifactOrigin::Coordinator,
        }
    }
}
