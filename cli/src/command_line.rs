//! The command line: what there is to say, and the help that teaches it.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::commands::JobSetArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::control::{RetrainArgs, RetryArgs};
use crate::commands::doctor::DoctorArgs;
use crate::commands::folds::FoldsArgs;
use crate::commands::predict::PredictArgs;
use crate::commands::results::ResultsArgs;
use crate::commands::status::StatusArgs;
use crate::commands::submit::SubmitArgs;
use crate::commands::synth::SynthArgs;
use crate::commands::threshold::ThresholdArgs;
use crate::commands::workers::DrainArgs;
use crate::connection::ConnectionArgs;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Train one model per cross-validation fold on many machines: submit, watch and collect.
#[derive(Debug, Parser)]
#[command(name = "fivefold", version, styles = STYLES, max_term_width = 120, after_help = "\
Examples:
  export FIVEFOLD_COORDINATOR=http://hub:7700
  id=$(fivefold submit --train-csv train.csv --test-csv sample_submission.csv)
  fivefold watch $id && fivefold results $id --out results

Exit codes:
  0  done; a watched job set succeeded        3  the watched job set was cancelled
  1  it failed; a watched job set failed      4  no coordinator within --wait-seconds
  2  the command or a value cannot be         130  Ctrl-C

A coordinator that is not there is waited for. `fivefold COMMAND --help` has an example of each command.")]
pub(crate) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON for programs: one document, or one a line for `watch`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job set; prints its id
    #[command(after_help = "\
Prints the id alone on stdout, and words to stderr, so that id=$(fivefold submit …) works. Every setting can be a flag, \
with underscores or hyphens, or a key of a TOML file (--spec); flags override the file, and what neither names is the \
recipe's.

Examples:
  fivefold submit --train-csv train.csv --test-csv sample_submission.csv
  fivefold submit --train-csv train.csv --hpa-csv HPAv18RGBY_wodpl.csv \\
      --model_name=resnet50 --fold=0 --batch_size=32 --tta=10 \\
      --train_batch_per_epoch=800 --valid_batch_per_epoch=448 \\
      --split_method=mskf --weighted_samples=True \\
      --train_with_hpa=True --valid_with_hpa=True
  fivefold submit --train-csv train.csv --spec evening.toml --epochs=2

where evening.toml is
  name = \"evening\"
  loss = \"soft_f1\"
  fold = [0, 1]")]
    Submit(Box<SubmitArgs>),
    /// Show the newest job sets, or one with its jobs
    #[command(
        after_help = "Examples:\n  fivefold status\n  fivefold status js-abcdefgh\n  fivefold status js-abcdefgh --json | jq .macro_f1"
    )]
    Status(StatusArgs),
    /// Follow a job set until it ends; the exit code says how
    #[command(after_help = "\
On a terminal there is a live bar per fold with its loss and F1, elsewhere a line per event. A coordinator that goes away is \
waited for. Ctrl-C ends the watching only: the job set goes on.

Exit codes: 0 succeeded, 1 failed, 2 no such job set, 3 cancelled, 4 no coordinator within --wait-seconds, 130 Ctrl-C.

Examples:
  fivefold watch js-abcdefgh
  fivefold watch js-abcdefgh > watch.log && fivefold results js-abcdefgh --out results")]
    Watch(JobSetArgs),
    /// Fetch the files of a job set: oof.csv, report.json, submission.csv
    #[command(
        after_help = "Each file comes whole and checked, or not at all.\n\nExample:\n  fivefold results js-abcdefgh --out results"
    )]
    Results(ResultsArgs),
    /// Predict a test list with the trained folds of a job set
    #[command(after_help = "Example:\n  fivefold predict js-abcdefgh --test-csv sample_submission.csv")]
    Predict(PredictArgs),
    /// Cancel all jobs of a job set that have not ended
    #[command(after_help = "Example:\n  fivefold cancel js-abcdefgh")]
    Cancel(JobSetArgs),
    /// Free the machines for a while: running folds are saved and given back, and none is started
    #[command(after_help = "Example:\n  fivefold pause js-abcdefgh")]
    Pause(JobSetArgs),
    /// Go on with a paused job set
    #[command(after_help = "Example:\n  fivefold resume js-abcdefgh")]
    Resume(JobSetArgs),
    /// Queue the failed and cancelled jobs of a job set again, or those of one fold
    #[command(after_help = "Examples:\n  fivefold retry js-abcdefgh\n  fivefold retry js-abcdefgh --fold 2")]
    Retry(RetryArgs),
    /// Train a fold again that has its result: a new fit and a new submission follow
    #[command(after_help = "\
The fold is trained from its beginning, for instance because its machine turned out to have had other images. The other folds \
keep their results. What was fitted before stays: `fivefold results ID --fit 1` fetches the first fit.

Example:
  fivefold retrain js-abcdefgh --fold 2")]
    Retrain(RetrainArgs),
    /// Show the workers that the coordinator knows
    #[command(after_help = "Example:\n  fivefold workers --json | jq -r '.workers[].name'")]
    Workers,
    /// Give a worker no more jobs; the one that it holds is saved and given back
    #[command(after_help = "Examples:\n  fivefold drain gpu1-cuda0\n  fivefold drain gpu1-cuda0 --undo")]
    Drain(DrainArgs),
    /// Look for what would keep this machine from working: coordinator, token, clock, libtorch, cards, images, room
    #[command(after_help = "Example:\n  fivefold doctor --data data")]
    Doctor(DoctorArgs),
    /// Split a list into folds on this machine
    #[command(after_help = "\
Multilabel-stratified, row for row as iterative-stratification 0.1.9 does it. Needs no coordinator.

Example:
  fivefold folds --csv train.csv --folds 5 --seed 42 --out folds.csv")]
    Folds(FoldsArgs),
    /// Fit the threshold on an out-of-fold table on this machine
    #[command(after_help = "\
The one threshold for all labels that maximises macro F1, exactly. Needs no coordinator.

Example:
  fivefold threshold --oof results/oof.csv --empty-rows argmax --out report.json")]
    Threshold(ThresholdArgs),
    /// Draw a synthetic data set in the real one's layout
    #[command(after_help = "\
Cells that look like cells: nuclei in blue, microtubules in red, the protein in green where its labels say.

Example:
  fivefold synth --out data --train 1000 --hpa 500 --test 200 --size 128 --seed 1")]
    Synth(SynthArgs),
    /// Print the completions of a shell
    #[command(
        after_help = "Example:\n  fivefold completions bash > ~/.local/share/bash-completion/completions/fivefold"
    )]
    Completions(CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in CommandLine::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("fivefold {}", command.get_name())), "{}", command.get_name());
        }
    }
}
