//! The settings of a job set: how its folds are trained and scored.
//!
//! Each key is one entry of the table in `keys.rs`, from which everything else follows: the fields and defaults of
//! [`JobSetSpec`], the limits, whether a checkpoint of another value can be resumed, and [`KEYS`] for the command line.
//!
//! A spec has two written forms. What a user writes is read strictly, unknown keys are errors
//! ([`SpecOverrides::from_toml`], [`SpecOverrides::from_json`]). What Fivefold stores is read leniently by other versions
//! of Fivefold ([`JobSetSpec::from_stored_json`]). Both use the same names and words.

mod choices;
mod class_weights;
mod classes;
mod file;
mod images;
mod keys;
mod presets;
mod stored;
mod table;
mod task;
mod threshold_rule;
mod value;

pub use choices::{
    Augmentation, Head, ImageFit, LabelFormat, LabelSeparator, Loss, LrSchedule, ModelName, Normalization, Objective,
    Optimizer, Precision, Resize, ScoredCheckpoint, SplitMethod, Task,
};
pub use class_weights::ClassWeights;
pub use file::SpecFileError;
pub use keys::{JobSetSpec, KEYS, SpecOverrides};
pub use presets::Preset;
pub use stored::StoredSpecError;
pub use table::{Group, Key, KeyDifference, Resume, Syntax};
pub use threshold_rule::ThresholdRule;

use crate::fold_set::FoldSet;
use crate::ids::Fold;
use crate::network::Architecture;

/// A key whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SpecError {
    /// The key, as in files and flags.
    pub key: &'static str,
    /// What is wrong with its value, and what is expected.
    pub problem: String,
}

impl JobSetSpec {
    /// The folds to train, ascending.
    pub fn trained_folds(&self) -> Vec<Fold> {
        let is_trained = |fold: u32| fold < self.folds && (self.fold.is_empty() || self.fold.contains(&fold));
        (0..=u8::MAX).filter(|&fold| is_trained(fold.into())).map(Fold).collect()
    }

    /// The folds that are trained, as a set.
    pub fn fold_set(&self) -> FoldSet {
        self.trained_folds().into_iter().collect()
    }

    /// Whether the learning rate of each batch depends on the number of epochs. If not, a longer training begins with the batches
    /// of a shorter one.
    pub fn schedule_has_an_end(&self) -> bool {
        match self.lr_schedule {
            LrSchedule::Plateau | LrSchedule::Step => false,
            LrSchedule::Cosine => true,
        }
    }

    /// The number of epochs, if it differs and shapes training.
    fn length_conflict(&self, theirs: &Self) -> Option<KeyDifference> {
        let is_shaping = self.schedule_has_an_end() && self.epochs != theirs.epochs;
        let (ours, theirs) = (self.epochs.to_string(), theirs.epochs.to_string());
        is_shaping.then_some(KeyDifference { key: "epochs", ours, theirs })
    }

    /// The rules that one entry of the table cannot hold.
    fn check_across_keys(&self) -> Result<(), SpecError> {
        let refuse = |key, problem: String| Err(SpecError { key, problem });
        if let Some(fold) = self.fold.iter().find(|&&fold| fold >= self.folds) {
            return refuse("fold", format!("there is no fold {fold}: folds = {}, counted from 0", self.folds));
        }
        if !self.fold.is_sorted_by(|before, after| before < after) {
            return refuse("fold", "expected each fold once, in ascending order".to_owned());
        }
        if !self.base_width.is_power_of_two() {
            return refuse("base_width", format!("{} is not a power of two", self.base_width));
        }
        let least = Architecture::of(self.model_name).least_base_width();
        if self.base_width < least {
            let (width, model) = (self.base_width, self.model_name);
            return refuse("base_width", format!("{width} is too small for {model}: expected at least {least}"));
        }
        if self.nesterov && (self.optimizer != Optimizer::Sgd || self.momentum <= 0.0) {
            return refuse("nesterov", "it needs optimizer = \"sgd\" and a momentum above 0".to_owned());
        }
        if self.lr_warmup_epochs > 0 && self.lr_schedule == LrSchedule::Plateau {
            return refuse("lr_warmup_epochs", "it needs lr_schedule = \"step\" or \"cosine\"".to_owned());
        }
        if self.lr_warmup_epochs > 0 && self.lr_warmup_epochs >= self.epochs {
            let (warmup, epochs) = (self.lr_warmup_epochs, self.epochs);
            return refuse("lr_warmup_epochs", format!("{warmup} is not below epochs = {epochs}"));
        }
        if self.min_learning_rate > self.learning_rate {
            let problem = format!("{} is above learning_rate = {}", self.min_learning_rate, self.learning_rate);
            return refuse("min_learning_rate", problem);
        }
        self.check_classes()?;
        self.check_task()?;
        self.check_images()
    }
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
            ("model_name = \"resnext50_32x4d\"\nbase_width = 8", "base_width"),
            ("model_name = \"resnet51\"", "model_name"),
            ("nesterov = true", "nesterov"),
            ("min_learning_rate = 0.1", "min_learning_rate"),
            ("lr_warmup_epochs = 1", "lr_warmup_epochs"),
            ("lr_schedule = \"cosine\"\nepochs = 5\nlr_warmup_epochs = 5", "lr_warmup_epochs"),
            ("name = \"two\\nlines\"", "name"),
        ] {
            let message = JobSetSpec::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(key), "{text}: {message}");
        }
    }

    #[test]
    fn errors_in_files_say_where_and_what() {
        for (text, wanted) in [
            ("tta = 1\nbatchsize = 32", "line 2 (batchsize = 32): unknown field `batchsize`"),
            (
                "epochs = 1\nloss = \"hinge\"",
                "line 2 (loss = \"hinge\"): unknown loss \"hinge\": expected one of bce, soft_f1, focal, cross_entropy",
            ),
            ("tta = 0", "tta: 0 is out of range: expected 1 to 100"),
            ("weight_decay = 2", "weight_decay: 2 is out of range: expected 0 to 1"),
        ] {
            assert_eq!(JobSetSpec::from_toml(text).unwrap_err().to_string(), wanted);
        }
        let json = JobSetSpec::default().to_stored_json();
        assert_eq!(
            SpecOverrides::from_json(&json).unwrap(),
            SpecOverrides::from_toml(&toml::to_string(&JobSetSpec::default()).unwrap()).unwrap()
        );
        let misspelt = json.replace("\"tta\"", "\"ttaa\"");
        let message = SpecOverrides::from_json(&misspelt).unwrap_err().to_string();
        assert!(message.ends_with("\"ttaa\"): unknown field `ttaa`") && message.starts_with("line 1 ("), "{message}");
    }

    #[test]
    fn training_resumes_if_what_shapes_it_is_the_same() {
        let ours = JobSetSpec::default();
        let mut theirs = JobSetSpec { name: "other".into(), tta: 1, fold: vec![2], keep_best: 4, ..ours.clone() };
        assert_eq!(ours.resume_conflict(&theirs), None);
        theirs.loss = Loss::Focal;
        let difference = KeyDifference { key: "loss", ours: "\"bce\"".into(), theirs: "\"focal\"".into() };
        assert_eq!(ours.resume_conflict(&theirs), Some(difference));
    }

    #[test]
    fn a_longer_training_goes_on_unless_its_schedule_has_an_end() {
        for (lr_schedule, is_same) in
            [(LrSchedule::Plateau, true), (LrSchedule::Step, true), (LrSchedule::Cosine, false)]
        {
            let ours = JobSetSpec { lr_schedule, epochs: 4, ..JobSetSpec::default() };
            let theirs = JobSetSpec { epochs: 2, ..ours.clone() };
            assert_eq!(ours.resume_conflict(&theirs).is_none(), is_same, "{lr_schedule}");
        }
    }

    #[test]
    fn keys_are_set_from_text() {
        let mut overrides = SpecOverrides::default();
        let mut set = |name: &str, text: &str| {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            key.set(&mut overrides, text)
        };
        for (name, text) in [
            ("fold", "3,4"),
            ("fold", "1"),
            ("classes", "a,b c"),
            ("classes", "d"),
            ("seed", "7"),
            ("nesterov", "True"),
            ("loss", "soft_f1"),
        ] {
            assert_eq!(set(name, text), Ok(()), "{name}");
        }
        assert_eq!(set("tta", "many"), Err("expected a whole number below 2^32".into()));
        assert_eq!(set("nesterov", "yes"), Err("expected True or False".into()));
        let expected = SpecOverrides {
            fold: Some(vec![3, 4, 1]),
            classes: Some(["a", "b c", "d"].map(str::to_owned).to_vec()),
            seed: Some(7),
            nesterov: Some(true),
            loss: Some(Loss::SoftF1),
            ..SpecOverrides::default()
        };
        assert_eq!(overrides, expected);
    }
}
