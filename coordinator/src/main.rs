//! The coordinator's program.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use fivefold_coordinator::state_folder::{back_up, check, check_start};
use fivefold_program::command_line;
use fivefold_program::log::{self, LogFormat};

use crate::serve_command::ServeArguments;
use crate::state_argument::StateArgument;
use crate::token_command::TokenCommand;

mod serve_command;
mod state_argument;
mod token_command;

/// Fivefold's coordinator: queues fold jobs, leases them to workers and collects their results
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<ServeArguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy a state folder, even while its coordinator runs; a coordinator can start on the copy
    Backup {
        #[command(flatten)]
        state: StateArgument,
        /// Folder of the copy; it must not exist
        #[arg(long, value_name = "DIR")]
        out: std::path::PathBuf,
    },
    /// Verify every byte of a state folder
    Check {
        #[command(flatten)]
        state: StateArgument,
        /// Only find what would keep a coordinator from starting on the folder, which need not exist
        #[arg(long)]
        quick: bool,
    },
    /// Create, list and revoke tokens, even while the coordinator runs
    #[command(subcommand)]
    Token(TokenCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Arguments = command_line::parse();
    log::start(arguments.serve.as_ref().map_or(LogFormat::Text, |serve| serve.log_format), None);
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(Command::Backup { state, out }) => {
            let artifacts = back_up(&state.folder, &out).await?;
            println!("copied the queue and {artifacts} artifacts to {}", out.display());
            Ok(())
        }
        Some(Command::Check { state, quick: true }) => check_start(&state.folder).await,
        Some(Command::Check { state, quick: false }) => {
            let findings = check(&state.folder).await?;
            for problem in &findings.problems {
                println!("{problem}");
            }
            println!("{} artifacts, {} unreferenced files", findings.artifacts, findings.unreferenced.len());
            let problems = findings.problems.len();
            ensure!(problems == 0, "{}: {problems} problems", state.folder.display());
            Ok(())
        }
        Some(Command::Token(command)) => token_command::run(command).await,
        None => serve_command::run(arguments.serve.context("--state is required; see --help")?).await,
    }
}
