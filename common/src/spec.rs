//! A job set's configuration: the recipe's defaults, a TOML file or flags over them, and every limit in one place.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::Fold;
use crate::threshold::EmptyRows;

/// How every fold of a job set is trained, scored and thresholded.
///
/// As TOML each field is a key of the same name; absent keys take the recipe's default, unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSetSpec {
    /// A person's name for the job set, at most 100 characters; may be empty.
    pub name: String,
    /// How many folds the rows are split into, 2 to 100.
    pub folds: u32,
    /// The folds that are trained, ascending; empty means all.
    pub fold: Vec<u32>,
    /// How rows are split.
    pub split_method: SplitMethod,
    /// Seed of the split (numpy's RandomState).
    pub split_seed: u32,
    /// Whether rows are shuffled before they are split.
    pub split_shuffle: bool,
    /// Seed of everything else: initial weights, samples, augmentations.
    pub seed: u64,

    /// Whether rows of the HPA list join the training rows.
    pub train_with_hpa: bool,
    /// Whether rows of the HPA list join the validation rows and the out-of-fold table.
    pub valid_with_hpa: bool,
    /// Whether training rows are drawn by their labels' rarity, with replacement.
    pub weighted_samples: bool,

    /// The network.
    pub model_name: ModelName,
    /// The network's last layers.
    pub head: Head,
    /// Channels of the first stage; 64 is the real ResNet50, less is for tests.
    pub base_width: u32,

    /// Side of the square images, in pixels.
    pub image_size: u32,
    /// What is subtracted from and divided out of the pixels.
    pub normalization: Normalization,
    /// Which random transformations training images undergo.
    pub augmentation: Augmentation,
    /// Passes of test-time augmentation per image; 1 is the plain image.
    pub tta: u32,

    /// Images per batch.
    pub batch_size: u32,
    /// Batches per epoch.
    pub train_batch_per_epoch: u32,
    /// Validation batches per epoch; fewer where the fold has fewer rows.
    pub valid_batch_per_epoch: u32,
    /// The most epochs that are trained.
    pub epochs: u32,

    /// What is minimised.
    pub loss: Loss,
    /// How.
    pub optimizer: Optimizer,
    /// The first learning rate.
    pub learning_rate: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Whether SGD's momentum is Nesterov's.
    pub nesterov: bool,

    /// What the learning rate is multiplied with on a plateau.
    pub lr_factor: f64,
    /// Epochs without a better score before the learning rate falls.
    pub lr_patience: u32,
    /// Epochs after a fall in which none are counted.
    pub lr_cooldown: u32,
    /// The learning rate falls no lower.
    pub min_learning_rate: f64,
    /// Epochs without a better score before training ends.
    pub early_stop_patience: u32,
    /// By how much macro F1 has to rise to count as better.
    pub early_stop_min_delta: f64,

    /// Number format of the forward pass; weights and optimiser state stay fp32.
    pub precision: Precision,
    /// Whether a GPU is held to repeatable algorithms.
    pub deterministic: bool,
    /// libtorch's threads inside one operation on the CPU; the sums' order, so the bits, depend on it.
    pub intraop_threads: u32,
    /// A checkpoint is made every so many batches inside an epoch; 0: only at its end.
    pub checkpoint_every_batches: u32,

    /// Which checkpoint scores the out-of-fold rows.
    pub oof_checkpoint: ScoredCheckpoint,
    /// What a row without a score above the threshold is given.
    pub empty_rows: EmptyRows,
    /// How often a fold may be started before it counts as failed.
    pub max_attempts: u32,
    /// How often a fold whose loss was not finite is tried again, from its last checkpoint.
    pub non_finite_retries: u32,
    /// How many of a fold's newest checkpoints are kept: one to go on from, and those to fall back to.
    pub keep_last: u32,
    /// How many of a fold's best checkpoints so far are kept.
    pub keep_best: u32,
}

impl Default for JobSetSpec {
    /// The recipe of the Human Protein Atlas solution.
    fn default() -> Self {
        Self {
            name: String::new(),
            folds: 5,
            fold: Vec::new(),
            split_method: SplitMethod::Mskf,
            split_seed: 42,
            split_shuffle: false,
            seed: 42,
            train_with_hpa: true,
            valid_with_hpa: true,
            weighted_samples: true,
            model_name: ModelName::Resnet50,
            head: Head::TwoLayer,
            base_width: 64,
            image_size: 512,
            normalization: Normalization::None,
            augmentation: Augmentation::Full,
            tta: 10,
            batch_size: 32,
            train_batch_per_epoch: 800,
            valid_batch_per_epoch: 448,
            epochs: 100,
            loss: Loss::Bce,
            optimizer: Optimizer::Adam,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            momentum: 0.9,
            nesterov: false,
            lr_factor: 0.1,
            lr_patience: 4,
            lr_cooldown: 1,
            min_learning_rate: 1e-6,
            early_stop_patience: 7,
            early_stop_min_delta: 0.001,
            precision: Precision::Fp32,
            deterministic: false,
            intraop_threads: 4,
            checkpoint_every_batches: 0,
            oof_checkpoint: ScoredCheckpoint::Last,
            empty_rows: EmptyRows::Argmax,
            max_attempts: 5,
            non_finite_retries: 0,
            keep_last: 2,
            keep_best: 1,
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every choice, as it is written in a spec.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The choice as it is written in a spec.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = SpecError;

            fn from_str(text: &str) -> Result<Self, SpecError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(SpecError { key: $what, problem: format!("{text:?} is not one of {}", Self::WORDS.join(", ")) }),
                }
            }
        }
    };
}

words! {
    /// How rows are split into folds.
    SplitMethod, "split_method" {
        /// MultilabelStratifiedKFold of iterative-stratification 0.1.9.
        Mskf = "mskf",
    }
}
words! {
    /// The network.
    ModelName, "model_name" {
        /// ResNet50 as torchvision builds it.
        Resnet50 = "resnet50",
    }
}
words! {
    /// The network's last layers.
    Head, "head" {
        /// Linear 2048 to 512, BatchNorm1d, Linear 512 to 28.
        TwoLayer = "two_layer",
        /// Linear 2048 to 28, torchvision's `fc`.
        Linear = "linear",
    }
}
words! {
    /// What is subtracted from and divided out of the pixels.
    Normalization, "normalization" {
        /// Nothing: pixels are x / 255.
        None = "none",
        /// ImageNet's mean and standard deviation per channel.
        Imagenet = "imagenet",
    }
}
words! {
    /// Which random transformations training images undergo.
    Augmentation, "augmentation" {
        /// None.
        None = "none",
        /// Crop, quarter turn, flips, shear, shift, scale and rotation.
        Full = "full",
    }
}
words! {
    /// What is minimised.
    Loss, "loss" {
        /// Mean binary cross-entropy with logits.
        Bce = "bce",
        /// One minus the soft macro F1 of the batch.
        SoftF1 = "soft_f1",
        /// Focal loss with gamma 2 (Lin et al. 2017).
        Focal = "focal",
    }
}
words! {
    /// How the loss is minimised.
    Optimizer, "optimizer" {
        /// Adam (Kingma and Ba 2015), betas 0.9 and 0.999, epsilon 1e-8.
        Adam = "adam",
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
    }
}
words! {
    /// Number format of the forward pass.
    Precision, "precision" {
        /// 32-bit floats.
        Fp32 = "fp32",
        /// bfloat16 by autocast.
        Bf16 = "bf16",
        /// 16-bit floats by autocast, with dynamic loss scaling.
        Fp16 = "fp16",
    }
}
words! {
    /// Which checkpoint scores the out-of-fold rows.
    ScoredCheckpoint, "oof_checkpoint" {
        /// The one at the end of the last epoch.
        Last = "last",
        /// The one with the best validation macro F1.
        Best = "best",
    }
}

/// A key of the spec that cannot be, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SpecError {
    /// The key, as it is written in TOML and as a flag.
    pub key: &'static str,
    /// What is wrong with its value, and what would be right.
    pub problem: String,
}

/// A spec file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecFileError {
    /// It is not TOML, or has an unknown key or a value of the wrong type; the message names line and key.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value is out of its limits.
    #[error(transparent)]
    Value(#[from] SpecError),
}

impl JobSetSpec {
    /// The checked spec of a TOML document: absent keys take their defaults.
    pub fn from_toml(text: &str) -> Result<Self, SpecFileError> {
        let spec: Self = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The folds that are trained, ascending.
    pub fn trained_folds(&self) -> Vec<Fold> {
        let all: Vec<u32> = (0..self.folds).collect();
        let chosen = if self.fold.is_empty() { &all } else { &self.fold };
        chosen.iter().map(|&fold| Fold(fold as u8)).collect()
    }

    /// Refuses values out of their limits, naming the first such key.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.name.chars().count() > 100 || self.name.chars().any(char::is_control) {
            return Err(refused("name", "it should be at most 100 printable characters".into()));
        }
        whole("folds", self.folds, 2, 100)?;
        for (place, &fold) in self.fold.iter().enumerate() {
            if fold >= self.folds {
                return Err(refused(
                    "fold",
                    format!("there is no fold {fold}: folds = {}, counted from 0", self.folds),
                ));
            }
            if place > 0 && self.fold[place - 1] >= fold {
                return Err(refused("fold", "folds should be named once each, ascending".into()));
            }
        }
        if !self.base_width.is_power_of_two() {
            return Err(refused("base_width", format!("{} is not a power of two", self.base_width)));
        }
        whole("base_width", self.base_width, 4, 256)?;
        whole("image_size", self.image_size, 16, 4096)?;
        whole("tta", self.tta, 1, 100)?;
        whole("batch_size", self.batch_size, 2, 4096)?;
        whole("train_batch_per_epoch", self.train_batch_per_epoch, 1, 1_000_000)?;
        whole("valid_batch_per_epoch", self.valid_batch_per_epoch, 1, 1_000_000)?;
        whole("epochs", self.epochs, 1, 10_000)?;
        real("learning_rate", self.learning_rate, 1e-12, 100.0)?;
        real("weight_decay", self.weight_decay, 0.0, 1.0)?;
        real("momentum", self.momentum, 0.0, 1.0)?;
        if self.nesterov && (self.optimizer != Optimizer::Sgd || self.momentum <= 0.0) {
            return Err(refused("nesterov", "it needs optimizer = \"sgd\" and a momentum above 0".into()));
        }
        real("lr_factor", self.lr_factor, 0.0, 0.999)?;
        whole("lr_patience", self.lr_patience, 0, 10_000)?;
        whole("lr_cooldown", self.lr_cooldown, 0, 10_000)?;
        real("min_learning_rate", self.min_learning_rate, 0.0, self.learning_rate)?;
        whole("early_stop_patience", self.early_stop_patience, 1, 10_000)?;
        real("early_stop_min_delta", self.early_stop_min_delta, 0.0, 1.0)?;
        whole("intraop_threads", self.intraop_threads, 1, 256)?;
        whole("checkpoint_every_batches", self.checkpoint_every_batches, 0, 1_000_000)?;
        whole("max_attempts", self.max_attempts, 1, 100)?;
        whole("non_finite_retries", self.non_finite_retries, 0, 10)?;
        whole("keep_last", self.keep_last, 1, 1000)?;
        whole("keep_best", self.keep_best, 1, 1000)
    }
}

fn whole(key: &'static str, value: u32, low: u32, high: u32) -> Result<(), SpecError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(refused(key, format!("{value} is out of its limits, {low} to {high}")))
}

fn real(key: &'static str, value: f64, low: f64, high: f64) -> Result<(), SpecError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(refused(key, format!("{value} is out of its limits, {low} to {high}")))
}

fn refused(key: &'static str, problem: String) -> SpecError {
    SpecError { key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible_and_round_trip() {
        let spec = JobSetSpec::default();
        assert_eq!(spec.check(), Ok(()));
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(JobSetSpec::from_toml(&text).unwrap(), spec);
        assert_eq!(spec.trained_folds().len(), 5);
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        for (text, key) in [
            ("batchsize = 32", "batchsize"),
            ("batch_size = 0", "batch_size"),
            ("batch_size = \"many\"", "batch_size"),
            ("folds = 1", "folds"),
            ("fold = [5]", "fold"),
            ("fold = [1, 1]", "fold"),
            ("learning_rate = nan", "learning_rate"),
            ("loss = \"hinge\"", "loss"),
            ("base_width = 48", "base_width"),
            ("nesterov = true", "nesterov"),
        ] {
            let message = JobSetSpec::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(key), "{text}: {message}");
        }
    }
}
