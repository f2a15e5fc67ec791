//! The keys of a job set's spec as flags of `submit`, made from the table of keys in `fivefold_common::spec`.

use std::path::Path;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use fivefold_common::UnknownWord;
use fivefold_common::dataset_file::DatasetFile;
use fivefold_common::spec::{JobSetSpec, KEYS, Key, Preset, SpecFileError, SpecOverrides, SplitMethod, Syntax, Task};
use fivefold_common::threshold::EmptyRows;

use crate::error::UsageError;

/// The values that flags give to keys of the spec.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SpecFlags(SpecOverrides);

impl Args for SpecFlags {
    fn augment_args(command: Command) -> Command {
        let mut keys: Vec<&Key> = KEYS.iter().collect();
        keys.sort_by_key(|key| key.group);
        command.args(keys.into_iter().map(flag)).arg(preset_flag())
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
        if let Some(word) = matches.get_one::<String>(PRESET) {
            let preset = word
                .parse()
                .map_err(|error: UnknownWord| clap::Error::raw(ErrorKind::ValueValidation, error.to_string()))?;
            self.0.preset = Some(preset);
        }
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

/// The flag of the preset.
const PRESET: &str = "preset";

fn preset_flag() -> Arg {
    let words = Preset::ALL.iter().map(|preset| preset.word());
    Arg::new(PRESET)
        .long(PRESET)
        .value_name("PRESET")
        .help(
            "Settings that belong together, over which all other settings take precedence: hpa has the defaults, spytensor \
             four channels with SGD in steps, generic RGB images of any shape [default: hpa]",
        )
        .value_parser(PossibleValuesParser::new(words))
        .help_heading("Lists and files")
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

/// The parser of `task` for commands that have no other key of the spec.
pub(crate) fn task_parser() -> impl clap::builder::TypedValueParser<Value = Task> {
    PossibleValuesParser::new(Task::ALL.iter().map(|choice| choice.word())).try_map(|word| word.parse::<Task>())
}

/// Whether the job set has an HPA list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HpaList {
    Given,
    Absent,
}

/// Folds that were made elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folds {
    None,
    /// Those of a file.
    File {
        count: u32,
    },
    /// Those of the job set that the new one is like, for the split method `given`.
    Like,
}

/// What a job set's spec is made from beside flags and file.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// What data set, file and flags change.
    pub(crate) base: JobSetSpec,
    /// The settings of the data set.
    pub(crate) dataset: SpecOverrides,
    pub(crate) hpa_list: HpaList,
    pub(crate) folds: Folds,
}

impl SpecFlags {
    /// The checked spec: the base, overridden by the data set, by the file, and by these flags. Without an HPA list the two
    /// `…_with_hpa` are false, and setting one to true is an error. Given folds decide on `split_method` and `folds`.
    pub(crate) fn spec(self, file: Option<&Path>, inputs: Inputs) -> anyhow::Result<JobSetSpec> {
        let Inputs { base: mut spec, dataset, hpa_list, folds } = inputs;
        let in_file = file.map(read_spec_file).transpose()?.unwrap_or_default();
        let layers = [&self.0, &in_file, &dataset];
        let asked = |key: fn(&SpecOverrides) -> Option<bool>| layers.into_iter().find_map(key) == Some(true);
        let asked_for_hpa = [
            ("train_with_hpa", asked(|layer| layer.train_with_hpa)),
            ("valid_with_hpa", asked(|layer| layer.valid_with_hpa)),
        ];
        if let Folds::File { count } = folds {
            self.check_given_folds(count)?;
        }
        SpecOverrides::apply_layers(vec![dataset, in_file, self.0], &mut spec)
            .map_err(|error| UsageError(error.to_string()))?;
        match folds {
            Folds::File { count } => (spec.split_method, spec.folds) = (SplitMethod::Given, count),
            Folds::None if spec.split_method == SplitMethod::Given => {
                let problem = "split_method: given takes the folds from a file; name it with --folds-csv FILE";
                return Err(UsageError(problem.to_owned()).into());
            }
            Folds::None | Folds::Like => {}
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

/// What a `dataset.toml` says. Its paths are relative to the file.
pub(crate) fn read_dataset_file(path: &Path) -> anyhow::Result<DatasetFile> {
    read_dataset_text(path).map(|(dataset, _)| dataset)
}

/// The same, and the text of the file.
pub(crate) fn read_dataset_text(path: &Path) -> anyhow::Result<(DatasetFile, String)> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let dataset = DatasetFile::parse(&text).map_err(|error| UsageError(format!("{name}, {error}")))?;
    Ok((dataset.within(path.parent().unwrap_or(Path::new(""))), text))
}

/// The values in a spec file, see [`SpecOverrides::from_file_text`].
pub(crate) fn read_spec_file(path: &Path) -> anyhow::Result<SpecOverrides> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let problem = match SpecOverrides::from_file_text(path, &text) {
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
    use fivefold_common::spec::{Loss, LrSchedule, Optimizer};
    use fivefold_proto::convert::spec_to_wire;
    use fivefold_proto::v1::JobSet;
    use serde_json::json;

    use super::*;
    use crate::render::json::job_set;

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
        flags(line)?.spec(toml.map(|_| file.as_path()), given()).map_err(|error| format!("{error:#}"))
    }

    fn given() -> Inputs {
        Inputs {
            base: JobSetSpec::default(),
            dataset: SpecOverrides::default(),
            hpa_list: HpaList::Given,
            folds: Folds::None,
        }
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
    fn every_key_of_a_printed_spec_is_read_back() {
        // With SGD, so that `nesterov` may be true, and with steps, so that there may be a warm-up.
        let (optimizer, lr_schedule) = (Optimizer::Sgd, LrSchedule::Step);
        let multilabel = JobSetSpec { optimizer, lr_schedule, ..JobSetSpec::default() };
        // Some keys need another loss.
        let multiclass = JobSetSpec { task: Task::Multiclass, loss: Loss::CrossEntropy, ..multilabel.clone() };
        let folder = tempfile::tempdir().unwrap();
        let read = |file_name: &str, document: &str| {
            let file = folder.path().join(file_name);
            std::fs::write(&file, document).unwrap();
            SpecFlags::default().spec(Some(&file), Inputs { folds: Folds::Like, ..given() })
        };
        for key in KEYS {
            let words = if let Syntax::Word(words) = key.syntax { words() } else { Vec::new() };
            let texts = [
                "18446744073709551615",
                "0.3000000000000000444",
                "1",
                "2",
                "8",
                "128",
                "0",
                "true",
                "false",
                "cat,dog",
                "{id}.png",
                "balanced",
                "quarter_turn",
            ];
            let tries: Vec<(&JobSetSpec, &str)> =
                texts.into_iter().chain(words).flat_map(|text| [(&multilabel, text), (&multiclass, text)]).collect();
            let mut others = tries.into_iter().filter_map(|(base, text)| {
                let (mut overrides, mut spec) = (SpecOverrides::default(), base.clone());
                key.set(&mut overrides, text).ok()?;
                overrides.apply_to(&mut spec);
                (spec != *base && spec.check().is_ok()).then_some(spec)
            });
            let spec = others.next().unwrap_or_else(|| panic!("{}", key.name));
            let status = job_set(&JobSet { spec: Some(spec_to_wire(&spec)), ..JobSet::default() });
            let report = json!({ "job_set": "js-abcdefgh", "made_by": { "spec": spec }, "rows": 3 });
            for document in [status["spec"].to_string(), format!("\n {:#}", status["spec"]), status.to_string()] {
                assert_eq!(read("printed", &document).unwrap(), spec, "{}: {document}", key.name);
            }
            assert_eq!(read("report.json", &report.to_string()).unwrap(), spec, "{}", key.name);
        }
        let misspelt = json!({ "spec": { "ttaa": 3 } }).to_string();
        let message = read("status", &misspelt).unwrap_err().to_string();
        assert!(message.contains("unknown field `ttaa`"), "{message}");
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
            (
                "",
                Some("batch_size = \"many\""),
                "line 1 (batch_size = \"many\"): expected a whole number below 2^32, found the text \"many\"",
            ),
            ("", Some("epochs = 0"), "epochs: 0"),
            ("", Some("epochs ="), "line 1 (epochs =)"),
        ] {
            let message = spec(line, toml).unwrap_err();
            assert!(message.contains(wanted), "{line} {toml:?}: {message}");
        }
    }

    #[test]
    fn flags_override_file_and_data_set_and_all_override_the_preset() {
        let dataset =
            SpecOverrides::from_toml("preset = \"generic\"\nimage_files = \"{id}\"\ntta = 3\nepochs = 4").unwrap();
        let spec = |line: &str| {
            let inputs = Inputs { dataset: dataset.clone(), ..given() };
            flags(line).unwrap().spec(None, inputs).map_err(|error| error.to_string())
        };
        let merged = spec("--epochs=5").unwrap();
        assert_eq!((merged.tta, merged.epochs, merged.image_size), (3, 5, 224));
        let merged = spec("--preset=hpa --channels=grey").unwrap();
        assert_eq!((merged.tta, merged.image_size, merged.channel_count()), (3, 512, 1));
        let message = flags("--preset=generic").unwrap().spec(None, given()).unwrap_err().to_string();
        assert!(message.contains("image_files: the preset generic needs it"), "{message}");
        assert!(flags("--preset=mine").unwrap_err().contains("[possible values: hpa, spytensor, generic]"));
    }

    #[test]
    fn without_an_hpa_list_nothing_can_be_taken_from_it() {
        let absent = |line: &str| {
            let inputs = Inputs { hpa_list: HpaList::Absent, ..given() };
            flags(line).unwrap().spec(None, inputs).map_err(|error| error.to_string())
        };
        let spec = absent("").unwrap();
        assert!(!spec.train_with_hpa && !spec.valid_with_hpa);
        assert!(absent("--valid_with_hpa").unwrap_err().contains("valid_with_hpa: there is no HPA list"));
        assert!(absent("--train_with_hpa=False").is_ok());
    }

    #[test]
    fn given_folds_decide_on_the_split() {
        let with_file = |line: &str, toml: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("spec.toml");
            std::fs::write(&file, toml.unwrap_or_default()).unwrap();
            let inputs = Inputs { folds: Folds::File { count: 4 }, ..given() };
            flags(line).unwrap().spec(toml.map(|_| file.as_path()), inputs).map_err(|error| error.to_string())
        };
        let expected = JobSetSpec { split_method: SplitMethod::Given, folds: 4, ..JobSetSpec::default() };
        for (line, toml) in
            [("", None), ("--folds=4 --split_method=given", None), ("", Some("folds = 5\nsplit_method = \"mskf\""))]
        {
            assert_eq!(with_file(line, toml), Ok(expected.clone()), "{line}");
        }
        assert_eq!(with_file("--folds=5", None).unwrap_err(), "folds: 5, but the file of --folds-csv has 4");
        assert!(with_file("--split_method=gkf", None).unwrap_err().starts_with("split_method: gkf makes folds"));
        assert!(with_file("--fold=4", None).unwrap_err().contains("there is no fold 4"));
        assert!(spec("--split_method=given", None).unwrap_err().contains("name it with --folds-csv"));
    }

    #[test]
    fn flags_and_file_change_the_settings_of_another_job_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spec.toml");
        std::fs::write(&file, "tta = 4\nepochs = 7\n").unwrap();
        let base =
            JobSetSpec { epochs: 3, tta: 2, folds: 3, split_method: SplitMethod::Given, ..JobSetSpec::default() };
        let like = |line: &str, hpa_list| {
            let inputs = Inputs { base: base.clone(), dataset: SpecOverrides::default(), hpa_list, folds: Folds::Like };
            flags(line).unwrap().spec(Some(&file), inputs).map_err(|error| error.to_string())
        };
        let expected = JobSetSpec { epochs: 9, tta: 4, learning_rate: 3e-4, ..base.clone() };
        assert_eq!(like("--learning_rate=3e-4 --epochs=9", HpaList::Given), Ok(expected));
        assert!(like("--fold=3", HpaList::Given).unwrap_err().contains("there is no fold 3"));
        let absent = like("", HpaList::Absent).unwrap();
        assert!(!absent.train_with_hpa && !absent.valid_with_hpa);
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
                ("name" | "fold" | "classes" | "group_column" | "image_files" | "channels" | "augmentations", _) => {
                    continue;
                }
                ("train_with_hpa" | "valid_with_hpa", _) => assert_eq!(shown, "true with --hpa-csv"),
                (_, toml::Value::Float(number)) => assert_eq!(shown.parse(), Ok(*number), "{key}"),
                (_, toml::Value::String(word)) => assert_eq!(shown, word, "{key}"),
                _ => assert_eq!(shown, value.to_string(), "{key}"),
            }
            if key.contains('_') {
                assert_eq!(flag.get_all_aliases().unwrap(), [key.replace('_', "-")], "{key}");
            }
        }
        // The preset is a flag, and not a key.
        assert_eq!(command.get_arguments().filter(|flag| !flag.is_global_set()).count(), defaults.len() + 1);
    }
}
