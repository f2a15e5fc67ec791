//! The keys of a job set's spec as flags of `submit`, made from the table of keys in `fivefold_common::spec`.

use std::path::Path;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use fivefold_common::spec::{JobSetSpec, KEYS, Key, SpecFileError, SpecOverrides, SplitMethod, Syntax};
use fivefold_common::threshold::EmptyRows;

use crate::error::UsageError;

/// The values that flags give to keys of the spec.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SpecFlags(SpecOverrides);

impl Args for SpecFlags {
    fn augment_args(command: Command) -> Command {
        let mut keys: Vec<&Key> = KEYS.iter().collect();
        keys.sort_by_key(|key| key.group);
        command.args(keys.into_iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SpecFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS {
            for text in matches.get_many::<String>(key.name).into_iter().flatten() {
                key.set(&mut self.0, text).map_err(|problem| {
                    clap::Error::raw(ErrorKind::ValueValidation, format!("{}: {problem}", key.name))
                })?;
            }
        }
        Ok(())
    }
}

/// The flag of a key: `--batch_size N`, with `--batch-size` as an alias.
fn flag(key: &'static Key) -> Arg {
    let sentence = key.help.strip_suffix('.').unwrap_or(key.help);
    let mut flag = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value_name)
        .help(format!("{sentence} [default: {}]", key.help_default()))
        .value_parser(value_parser(key));
    if key.name.contains('_') {
        flag = flag.alias(key.name.replace('_', "-"));
    }
    if let Some(heading) = key.group.heading() {
        flag = flag.help_heading(heading);
    }
    match key.syntax {
        Syntax::Plain | Syntax::Word(_) => flag,
        Syntax::Truth => flag.num_args(0..=1).default_missing_value("true"),
        Syntax::List => flag.action(ArgAction::Append).value_delimiter(','),
    }
}

/// A parser that lets the text of a value through if the key can have that value.
fn value_parser(key: &'static Key) -> ValueParser {
    match key.syntax {
        Syntax::Word(words) => PossibleValuesParser::new(words()).into(),
        Syntax::Plain | Syntax::Truth | Syntax::List => {
            ValueParser::new(|text: &str| key.set(&mut SpecOverrides::default(), text).map(|()| text.to_owned()))
        }
    }
}

/// The parser of `empty_rows` for commands that have no other key of the spec.
pub(crate) fn empty_rows_parser() -> impl clap::builder::TypedValueParser<Value = EmptyRows> {
    PossibleValuesParser::new(EmptyRows::ALL.iter().map(|choice| choice.word()))
        .try_map(|word| word.parse::<EmptyRows>())
}

/// Whether the job set has an HPA list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HpaList {
    Given,
    Absent,
}

/// Inputs of a job set that decide on parts of its spec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs {
    pub(crate) hpa_list: HpaList,
    /// The number of folds of a split that was made elsewhere.
    pub(crate) given_folds: Option<u32>,
}

impl SpecFlags {
    /// The checked spec: the defaults, overridden by the file, overridden by these flags. Without an HPA list the two
    /// `…_with_hpa` are false, and setting one to true is an error. Given folds decide on `split_method` and `folds`.
    pub(crate) fn spec(self, file: Option<&Path>, inputs: Inputs) -> anyhow::Result<JobSetSpec> {
        let Inputs { hpa_list, given_folds } = inputs;
        let in_file = file.map(read_file).transpose()?.unwrap_or_default();
        let asked = |flag: Option<bool>, in_file: Option<bool>| flag.or(in_file) == Some(true);
        let asked_for_hpa = [
            ("train_with_hpa", asked(self.0.train_with_hpa, in_file.train_with_hpa)),
            ("valid_with_hpa", asked(self.0.valid_with_hpa, in_file.valid_with_hpa)),
        ];
        if let Some(fold_count) = given_folds {
            self.check_given_folds(fold_count)?;
        }
        let mut spec = JobSetSpec::default();
        in_file.apply_to(&mut spec);
        self.0.apply_to(&mut spec);
        match given_folds {
            Some(fold_count) => (spec.split_method, spec.folds) = (SplitMethod::Given, fold_count),
            None if spec.split_method == SplitMethod::Given => {
                let problem = "split_method: given takes the folds from a file; name it with --folds-csv FILE";
                return Err(UsageError(problem.to_owned()).into());
            }
            None => {}
        }
        // Folds may be given in any order.
        spec.fold.sort_unstable();
        if hpa_list == HpaList::Absent {
            if let Some((key, _)) = asked_for_hpa.iter().find(|(_, is_asked)| *is_asked) {
                return Err(UsageError(format!("{key}: there is no HPA list; name it with --hpa-csv FILE")).into());
            }
            (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
        }
        spec.check().map_err(|error| UsageError(error.to_string()))?;
        Ok(spec)
    }

    /// Refuses flags that contradict a file of folds. They override the spec file, as flags do.
    fn check_given_folds(&self, fold_count: u32) -> Result<(), UsageError> {
        if let Some(method) = self.0.split_method.filter(|&method| method != SplitMethod::Given) {
            return Err(UsageError(format!("split_method: {method} makes folds, and --folds-csv has them; use one")));
        }
        if let Some(folds) = self.0.folds.filter(|&folds| folds != fold_count) {
            return Err(UsageError(format!("folds: {folds}, but the file of --folds-csv has {fold_count}")));
        }
        Ok(())
    }
}

/// The values in a spec file, which is JSON if its name ends in `.json`, and TOML otherwise.
fn read_file(path: &Path) -> anyhow::Result<SpecOverrides> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let overrides = if is_json { SpecOverrides::from_json(&text) } else { SpecOverrides::from_toml(&text) };
    let problem = match overrides {
        Ok(overrides) => return Ok(overrides),
        Err(error @ SpecFileError::UnknownKey { .. }) => {
            format!("{name}, {error}; `fivefold submit --help` lists the keys")
        }
        Err(error) => format!("{name}, {error}"),
    };
    Err(UsageError(problem).into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use fivefold_common::spec::Loss;

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
        spec_with("spec.toml", line, toml)
    }

    fn spec_with(file_name: &str, line: &str, toml: Option<&str>) -> Result<JobSetSpec, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file_name);
        if let Some(text) = toml {
            std::fs::write(&file, text).unwrap();
        }
        flags(line)?.spec(toml.map(|_| file.as_path()), GIVEN).map_err(|error| format!("{error:#}"))
    }

    const GIVEN: Inputs = Inputs { hpa_list: HpaList::Given, given_folds: None };

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
    fn a_spec_printed_as_json_is_a_spec_file() {
        let printed = JobSetSpec { fold: vec![1], loss: Loss::Focal, learning_rate: 3e-5, ..JobSetSpec::default() };
        let pretty = serde_json::to_string_pretty(&printed).unwrap();
        for json in [printed.to_stored_json(), pretty] {
            assert_eq!(spec_with("spec.json", "", Some(&json)), Ok(printed.clone()));
            let expected = JobSetSpec { fold: vec![0], ..printed.clone() };
            assert_eq!(spec_with("spec.json", "--fold 0", Some(&json)), Ok(expected));
        }
        let message = spec_with("spec.json", "", Some("{\n  \"ttaa\": 3\n}")).unwrap_err();
        assert!(message.contains("spec.json, line 2 (\"ttaa\"): unknown field `ttaa`; `fivefold"), "{message}");
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
        let absent = Inputs { hpa_list: HpaList::Absent, ..GIVEN };
        let absent = |line: &str| flags(line).unwrap().spec(None, absent).map_err(|error| error.to_string());
        let spec = absent("").unwrap();
        assert!(!spec.train_with_hpa && !spec.valid_with_hpa);
        assert!(absent("--valid_with_hpa").unwrap_err().contains("valid_with_hpa: there is no HPA list"));
        assert!(absent("--train_with_hpa=False").is_ok());
    }

    #[test]
    fn given_folds_decide_on_the_split() {
        let given = |line: &str, toml: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("spec.toml");
            std::fs::write(&file, toml.unwrap_or_default()).unwrap();
            let inputs = Inputs { given_folds: Some(4), ..GIVEN };
            flags(line).unwrap().spec(toml.map(|_| file.as_path()), inputs).map_err(|error| error.to_string())
        };
        let expected = JobSetSpec { split_method: SplitMethod::Given, folds: 4, ..JobSetSpec::default() };
        for (line, toml) in
            [("", None), ("--folds=4 --split_method=given", None), ("", Some("folds = 5\nsplit_method = \"mskf\""))]
        {
            assert_eq!(given(line, toml), Ok(expected.clone()), "{line}");
        }
        assert_eq!(given("--folds=5", None).unwrap_err(), "folds: 5, but the file of --folds-csv has 4");
        assert!(given("--split_method=gkf", None).unwrap_err().starts_with("split_method: gkf makes folds"));
        assert!(given("--fold=4", None).unwrap_err().contains("there is no fold 4"));
        assert!(spec("--split_method=given", None).unwrap_err().contains("name it with --folds-csv"));
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
                ("name" | "fold" | "group_column", _) => continue,
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
