//! The coordinator's program: arguments, logs, signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use fivefold_coordinator::listener::{ConnectionLimits, raise_open_files};
use fivefold_coordinator::state_folder::{back_up, check};
use fivefold_coordinator::{Config, Exposure, Tls, run};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::token_command::TokenCommand;

mod log;
mod token_command;

/// Fivefold's coordinator: keeps the queue of fold jobs, hands them to workers, gathers their results.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serving: Option<ServingArguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies a state folder, also while its coordinator runs; a coordinator can be started on the copy
    Backup {
        /// The state folder
        #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
        state: PathBuf,
        /// The copy, a folder that is not there yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Reads all of a state folder and says whether anything is missing or damaged
    Check {
        /// The state folder
        #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
        state: PathBuf,
    },
    /// Makes, lists and revokes the tokens that callers have to show, also while the coordinator runs
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Args)]
struct ServingArguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "FIVEFOLD_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// The folder of the queue and of everything uploaded; it is made where it is not there
    #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
    state: PathBuf,
    /// How long a worker may be silent before its job goes to another one
    #[arg(long, env = "FIVEFOLD_LEASE_SECONDS", value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    lease_seconds: u32,
    /// How long a job may stand still, its worker alive, before it goes to another one; 0 is for ever. It is marked after a quarter
    #[arg(long, env = "FIVEFOLD_STALL_SECONDS", value_name = "N", default_value_t = 1800)]
    stall_seconds: u32,
    /// The certificate to encrypt connections with, PEM, with its chain
    #[arg(long, env = "FIVEFOLD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "FIVEFOLD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Clients have to show a certificate of this authority, PEM
    #[arg(long, env = "FIVEFOLD_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen where other machines can reach it, without encryption or without tokens
    #[arg(long)]
    insecure: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    log::start();
    match arguments.command {
        Some(Command::Backup { state, out }) => {
            let blobs = back_up(&state, &out).await?;
            println!("{} has the queue and {blobs} artifacts", out.display());
            Ok(())
        }
        Some(Command::Check { state }) => {
            let findings = check(&state).await?;
            for problem in &findings.problems {
                println!("{problem}");
            }
            println!("{} artifacts, {} that nothing names", findings.blobs, findings.orphans.len());
            ensure!(findings.problems.is_empty(), "{} has {} problems", state.display(), findings.problems.len());
            Ok(())
        }
        Some(Command::Token(command)) => token_command::run(command).await,
        None => serve(arguments.serving.context("--state is needed; --help says more")?).await,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

async fn serve(arguments: ServingArguments) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = stopping.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        asked.cancel();
    });
    let listener = TcpListener::bind(arguments.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls {
            certificate_pem: read(certificate)?,
            key_pem: read(key)?,
            client_ca_pem: arguments.tls_client_ca.as_deref().map(read).transpose()?,
        }),
        _ => None,
    };
    let exposure = if arguments.insecure { Exposure::Insecure } else { Exposure::Guarded };
    let ServingArguments { state, lease_seconds, stall_seconds, .. } = arguments;
    let connections = ConnectionLimits::for_open_files(raise_open_files());
    let config = Config { lease_seconds, stall_seconds, tls, exposure, connections, ..Config::new(&state) };
    run(config, listener, stopping).await
}
