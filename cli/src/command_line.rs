//! The command line and its help.

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use fivefold_program::command_line::{without_empty_variables, without_variables};

use crate::commands::JobSetArgs;
use crate::commands::compare::CompareArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::control::{PauseArgs, RetrainArgs, RetryArgs};
use crate::commands::curves::CurvesArgs;
use crate::commands::dataset::DatasetArgs;
use crate::commands::datasets::DatasetsArgs;
use crate::commands::delete::DeleteArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::export::ExportArgs;
use crate::commands::extend::ExtendArgs;
use crate::commands::folds::FoldsArgs;
use crate::commands::logs::LogsArgs;
use crate::commands::man::ManArgs;
use crate::commands::pack::PackArgs;
use crate::commands::predict::PredictArgs;
use crate::commands::push::PushArgs;
use crate::commands::report::ReportArgs;
use crate::commands::results::ResultsArgs;
use crate::commands::status::StatusArgs;
use crate::commands::submit::SubmitArgs;
use crate::commands::synth::SynthArgs;
use crate::commands::threshold::ThresholdArgs;
use crate::commands::watch::WatchArgs;
use crate::commands::workers::DrainArgs;
use crate::connection::ConnectionArgs;
use crate::console::Verbosity;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Train one model per cross-validation fold on many machines
#[derive(Debug, Parser)]
#[command(name = "fivefold", version, styles = STYLES, max_term_width = 120, after_help = "\
Examples:
  export FIVEFOLD_COORDINATOR=http://hub:7700
  id=$(fivefold submit --train-csv train.csv --test-csv sample_submission.csv)
  fivefold watch $id && fivefold results $id --out results

Exit codes:
  0  success; the watched job set succeeded   3    the watched job set was cancelled
  1  failure; the watched job set failed      4    no coordinator within --wait-seconds
  2  a flag, setting or id that is wrong      130  Ctrl-C

While the coordinator cannot be reached, commands wait for it. `fivefold COMMAND --help` shows examples.")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON for programs: one document, or one per line for `watch`; times in UTC, folds and epochs counted from 0
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors alone: no notices, warnings and progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print what the command does, and texts in full
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl CommandLine {
    /// The arguments of this process, which ends with a message if they are wrong.
    pub(crate) fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::parsed(&arguments).unwrap_or_else(|error| without_variables_in_usage(error, &arguments).exit())
    }

    /// Parses arguments, of which the first one is the name of the program. Empty environment variables count as unset.
    pub(crate) fn parsed(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut Self::command()))
    }

    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// The same error without the flags that environment variables gave: its usage would name them as if they had to be there.
fn without_variables_in_usage(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    match without_variables(CommandLine::command()).try_get_matches_from(arguments) {
        Err(same) if same.kind() == error.kind() && error.use_stderr() => same,
        _ => error,
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job set and print its id
    #[command(after_help = "\
Stdout has the id alone, for id=$(fivefold submit ...). Every setting is a flag, with underscores or hyphens, and a key of \
the file given with --spec; flags take precedence over the file.

Examples:
  fivefold submit --train-csv train.csv --test-csv sample_submission.csv
  fivefold submit --train-csv train.csv --hpa-csv HPAv18RGBY_wodpl.csv \\
      --model_name=resnet50 --fold=0 --batch_size=32 --tta=10 \\
      --train_batch_per_epoch=800 --valid_batch_per_epoch=448 \\
      --split_method=mskf --weighted_samples=True \\
      --train_with_hpa=True --valid_with_hpa=True
  fivefold submit --train-csv train.csv --spec evening.toml --epochs=2
  fivefold submit --train-csv train.csv --spec results/report.json
  fivefold submit --like @ --learning_rate=3e-4
  fivefold submit --like @ --warm-start @ --image_size=768
  fivefold submit --train-csv train.csv --split_method=sgkf --group_column=patient
  fivefold submit --train-csv train.csv --folds-csv folds.csv
  fivefold submit --train-csv findings.csv --classes=Mass,Nodule,Effusion --label_format=names
  fivefold submit --dataset dataset.toml --epochs=20
  fivefold submit --dataset xrays --epochs=20    # pushed with `fivefold push xrays.toml`

evening.toml:
  name = \"evening\"
  loss = \"soft_f1\"
  fold = [0, 1]")]
    Submit(Box<SubmitArgs>),
    /// List the newest job sets, or show one with its jobs
    #[command(
        after_help = "Examples:\n  fivefold status\n  fivefold status js-abcdefgh\n  fivefold status js-abcdefgh --json | jq .macro_f1"
    )]
    Status(StatusArgs),
    /// Follow a job set until it ends
    #[command(after_help = "\
On a terminal, shows each fold with its epoch, best F1 (or other objective), curve and remaining time, those that run first; \
elsewhere, prints a line per event. `~40 min` is about 40 minutes, `<40 min` at most 40, as the fold may stop early. The watch survives restarts \
of the coordinator. Ctrl-C ends the watch, not the job set.

Exit codes: 0 succeeded, 1 failed, 2 no such job set, 3 cancelled, 4 no coordinator within --wait-seconds, 130 Ctrl-C.

Examples:
  fivefold watch js-abcdefgh
  fivefold watch @ --tensorboard runs    # then: tensorboard --logdir runs
  fivefold watch js-abcdefgh > watch.log && fivefold results js-abcdefgh --out results")]
    Watch(WatchArgs),
    /// Print what workers said during the attempts of a job set
    #[command(after_help = "\
The coordinator keeps the newest 10 attempts of each job, and of each attempt the newest 2,000 lines. Times are those of the \
worker's clock.

Examples:
  fivefold logs js-abcdefgh
  fivefold logs @ --fold 2 -f
  fivefold logs @ --json | jq 'select(.level != \"info\")'")]
    Logs(LogsArgs),
    /// Draw the losses and the objective of folds by epoch
    #[command(after_help = "\
The solid line is the validation, the dotted one the training. Without a terminal, the charts are plain text of 80 columns; \
--json prints the epochs.

Examples:
  fivefold curves js-abcdefgh
  fivefold curves @ --fold 2")]
    Curves(CurvesArgs),
    /// Download the results of a job set: oof.csv, report.json, report.html, submission.csv
    #[command(after_help = "\
Whatever is trained can be fetched at any time: while folds are missing, oof.csv and report.json are of the other ones, and \
the report is marked as partial.

results.json in the folder names the job set and the files. A folder with the results of another job set is refused unless \
--replace is given; other files are never overwritten or deleted. Files are checked by their digests, and an interrupted \
download leaves no partial file.

Examples:
  fivefold results js-abcdefgh --out results
  fivefold results js-abcdefgh --out results --checkpoints --replace
  fivefold results js-abcdefgh --out results --tensorboard runs")]
    Results(ResultsArgs),
    /// Write the report of a job set as one HTML file: scores, charts, worst mistakes
    #[command(after_help = "\
The file needs no network and can be printed. `fivefold results` writes the same page, without pictures. Whatever is trained can \
be reported at any time; while folds are missing, the report is marked as partial.

Examples:
  fivefold report @
  fivefold report js-abcdefgh --out evening.html --data /data/xrays")]
    Report(ReportArgs),
    /// Compare job sets: figures, settings that differ, and a paired test of macro F1
    #[command(after_help = "\
The test exchanges the predictions of each image at random, 2,000 times: p is the share of exchanges that lead to a difference as \
large. A small p means that the difference is hardly an accident of these images; it says nothing about other seeds. Images that \
only one of the job sets has are left out.

Examples:
  fivefold compare js-abcdefgh js-mnopqrst
  fivefold compare js-abcdefgh @ --out comparison.html")]
    Compare(CompareArgs),
    /// Write the models of a job set as ONNX files, for programs without PyTorch
    #[command(after_help = "\
Whatever is trained can be exported at any time. Input: images, float32, N x 3 x H x W, red, green and blue, from 0 to 1; a \
normalisation of the pixels is part of the model. Outputs: logits and scores, float32, N x classes. Job set, fold, classes and \
the threshold are in the file's metadata. `fivefold results --checkpoints` has the same models as safetensors.

Examples:
  fivefold export js-abcdefgh --onnx models
  fivefold export js-abcdefgh --onnx models --fold 0 --replace")]
    Export(ExportArgs),
    /// Predict a test list with the models of a job set, or with some of them
    #[command(after_help = "\
Submissions of other lists and folds stay: `fivefold results ID --submission 1` downloads the first one.

Examples:
  fivefold predict js-abcdefgh --test-csv sample_submission.csv
  fivefold predict js-abcdefgh --folds 0,2")]
    Predict(PredictArgs),
    /// End a job set with the folds that are trained: the others are cancelled, threshold and prediction follow
    #[command(after_help = "\
The report is marked as partial and says why folds are missing. `fivefold retry ID` trains the other folds after all.

Example:
  fivefold finish js-abcdefgh")]
    Finish(JobSetArgs),
    /// Cancel the unfinished jobs of a job set
    #[command(after_help = "Example:\n  fivefold cancel js-abcdefgh")]
    Cancel(JobSetArgs),
    /// Pause a job set: its running jobs save a checkpoint and return to the queue
    #[command(after_help = "\
With --at the coordinator pauses the job set at that time, also when this terminal is closed by then; `fivefold resume ID` \
drops that.

Examples:
  fivefold pause js-abcdefgh
  fivefold pause js-abcdefgh --at 07:00")]
    Pause(PauseArgs),
    /// Resume a paused job set
    #[command(after_help = "Example:\n  fivefold resume js-abcdefgh")]
    Resume(JobSetArgs),
    /// Queue failed and cancelled jobs again, of all folds or of one
    #[command(after_help = "Examples:\n  fivefold retry js-abcdefgh\n  fivefold retry js-abcdefgh --fold 2")]
    Retry(RetryArgs),
    /// Train a finished fold again, for a new fit and a new submission
    #[command(after_help = "\
The fold is trained from the start, for instance because its machine had the wrong images. The other folds keep their \
results, and earlier fits stay: `fivefold results ID --fit 1 --checkpoints` downloads the first one with its models. If the \
job set is cancelled, its last fit is what `fivefold results` downloads.

Example:
  fivefold retrain js-abcdefgh --fold 2")]
    Retrain(RetrainArgs),
    /// Train finished folds for more epochs, for a new fit and a new submission
    #[command(after_help = "\
The folds go on with optimiser and learning rate as they were: on the CPU the result has the bits of a training that had as \
many epochs from the start. That needs a job set submitted with --keep_optimizer, and a learning rate that does not depend on \
the number of epochs, as it does with the cosine schedule. Folds that stopped early stay as they are. Earlier fits stay too.

Examples:
  fivefold extend js-abcdefgh --epochs 40
  fivefold extend js-abcdefgh --epochs 40 --fold 0,2")]
    Extend(ExtendArgs),
    /// Delete job sets that have ended, with their models and results
    #[command(after_help = "\
Files that other job sets need stay. On a terminal the command asks first. A job set that has not ended is refused: cancel it \
first. Their space is free after an hour. `fivefold-coordinator --retain-days N` deletes old job sets by itself.

Examples:
  fivefold delete js-abcdefgh
  fivefold delete --yes js-abcdefgh js-mnopqrst")]
    Delete(DeleteArgs),
    /// Pack the images of a data set and upload them, so that workers need no folder of images
    #[command(after_help = "\
Uploads the lists, the settings and the images of a dataset.toml (see `fivefold dataset check --help`), decoded and compressed \
without loss, and stores them under a name. `fivefold submit --dataset NAME` trains on them, with workers that were started \
with nothing but --coordinator; results are the same, bit for bit. Only what the coordinator lacks is uploaded, and an \
interrupted push goes on where it was. Images whose files were changed since are decoded again.

Examples:
  fivefold push xrays.toml --data /data/xrays
  fivefold push dataset.toml --name xrays --pack /data/pack
  fivefold submit --dataset xrays")]
    Push(PushArgs),
    /// List the pushed data sets, or delete some
    #[command(after_help = "\
Job sets that were submitted with a deleted data set keep its lists and images.

Examples:
  fivefold datasets
  fivefold datasets --json | jq -r '.data_sets[].name'
  fivefold datasets delete xrays")]
    Datasets(DatasetsArgs),
    /// Show what uses the coordinator's disk, and what can be freed
    #[command(after_help = "\
Sizes are those of all files that a job set needs; UNSHARED is what deleting it would free. The coordinator warns when less \
than a tenth of its disk is free, and refuses job sets for which there is no room beside the folds in training.

Example:
  fivefold disk")]
    Disk,
    /// List the workers
    #[command(after_help = "Example:\n  fivefold workers --json | jq -r '.workers[].name'")]
    Workers,
    /// Take a worker out of service: its job saves a checkpoint and returns to the queue
    #[command(after_help = "Examples:\n  fivefold drain gpu1-cuda0\n  fivefold drain gpu1-cuda0 --undo")]
    Drain(DrainArgs),
    /// Check this machine: coordinator, token, clock, libtorch, cards, images, disk space, open files
    #[command(after_help = "\
Runs the checks of fivefold-worker itself. The exit status is 1 if a finding is bad.

Examples:
  fivefold doctor
  fivefold doctor --data data
  fivefold doctor --data data --train-csv train.csv --test-csv sample_submission.csv --image-size 512")]
    Doctor(DoctorArgs),
    /// Check a data set before anything is trained on it, without a coordinator
    #[command(after_help = "\
Reads the lists and every image that the file describes: rows, classes with their rows, formats, sizes, images of the same \
bytes, and the first problems, each with its file and row. The exit status is 1 if there are problems.

dataset.toml has the lists, and every setting of `fivefold submit` under its name; [labels], [images] and [training] group \
settings. Paths are relative to the file, those of images to --data:
  preset = \"generic\"
  classes = [\"Mass\", \"Nodule\", \"Effusion\"]
  [lists]
  train = \"train.csv\"
  extra = { file = \"public.csv\", use = \"training\" }
  test = \"test.csv\"
  [labels]
  label_format = \"names\"
  [images]
  image_files = \"images/{id}.jpg\"

Example:
  fivefold dataset check dataset.toml --data /data/xrays")]
    Dataset(DatasetArgs),
    /// Decode the images of a data set once, into a pack, without a coordinator
    #[command(after_help = "\
A pack has what decoding and resizing give, bit for bit, compressed, in files of some 64 MB that are called by the digest of \
their content. Ctrl-C may stop the command: the next one goes on. Images whose files were changed since are decoded again.
A worker reads a pack that it gets as its --cache, from images in the folder that they were packed from.

Examples:
  fivefold pack dataset.toml --data /data/xrays --size 320 --out /data/pack
  fivefold pack --data data --train-csv train.csv --hpa-csv hpa.csv --size 512 --out pack
  fivefold pack info pack
  fivefold pack verify pack")]
    Pack(Box<PackArgs>),
    /// Split a list into folds, without a coordinator
    #[command(after_help = "\
Row for row and for the same seed, mskf equals iterative-stratification 0.1.9; kfold, skf, gkf and sgkf equal KFold, \
StratifiedKFold, GroupKFold and StratifiedGroupKFold of scikit-learn 1.7.2. For skf and sgkf, all labels of a row together \
are its class. `fivefold submit --folds-csv` takes the file that is written.

Examples:
  fivefold folds --csv train.csv --folds 5 --seed 42 --out folds.csv
  fivefold folds --csv train.csv --method sgkf --group-column patient --out folds.csv
  fivefold folds --dataset dataset.toml --out folds.csv")]
    Folds(FoldsArgs),
    /// Fit the threshold on an out-of-fold table, without a coordinator
    #[command(after_help = "\
The threshold, one for all labels, is the exact maximum of macro F1; with --threshold=per_class each label has the exact \
maximum of its own F1. Both have a cross-fitted score beside them: each fold at the threshold of the others. The report has \
all metrics.

Examples:
  fivefold threshold --oof results/oof.csv --empty-rows argmax --out report.json
  fivefold threshold --oof results/oof.csv --threshold=per_class --out report.json
  fivefold threshold --oof results/oof.csv --task=multiclass --out report.json")]
    Threshold(ThresholdArgs),
    /// Draw a synthetic data set in the layout of the real one
    #[command(after_help = "\
The images show cells with nuclei in blue, microtubules in red, and the labelled protein in green.

Example:
  fivefold synth --out data --train 1000 --hpa 500 --test 200 --size 128 --seed 1")]
    Synth(SynthArgs),
    /// Write the man pages of the command
    #[command(after_help = "Example:\n  fivefold man --out ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print the script by which a shell completes commands, flags, ids and workers
    #[command(after_help = "\
Ids and workers are those of the coordinator in FIVEFOLD_COORDINATOR.

Examples:
  source <(fivefold completions bash)
  fivefold completions bash > ~/.local/share/bash-completion/completions/fivefold
  fivefold completions zsh > ~/.zfunc/_fivefold")]
    Completions(CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    /// Flags that take a value, with the commands that they are of.
    fn flags() -> Vec<(Vec<String>, Arg)> {
        fn add(command: &clap::Command, path: &[String], found: &mut Vec<(Vec<String>, Arg)>) {
            let flags = command.get_arguments().filter(|arg| arg.get_long().is_some());
            let valued = flags.filter(|arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append));
            found.extend(valued.map(|arg| (path.to_vec(), arg.clone())));
            for inner in command.get_subcommands() {
                add(inner, &[path, &[inner.get_name().to_owned()]].concat(), found);
            }
        }
        let mut found = Vec::new();
        add(&CommandLine::command(), &["fivefold".to_owned()], &mut found);
        found
    }

    #[test]
    fn no_flag_refuses_a_value_in_the_words_of_the_language() {
        let flags = flags();
        assert!(flags.len() > 100, "{}", flags.len());
        for (path, flag) in flags {
            for value in ["abc", "-", "1.5", "99999999999999999999"] {
                let mut words: Vec<OsString> = path.iter().map(Into::into).collect();
                words.push(format!("--{}={value}", flag.get_long().unwrap()).into());
                let Err(error) = CommandLine::parsed(&words) else { continue };
                let message = error.to_string();
                for internal in ["invalid digit", "found in string", "cannot parse", "number too large", "is not in "] {
                    assert!(!message.contains(internal), "{message}");
                }
            }
        }
    }

    #[test]
    fn every_command_has_an_example() {
        for command in CommandLine::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("fivefold {}", command.get_name())), "{}", command.get_name());
        }
    }
}
