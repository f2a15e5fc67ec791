//! `fivefold workers` and `fivefold drain`.

use std::time::SystemTime;

use clap::Args;
use fivefold_client::{CallError, Connection};
use fivefold_common::one_line::one_line;
use fivefold_proto::status::Reason;
use fivefold_proto::v1::{DrainWorkerRequest, ListWorkersRequest, UndrainWorkerRequest};
use serde_json::json;

use crate::commands::completions::worker_names;
use crate::console::{OutputFormat, full_page, print, print_json};
use crate::error::UsageError;
use crate::render::json;
use crate::render::worker::worker_table;

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Name of the worker, as in `fivefold workers`
    #[arg(value_name = "WORKER", add = worker_names())]
    worker: String,
    /// Lease jobs to the worker again
    #[arg(long)]
    undo: bool,
}

pub(crate) async fn list(coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = ListWorkersRequest {};
    let workers = coordinator.call(request, async |c, r| c.workers().list_workers(r).await).await?.workers;
    match format {
        OutputFormat::Json => print_json(&json!({ "workers": workers.iter().map(json::worker).collect::<Vec<_>>() })),
        OutputFormat::Text if workers.is_empty() => {
            print("No worker has registered yet. Start `fivefold-worker` on a machine that has the images.\n")
        }
        OutputFormat::Text => print(&worker_table(&workers, SystemTime::now(), &full_page())),
    }
}

pub(crate) async fn drain(args: &DrainArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let worker_name = args.worker.clone();
    let name = one_line(&args.worker);
    if args.undo {
        let request = UndrainWorkerRequest { worker_name };
        let call = coordinator.call(request, async |c, r| c.workers().undrain_worker(r).await);
        call.await.map_err(worker_error)?;
    } else {
        let request = DrainWorkerRequest { worker_name };
        let call = coordinator.call(request, async |c, r| c.workers().drain_worker(r).await);
        call.await.map_err(worker_error)?;
    }
    match (format, args.undo) {
        (OutputFormat::Json, undo) => print_json(&json!({ "name": args.worker, "draining": !undo })),
        (OutputFormat::Text, true) => print(&format!("{name} gets jobs again\n")),
        (OutputFormat::Text, false) => {
            print(&format!("{name} gets no more jobs; its current job returns to the queue\n"))
        }
    }
}

/// The error, with advice of its own for an unknown worker.
fn worker_error(error: CallError) -> anyhow::Error {
    match error {
        CallError::Refused(refusal) if refusal.reason() == Some(Reason::NotFound) => {
            UsageError(format!("{refusal}; `fivefold workers` lists the workers")).into()
        }
        error => error.into(),
    }
}
