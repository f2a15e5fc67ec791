//! `fivefold completions`, and what shells ask for while a line is completed.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory as _};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use fivefold_client::Connection;
use fivefold_common::one_line::one_line;
use fivefold_proto::v1::{JobSet, ListDataSetsRequest, ListJobSetsRequest, ListWorkersRequest};

use crate::command_line::CommandLine;
use crate::console::print;
use crate::render::job_set::name_and_state;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_parser = PossibleValuesParser::new(Shells::builtins().names().collect::<Vec<_>>()))]
    shell: String,
}

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "FIVEFOLD_COMPLETE";
/// How long a shell waits for a coordinator.
const PATIENCE: Duration = Duration::from_secs(2);
/// Job sets in a list.
const NEWEST: u32 = 50;

/// Prints the script by which a shell asks this program for completions.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell).context("the shell is not supported")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "fivefold", "fivefold", "fivefold", &mut script)?;
    print(&String::from_utf8(script)?)
}

/// Answers a shell, if it is one that asks, and ends the process.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(CommandLine::command).var(VARIABLE).complete();
}

/// The newest job sets, with their names and states.
pub(crate) fn job_set_ids() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let request = ListJobSetsRequest { page_size: NEWEST, page_token: String::new() };
        let sets = ask(async |coordinator| {
            coordinator.call(request, async |c, r| c.job_sets().list_job_sets(r).await).await.ok()
        });
        let candidate = |set: &JobSet| CompletionCandidate::new(&set.id).help(Some(name_and_state(set).into()));
        sets.map_or_else(Vec::new, |answer| answer.job_sets.iter().map(candidate).collect())
    })
}

/// The pushed data sets.
pub(crate) fn data_set_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let data_sets = ask(async |coordinator| {
            coordinator.call(ListDataSetsRequest {}, async |c, r| c.data_sets().list_data_sets(r).await).await.ok()
        });
        let data_sets = data_sets.map_or_else(Vec::new, |answer| answer.data_sets);
        data_sets.into_iter().map(|data_set| CompletionCandidate::new(data_set.name)).collect()
    })
}

/// The workers, with their devices.
pub(crate) fn worker_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let workers = ask(async |coordinator| {
            coordinator.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await).await.ok()
        });
        let workers = workers.map_or_else(Vec::new, |answer| answer.workers);
        let candidate = |worker: fivefold_proto::v1::Worker| {
            let device = one_line(&worker.device).into_owned();
            CompletionCandidate::new(worker.name).help(Some(device.into()))
        };
        workers.into_iter().map(candidate).collect()
    })
}

/// The answer of the coordinator that the environment variables name. Whatever goes wrong, there is nothing to complete.
fn ask<T>(question: impl AsyncFnOnce(Connection) -> Option<T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        // Any command without arguments does: only the connection is of interest.
        let line = CommandLine::parsed(&["fivefold", "--quiet", "status"].map(OsString::from)).ok()?;
        let coordinator = line.connection.connect().ok()?.with_observer(|_| {});
        tokio::time::timeout(PATIENCE, question(coordinator)).await.ok()?
    })
}
