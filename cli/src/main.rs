//! The fivefold command: submit, watch and collect five-fold job sets, and the offline tools.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Command, CommandLine};
use crate::connection::Coordinator;
use crate::failure::{Ending, ending_of, is_broken_pipe, one_line};
use crate::output::OutputFormat;

mod arguments;
mod artifacts;
mod connection;
mod doctor;
mod failure;
mod folds;
mod job_sets;
mod json;
mod lists;
mod output;
mod results;
mod spec_flags;
mod submit;
mod summary;
mod synth;
mod table;
mod threshold;
mod watch;
mod workers;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ending = run(CommandLine::parse()).await.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return Ending::Succeeded;
        }
        eprintln!("error: {}", one_line(&format!("{error:#}")));
        ending_of(&error)
    });
    ending.into()
}

async fn run(line: CommandLine) -> anyhow::Result<Ending> {
    let format = if line.json { OutputFormat::Json } else { OutputFormat::Text };
    let coordinator = Coordinator::new(&line.connection)?;
    let work = async {
        match line.command {
            Command::Submit(args) => submit::submit(*args, &coordinator, format).await?,
            Command::Predict(args) => submit::predict(args, &coordinator, format).await?,
            Command::Status(args) => job_sets::status(&args, &coordinator, format).await?,
            Command::Watch(args) => return watch::run(&args, &coordinator, format).await,
            Command::Cancel(args) => job_sets::cancel(&args, &coordinator, format).await?,
            Command::Pause(args) => job_sets::pause(&args, &coordinator, format).await?,
            Command::Resume(args) => job_sets::resume(&args, &coordinator, format).await?,
            Command::Retry(args) => job_sets::retry(&args, &coordinator, format).await?,
            Command::Retrain(args) => job_sets::retrain(&args, &coordinator, format).await?,
            Command::Results(args) => results::run(&args, &coordinator, format).await?,
            Command::Workers => workers::run(&coordinator, format).await?,
            Command::Drain(args) => workers::drain(&args, &coordinator).await?,
            Command::Doctor(args) => return doctor::run(&args, &coordinator, format).await,
            Command::Folds(args) => folds::run(&args, format)?,
            Command::Threshold(args) => threshold::run(&args, format)?,
            Command::Synth(args) => synth::run(&args)?,
            Command::Completions { shell } => print_completions(shell)?,
        }
        Ok(Ending::Succeeded)
    };
    // On Ctrl-C the work is dropped, not killed, so that files that are half there are removed. The work comes first: one
    // that never waits, such as `folds`, ends before Ctrl-C is taken from the shell.
    tokio::select! {
        biased;
        ending = work => ending,
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| Ending::Interrupted).map_err(Into::into),
    }
}

fn print_completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "fivefold", &mut script);
    output::print(&String::from_utf8(script)?)
}
