//! The kinds of artifacts, and who makes them.

use crate::ids::Digest;
use crate::words::words;

words! {
    /// The content of an artifact.
    pub enum ArtifactKind, "artifact kind" {
        /// A list of images and labels: training, HPA or test list (CSV).
        Manifest,
        /// Initial weights (safetensors).
        Weights,
        /// The fold of each row (CSV).
        Folds,
        /// A checkpoint of a fold (safetensors).
        Checkpoint,
        /// Out-of-fold scores of one fold or of all folds (CSV).
        Oof,
        /// One fold's scores of the test list (CSV).
        Predictions,
        /// The report of a job set (JSON).
        Report,
        /// The submission of a job set (CSV).
        Submission,
        /// A segment of packed images.
        Segment,
        /// The index of pushed images (JSON).
        ImageIndex,
    }
}

/// An artifact that is held whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Who makes the artifacts of a kind, and their size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactOrigin {
    /// Users upload them.
    User {
        /// The size limit in bytes.
        limit_bytes: u64,
    },
    /// Workers upload them under a lease.
    Worker {
        /// The size limit in bytes.
        limit_bytes: u64,
    },
    /// The coordinator makes them; they cannot be uploaded.
    Coordinator,
}

const MIB: u64 = 1 << 20;

impl ArtifactKind {
    /// Who makes the artifacts of this kind.
    pub fn origin(self) -> ArtifactOrigin {
        match self {
            Self::Manifest | Self::ImageIndex => ArtifactOrigin::User { limit_bytes: 512 * MIB },
            Self::Segment => ArtifactOrigin::User { limit_bytes: 1024 * MIB },
            Self::Weights => ArtifactOrigin::User { limit_bytes: 4096 * MIB },
            Self::Checkpoint => ArtifactOrigin::Worker { limit_bytes: 16 * 1024 * MIB },
            Self::Oof | Self::Predictions => ArtifactOrigin::Worker { limit_bytes: 2048 * MIB },
            Self::Folds | Self::Report | Self::Submission => ArtifactOrigin::Coordinator,
        }
    }
}
