//! The `fivefold` command.

use std::process::ExitCode;

use fivefold_common::one_line::one_line;

use crate::command_line::CommandLine;
use crate::exit_status::ExitStatus;

mod bar;
mod chosen_results;
mod command_line;
mod commands;
mod connection;
mod console;
mod described_dataset;
mod epoch_metrics;
mod error;
mod event_file;
mod exit_status;
mod image_list;
mod job_set_name;
mod like;
mod list_source;
mod missing_workers;
mod packing;
mod render;
mod report_page;
mod results_folder;
mod segment_uploads;
mod spec_flags;
mod submission_warnings;
mod tensorboard;
mod time_of_day;
mod transfer;
mod weights_file;

fn main() -> ExitCode {
    commands::completions::answer_shell();
    run()
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> ExitCode {
    // Ctrl-C drops the command instead of killing the process, so that temporary files are deleted. The command is polled
    // first: one that never waits, such as `folds`, ends before the signal handler is installed.
    let ended = tokio::select! {
        biased;
        status = commands::run(CommandLine::of_process()) => status,
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| ExitStatus::Interrupted).map_err(Into::into),
    };
    let status = ended.unwrap_or_else(|error| {
        if console::is_closed_pipe(&error) {
            return ExitStatus::Succeeded;
        }
        eprintln!("error: {}{}", one_line(&error::message(&error)), error::advice(&error));
        ExitStatus::of(&error)
    });
    status.into()
}
