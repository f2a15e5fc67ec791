//! The `fivefold` command.

use std::process::ExitCode;

use clap::Parser as _;
use fivefold_common::one_line::one_line;

use crate::command_line::CommandLine;
use crate::error::advice;
use crate::exit_status::ExitStatus;
use crate::stdout::OutputFormat;

mod command_line;
mod commands;
mod connection;
mod error;
mod exit_status;
mod image_list;
mod render;
mod spec_flags;
mod stdout;
mod transfer;
mod weights_file;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let status = run(CommandLine::parse()).await.unwrap_or_else(|error| {
        if stdout::is_closed_pipe(&error) {
            return ExitStatus::Succeeded;
        }
        eprintln!("error: {}{}", one_line(&format!("{error:#}")), advice(&error));
        ExitStatus::of(&error)
    });
    status.into()
}

async fn run(line: CommandLine) -> anyhow::Result<ExitStatus> {
    let format = if line.json { OutputFormat::Json } else { OutputFormat::Text };
    let coordinator = line.connection.connection()?;
    // Ctrl-C drops the command instead of killing the process, so that temporary files are deleted. The command is polled
    // first: one that never waits, such as `folds`, ends before the signal handler is installed.
    tokio::select! {
        biased;
        status = commands::run(line.command, &coordinator, format) => status,
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| ExitStatus::Interrupted).map_err(Into::into),
    }
}
