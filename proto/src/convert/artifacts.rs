//! Artifacts and checkpoints.

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};

use super::{WireError, digest_from_wire, same_enum};
use crate::v1;

same_enum! {
    artifact_kind_to_wire, artifact_kind_from_wire, ArtifactKind, v1::ArtifactKind, "artifact.kind",
    [Manifest, Folds, Weights, Checkpoint, Oof, Predictions, Report, Submission, Segment, ImageIndex]
}
same_enum! {
    checkpoint_role_to_wire, checkpoint_role_from_wire, CheckpointRole, v1::CheckpointRole, "checkpoint.role",
    [Last, Best]
}

/// The wire form of an artifact.
pub fn artifact_to_wire(artifact: Artifact) -> v1::Artifact {
    v1::Artifact {
        kind: artifact_kind_to_wire(artifact.kind).into(),
        digest: artifact.digest.to_string(),
        size_bytes: artifact.size_bytes,
    }
}

/// The wire form of a checkpoint.
pub fn checkpoint_to_wire(checkpoint: &Checkpoint) -> v1::Checkpoint {
    v1::Checkpoint {
        digest: checkpoint.digest.to_string(),
        size_bytes: checkpoint.size_bytes,
        role: checkpoint_role_to_wire(checkpoint.role).into(),
        epoch: checkpoint.point.epoch,
        step: checkpoint.point.step,
        macro_f1: checkpoint.macro_f1,
    }
}

/// The domain form of a checkpoint.
///
/// # Errors
/// If the digest or the role is not set or not known.
pub fn checkpoint_from_wire(wire: &v1::Checkpoint) -> Result<Checkpoint, WireError> {
    Ok(Checkpoint {
        digest: digest_from_wire("checkpoint.digest", &wire.digest)?,
        size_bytes: wire.size_bytes,
        role: checkpoint_role_from_wire(wire.role)?,
        point: TrainingPoint { epoch: wire.epoch, step: wire.step },
        macro_f1: wire.macro_f1,
    })
}

#[cfg(test)]
mod tests {
    use fivefold_common::ids::Digest;

    use super::*;

    #[test]
    fn checkpoints_round_trip() {
        let checkpoint = Checkpoint {
            digest: Digest::of(b"weights"),
            size_bytes: 7,
            role: CheckpointRole::Best,
            point: TrainingPoint { epoch: 3, step: 40 },
            macro_f1: Some(0.5),
        };
        assert_eq!(checkpoint_from_wire(&checkpoint_to_wire(&checkpoint)), Ok(checkpoint));
        let unset = v1::Checkpoint { role: 0, ..checkpoint_to_wire(&checkpoint) };
        assert_eq!(checkpoint_from_wire(&unset).unwrap_err().field, "checkpoint.role");
    }
}
