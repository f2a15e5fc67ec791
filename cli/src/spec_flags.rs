//! Every key of a job set's spec as a flag of `submit`, and how flags lie over a TOML file over the recipe.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use fivefold_common::spec::{
    Augmentation, Head, JobSetSpec, Loss, ModelName, Normalization, Optimizer, Precision, ScoredCheckpoint, SplitMethod,
};
use fivefold_common::threshold::EmptyRows;

use crate::failure::Usage;

const FOLDS: &str = "Folds";
const DATA: &str = "Which rows are used";
const MODEL: &str = "Model and images";
const TRAINING: &str = "Training";
const SCHEDULE: &str = "Learning rate and early stop";
const MACHINE: &str = "Machine";
const SCORING: &str = "Scoring";

/// A parser of one of an enum's words, which the help and the completions list.
macro_rules! word_of {
    ($choice:ty) => {
        PossibleValuesParser::new(<$choice>::WORDS).try_map(|word| word.parse::<$choice>())
    };
}

/// The spec's keys as flags; what is not given comes from the TOML file, or else from the recipe.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct SpecFlags {
    /// A name for people, at most 100 characters [default: none]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// How many folds the rows are split into, 2 to 100 [default: 5]
    #[arg(long, value_name = "N", help_heading = FOLDS)]
    folds: Option<u32>,
    /// Train only these folds, counted from 0: once per fold, or `--fold=0,2` [default: all]
    #[arg(long, value_name = "FOLD", value_delimiter = ',', help_heading = FOLDS)]
    fold: Option<Vec<u32>>,
    /// How rows are split [default: mskf]
    #[arg(long, alias = "split-method", value_name = "METHOD", value_parser = word_of!(SplitMethod), help_heading = FOLDS)]
    split_method: Option<SplitMethod>,
    /// Seed of the split, as numpy's RandomState takes it [default: 42]
    #[arg(long, alias = "split-seed", value_name = "SEED", help_heading = FOLDS)]
    split_seed: Option<u32>,
    /// Shuffle the rows before they are split [default: false]
    #[arg(long, alias = "split-shuffle", value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = FOLDS)]
    split_shuffle: Option<bool>,

    /// Train on the HPA list too [default: true with --hpa-csv]
    #[arg(long, alias = "train-with-hpa", value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = DATA)]
    train_with_hpa: Option<bool>,
    /// Validate on the HPA list too, and score it out of fold [default: true with --hpa-csv]
    #[arg(long, alias = "valid-with-hpa", value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = DATA)]
    valid_with_hpa: Option<bool>,
    /// Draw training rows by their labels' rarity, with replacement [default: true]
    #[arg(long, alias = "weighted-samples", value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = DATA)]
    weighted_samples: Option<bool>,

    /// The network [default: resnet50]
    #[arg(long, alias = "model-name", value_name = "MODEL", value_parser = word_of!(ModelName), help_heading = MODEL)]
    model_name: Option<ModelName>,
    /// Its last layers [default: two_layer]
    #[arg(long, value_name = "HEAD", value_parser = word_of!(Head), help_heading = MODEL)]
    head: Option<Head>,
    /// Channels of its first stage; 64 is the real ResNet50, fewer are for tests [default: 64]
    #[arg(long, alias = "base-width", value_name = "N", help_heading = MODEL)]
    base_width: Option<u32>,
    /// Side of the square images, in pixels [default: 512]
    #[arg(long, alias = "image-size", value_name = "PIXELS", help_heading = MODEL)]
    image_size: Option<u32>,
    /// What is subtracted from and divided out of the pixels [default: none]
    #[arg(long, value_name = "KIND", value_parser = word_of!(Normalization), help_heading = MODEL)]
    normalization: Option<Normalization>,
    /// Random transformations of training images [default: full]
    #[arg(long, value_name = "KIND", value_parser = word_of!(Augmentation), help_heading = MODEL)]
    augmentation: Option<Augmentation>,

    /// Images per batch [default: 32]
    #[arg(long, alias = "batch-size", value_name = "N", help_heading = TRAINING)]
    batch_size: Option<u32>,
    /// Batches per epoch [default: 800]
    #[arg(long, alias = "train-batch-per-epoch", value_name = "N", help_heading = TRAINING)]
    train_batch_per_epoch: Option<u32>,
    /// Validation batches per epoch; fewer where the fold has fewer rows [default: 448]
    #[arg(long, alias = "valid-batch-per-epoch", value_name = "N", help_heading = TRAINING)]
    valid_batch_per_epoch: Option<u32>,
    /// The most epochs that are trained [default: 100]
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    epochs: Option<u32>,
    /// What is minimised [default: bce]
    #[arg(long, value_name = "LOSS", value_parser = word_of!(Loss), help_heading = TRAINING)]
    loss: Option<Loss>,
    /// How it is minimised [default: adam]
    #[arg(long, value_name = "OPTIMIZER", value_parser = word_of!(Optimizer), help_heading = TRAINING)]
    optimizer: Option<Optimizer>,
    /// L2 penalty, added to the gradient [default: 0.0]
    #[arg(long, alias = "weight-decay", value_name = "X", help_heading = TRAINING)]
    weight_decay: Option<f64>,
    /// Momentum of SGD [default: 0.9]
    #[arg(long, value_name = "X", help_heading = TRAINING)]
    momentum: Option<f64>,
    /// Nesterov's momentum for SGD [default: false]
    #[arg(long, value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = TRAINING)]
    nesterov: Option<bool>,
    /// Seed of initial weights, samples and augmentations [default: 42]
    #[arg(long, value_name = "SEED", help_heading = TRAINING)]
    seed: Option<u64>,

    /// The first learning rate [default: 0.001]
    #[arg(long, alias = "learning-rate", value_name = "X", help_heading = SCHEDULE)]
    learning_rate: Option<f64>,
    /// What the learning rate is multiplied with on a plateau [default: 0.1]
    #[arg(long, alias = "lr-factor", value_name = "X", help_heading = SCHEDULE)]
    lr_factor: Option<f64>,
    /// Epochs without a better score before the learning rate falls [default: 4]
    #[arg(long, alias = "lr-patience", value_name = "EPOCHS", help_heading = SCHEDULE)]
    lr_patience: Option<u32>,
    /// Epochs after a fall in which none are counted [default: 1]
    #[arg(long, alias = "lr-cooldown", value_name = "EPOCHS", help_heading = SCHEDULE)]
    lr_cooldown: Option<u32>,
    /// The learning rate falls no lower [default: 1e-6]
    #[arg(long, alias = "min-learning-rate", value_name = "X", help_heading = SCHEDULE)]
    min_learning_rate: Option<f64>,
    /// Epochs without a better score before training ends [default: 7]
    #[arg(long, alias = "early-stop-patience", value_name = "EPOCHS", help_heading = SCHEDULE)]
    early_stop_patience: Option<u32>,
    /// By how much macro F1 has to rise to count as better [default: 0.001]
    #[arg(long, alias = "early-stop-min-delta", value_name = "X", help_heading = SCHEDULE)]
    early_stop_min_delta: Option<f64>,

    /// Number format of the forward pass; weights stay fp32 [default: fp32]
    #[arg(long, value_name = "FORMAT", value_parser = word_of!(Precision), help_heading = MACHINE)]
    precision: Option<Precision>,
    /// Hold a GPU to repeatable algorithms [default: false]
    #[arg(long, value_name = "BOOL", value_parser = truth, num_args = 0..=1, default_missing_value = "true", help_heading = MACHINE)]
    deterministic: Option<bool>,
    /// Threads inside one operation on the CPU; the result's last bits depend on it [default: 4]
    #[arg(long, alias = "intraop-threads", value_name = "N", help_heading = MACHINE)]
    intraop_threads: Option<u32>,
    /// Keep a checkpoint every so many batches inside an epoch; 0: only at its end [default: 0]
    #[arg(long, alias = "checkpoint-every-batches", value_name = "N", help_heading = MACHINE)]
    checkpoint_every_batches: Option<u32>,
    /// How often a fold may be started before it counts as failed [default: 5]
    #[arg(long, alias = "max-attempts", value_name = "N", help_heading = MACHINE)]
    max_attempts: Option<u32>,
    /// How often a fold whose loss was not finite is tried again, from its last checkpoint [default: 0]
    #[arg(long, alias = "non-finite-retries", value_name = "N", help_heading = MACHINE)]
    non_finite_retries: Option<u32>,
    /// How many of a fold's newest checkpoints are kept, to go on from and to fall back to [default: 2]
    #[arg(long, alias = "keep-last", value_name = "N", help_heading = MACHINE)]
    keep_last: Option<u32>,
    /// How many of a fold's best checkpoints so far are kept [default: 1]
    #[arg(long, alias = "keep-best", value_name = "N", help_heading = MACHINE)]
    keep_best: Option<u32>,

    /// Passes of test-time augmentation per image; 1 is the plain image [default: 10]
    #[arg(long, value_name = "N", help_heading = SCORING)]
    tta: Option<u32>,
    /// Which checkpoint scores the out-of-fold rows [default: last]
    #[arg(long, alias = "oof-checkpoint", value_name = "WHICH", value_parser = word_of!(ScoredCheckpoint), help_heading = SCORING)]
    oof_checkpoint: Option<ScoredCheckpoint>,
    /// What a row without a score above the threshold is given [default: argmax]
    #[arg(long, alias = "empty-rows", value_name = "WHAT", value_parser = empty_rows_parser(), help_heading = SCORING)]
    empty_rows: Option<EmptyRows>,
}

/// The parser of `empty_rows`, here and in `threshold`.
pub(crate) fn empty_rows_parser() -> impl clap::builder::TypedValueParser<Value = EmptyRows> {
    PossibleValuesParser::new(["argmax", "leave"]).try_map(|word| word.parse::<EmptyRows>())
}

/// Python's and everybody else's spelling of a truth value.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" | "1" => Ok(true),
        "False" | "false" | "0" => Ok(false),
        _ => Err("it should be True or False".to_owned()),
    }
}

/// Whether the job set has an HPA list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HpaList {
    /// It was given.
    Given,
    /// There is none.
    Absent,
}

impl SpecFlags {
    /// The checked spec: these flags over the TOML file over the recipe. Without an HPA list the recipe's two `…_with_hpa`
    /// become false; asking for them is refused.
    pub(crate) fn spec(self, toml_file: Option<&Path>, hpa_list: HpaList) -> anyhow::Result<JobSetSpec> {
        let mut asked_for_hpa = [self.train_with_hpa == Some(true), self.valid_with_hpa == Some(true)];
        let mut spec = JobSetSpec::default();
        if let Some(path) = toml_file {
            let name = path.display();
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
            spec = parse_toml(&text).map_err(|problem| Usage(format!("{name}{problem}")))?;
            let written = text.parse::<toml::Table>().unwrap_or_default();
            for (asked, (key, flag)) in asked_for_hpa
                .iter_mut()
                .zip([("train_with_hpa", self.train_with_hpa), ("valid_with_hpa", self.valid_with_hpa)])
            {
                *asked |= flag.is_none() && written.get(key).and_then(toml::Value::as_bool) == Some(true);
            }
        }
        self.lay_over(&mut spec);
        if hpa_list == HpaList::Absent {
            for (asked, key) in asked_for_hpa.into_iter().zip(["train_with_hpa", "valid_with_hpa"]) {
                if asked {
                    return Err(Usage(format!("{key}: there is no HPA list; name it with --hpa-csv FILE")).into());
                }
            }
            spec.train_with_hpa = false;
            spec.valid_with_hpa = false;
        }
        spec.check().map_err(|error| Usage(error.to_string()))?;
        Ok(spec)
    }

    fn lay_over(self, spec: &mut JobSetSpec) {
        macro_rules! lay_over {
            ($($key:ident),+ $(,)?) => {
                let SpecFlags { $($key),+ } = self;
                $(if let Some(value) = $key { spec.$key = value; })+
            };
        }
        lay_over!(
            name,
            folds,
            fold,
            split_method,
            split_seed,
            split_shuffle,
            train_with_hpa,
            valid_with_hpa,
            weighted_samples,
            model_name,
            head,
            base_width,
            image_size,
            normalization,
            augmentation,
            batch_size,
            train_batch_per_epoch,
            valid_batch_per_epoch,
            epochs,
            loss,
            optimizer,
            weight_decay,
            momentum,
            nesterov,
            seed,
            learning_rate,
            lr_factor,
            lr_patience,
            lr_cooldown,
            min_learning_rate,
            early_stop_patience,
            early_stop_min_delta,
            precision,
            deterministic,
            intraop_threads,
            checkpoint_every_batches,
            max_attempts,
            non_finite_retries,
            keep_last,
            keep_best,
            tta,
            oof_checkpoint,
            empty_rows,
        );
        // As flags, folds come in the order in which they came to mind.
        spec.fold.sort_unstable();
    }
}

/// The spec of a TOML document, its values not yet checked; the error goes on after the file's name.
fn parse_toml(text: &str) -> Result<JobSetSpec, String> {
    toml::from_str(text).map_err(|error| {
        // The list of all keys would hide which one is wrong.
        let message = error.message().split(", expected one of").next().unwrap_or_default();
        let more = if message.starts_with("unknown field") { "; `fivefold submit --help` lists the keys" } else { "" };
        match error.span() {
            Some(span) => {
                let before = &text[..span.start.min(text.len())];
                let line = before.matches('\n').count();
                let source = text.lines().nth(line).unwrap_or_default().trim();
                format!(", line {} ({source}): {message}{more}", line + 1)
            }
            None => format!(": {message}{more}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Flags {
        #[command(flatten)]
        spec: SpecFlags,
    }

    fn flags(line: &str) -> Result<SpecFlags, String> {
        let words = std::iter::once("submit").chain(line.split_whitespace());
        let matches = Flags::command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        Ok(Flags::from_arg_matches(&matches).unwrap().spec)
    }

    fn spec(line: &str, toml: Option<&str>) -> Result<JobSetSpec, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spec.toml");
        if let Some(text) = toml {
            std::fs::write(&file, text).unwrap();
        }
        flags(line)?.spec(toml.map(|_| file.as_path()), HpaList::Given).map_err(|error| format!("{error:#}"))
    }

    /// The sample command of the recipe's author.
    const SAMPLE: &str = "--model_name=resnet50 --fold=0 --batch_size=32 --train_batch_per_epoch=800 \
        --valid_batch_per_epoch=448 --split_method=mskf --train_with_hpa=True --valid_with_hpa=True \
        --weighted_samples=True --tta=10";

    #[test]
    fn the_authors_sample_command_is_the_recipe() {
        assert_eq!(spec(SAMPLE, None), Ok(JobSetSpec { fold: vec![0], ..JobSetSpec::default() }));
        assert_eq!(spec(&SAMPLE.replace('_', "-").replace('=', " "), None), spec(SAMPLE, None));
        assert_eq!(spec("", None), Ok(JobSetSpec::default()));
    }

    #[test]
    fn flags_override_the_file() {
        let toml = "batch_size = 8\ntta = 3\nloss = \"soft_f1\"\nfold = [0, 1]\nfolds = 4\n";
        let merged = spec("--batch-size 16 --fold=5 --fold 2,3 --folds=6 --weighted_samples=0", Some(toml)).unwrap();
        let expected = JobSetSpec {
            batch_size: 16,
            tta: 3,
            loss: Loss::SoftF1,
            folds: 6,
            fold: vec![2, 3, 5],
            weighted_samples: false,
            ..JobSetSpec::default()
        };
        assert_eq!(merged, expected);
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        for (line, toml, wanted) in [
            ("--batchsize=3", None, "--batchsize"),
            ("--tta=0", None, "tta: 0"),
            ("--tta=many", None, "--tta"),
            ("--train_with_hpa=yes", None, "--train_with_hpa"),
            ("--loss=hinge", None, "--loss"),
            ("--learning_rate=nan", None, "learning_rate"),
            ("--fold=5", None, "fold: there is no fold 5"),
            ("--fold=1,1", None, "fold"),
            ("", Some("tta = 1\nbatchsize = 32"), "spec.toml, line 2 (batchsize = 32): unknown field `batchsize`"),
            ("", Some("batch_size = \"many\""), "line 1 (batch_size = \"many\"): invalid type"),
            ("", Some("epochs = 0"), "epochs: 0"),
            ("", Some("epochs ="), "line 1 (epochs =)"),
        ] {
            let message = spec(line, toml).unwrap_err();
            assert!(message.contains(wanted), "{line} {toml:?}: {message}");
        }
    }

    #[test]
    fn without_an_hpa_list_nothing_can_be_taken_from_it() {
        let absent = |line: &str| flags(line).unwrap().spec(None, HpaList::Absent).map_err(|error| error.to_string());
        let spec = absent("").unwrap();
        assert!(!spec.train_with_hpa && !spec.valid_with_hpa);
        assert!(absent("--valid_with_hpa").unwrap_err().contains("valid_with_hpa: there is no HPA list"));
        assert!(absent("--train_with_hpa=False").is_ok());
    }

    #[test]
    fn every_key_is_a_flag_with_its_default_in_the_help() {
        let defaults = toml::Table::try_from(JobSetSpec::default()).unwrap();
        let command = Flags::command();
        for (key, value) in &defaults {
            let flag =
                command.get_arguments().find(|flag| flag.get_long() == Some(key)).unwrap_or_else(|| panic!("{key}"));
            let help = flag.get_help().unwrap().to_string();
            let shown = help.rsplit_once("[default: ").unwrap_or_else(|| panic!("{help}")).1.trim_end_matches(']');
            match (key.as_str(), value) {
                ("name" | "fold", _) => continue,
                ("train_with_hpa" | "valid_with_hpa", _) => assert_eq!(shown, "true with --hpa-csv"),
                (_, toml::Value::Float(number)) => assert_eq!(shown.parse(), Ok(*number), "{key}"),
                (_, toml::Value::String(word)) => assert_eq!(shown, word, "{key}"),
                _ => assert_eq!(shown, value.to_string(), "{key}"),
            }
            if key.contains('_') {
                assert_eq!(flag.get_all_aliases().unwrap(), [key.replace('_', "-")], "{key}");
            }
        }
        assert_eq!(command.get_arguments().filter(|flag| !flag.is_global_set()).count(), defaults.len());
    }
}
