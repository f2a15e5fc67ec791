//! A leased job.

use fivefold_common::checkpoint::Checkpoint;
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::job::JobKind;
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{
    WireError, checkpoint_from_wire, digest_from_wire, fold_from_wire, job_kind_from_wire, optional_digest_from_wire,
    required, spec_from_wire,
};
use fivefold_proto::v1;

/// What a lease asks for.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) spec: JobSetSpec,
    pub(crate) fold: Fold,
    pub(crate) images: Images,
    pub(crate) task: Task,
}

/// Where the images of a job are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Images {
    /// In this worker's folder.
    InFolder,
    /// With the coordinator, which has this index of them.
    Pushed(Digest),
}

#[derive(Debug, Clone)]
pub(crate) enum Task {
    Train(TrainTask),
    Predict(PredictTask),
}

/// Train a fold and score its out-of-fold rows.
#[derive(Debug, Clone)]
pub(crate) struct TrainTask {
    pub(crate) train_list: Digest,
    pub(crate) hpa_list: Option<Digest>,
    pub(crate) folds: Digest,
    pub(crate) initial: Initial,
    /// The list to be scored once all folds are trained. Its images are checked before training.
    pub(crate) test_list: Option<Digest>,
    /// Checkpoints to resume from, in the order in which they are to be tried.
    pub(crate) checkpoints: Vec<Checkpoint>,
}

/// What training begins from where there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initial {
    Seed,
    /// Pretrained weights, perhaps with another head.
    Weights(Digest),
    /// A model of the same network.
    Model(Digest),
}

impl Initial {
    fn from_wire(lists: &v1::Manifests) -> Result<Self, WireError> {
        Ok(match optional_digest_from_wire("manifests.weights_digest", &lists.weights_digest)? {
            None => Self::Seed,
            Some(digest) if lists.warm_start_job_set_id.is_empty() => Self::Weights(digest),
            Some(digest) => Self::Model(digest),
        })
    }
}

/// Score the test list with a trained fold.
#[derive(Debug, Clone)]
pub(crate) struct PredictTask {
    pub(crate) test_list: Digest,
    pub(crate) checkpoint: Digest,
}

impl Job {
    /// The job of a lease.
    ///
    /// # Errors
    /// The first field that is missing or invalid.
    pub(crate) fn from_wire(lease: v1::Lease) -> Result<Self, WireError> {
        let lists = required("manifests", lease.manifests)?;
        let mut checkpoints = Vec::with_capacity(lease.checkpoints.len());
        for checkpoint in &lease.checkpoints {
            checkpoints.push(checkpoint_from_wire(checkpoint)?);
        }
        let pushed = optional_digest_from_wire("manifests.images_digest", &lists.images_digest)?;
        let images = pushed.map_or(Images::InFolder, Images::Pushed);
        let task = match job_kind_from_wire(lease.kind)? {
            JobKind::Train => Task::Train(TrainTask {
                train_list: digest_from_wire("manifests.train_digest", &lists.train_digest)?,
                hpa_list: optional_digest_from_wire("manifests.hpa_digest", &lists.hpa_digest)?,
                folds: digest_from_wire("folds_digest", &lease.folds_digest)?,
                initial: Initial::from_wire(&lists)?,
                test_list: optional_digest_from_wire("manifests.test_digest", &lists.test_digest)?,
                checkpoints,
            }),
            JobKind::Predict => Task::Predict(PredictTask {
                test_list: digest_from_wire("manifests.test_digest", &lists.test_digest)?,
                checkpoint: required("checkpoints", checkpoints.first())?.digest,
            }),
        };
        let spec = spec_from_wire(required("spec", lease.spec)?)?;
        Ok(Self { spec, fold: fold_from_wire(lease.fold)?, images, task })
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::convert::spec_to_wire;

    use super::*;

    #[test]
    fn a_job_needs_what_its_kind_needs() {
        let digest = Digest::of(b"a list").to_string();
        let lists = v1::Manifests { train_digest: digest.clone(), ..Default::default() };
        let train = v1::Lease {
            kind: v1::JobKind::Train.into(),
            fold: 1,
            spec: Some(spec_to_wire(&JobSetSpec::default())),
            manifests: Some(lists),
            folds_digest: digest,
            ..Default::default()
        };
        let job = Job::from_wire(train.clone()).unwrap();
        assert!(matches!(job.task, Task::Train(TrainTask { hpa_list: None, initial: Initial::Seed, .. })));
        assert_eq!(job.images, Images::InFolder);
        let mut pushed = train.clone();
        let index = Digest::of(b"an index");
        pushed.manifests.as_mut().unwrap().images_digest = index.to_string();
        assert_eq!(Job::from_wire(pushed).unwrap().images, Images::Pushed(index));
        let model = Digest::of(b"a model");
        for (of, expected) in [("", Initial::Weights(model)), ("js-abcdefgh", Initial::Model(model))] {
            let mut lease = train.clone();
            let lists = lease.manifests.as_mut().unwrap();
            (lists.weights_digest, lists.warm_start_job_set_id) = (model.to_string(), of.to_owned());
            assert!(matches!(Job::from_wire(lease).unwrap().task, Task::Train(task) if task.initial == expected));
        }
        let no_folds = v1::Lease { folds_digest: String::new(), ..train.clone() };
        assert_eq!(Job::from_wire(no_folds).unwrap_err().field, "folds_digest");
        let predict = v1::Lease { kind: v1::JobKind::Predict.into(), ..train };
        assert_eq!(Job::from_wire(predict).unwrap_err().field, "manifests.test_digest");
    }
}
