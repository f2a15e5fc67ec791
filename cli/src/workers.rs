//! `fivefold workers` and `drain`: the machines that the coordinator knows.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use fivefold_proto::v1::{DrainWorkerRequest, ListWorkersRequest, UndrainWorkerRequest, Worker};
use serde_json::json;

use crate::connection::Coordinator;
use crate::failure::one_line;
use crate::json::worker_json;
use crate::output::{OutputFormat, print, print_json};
use crate::table::{NOTHING, table};

/// Arguments of `fivefold drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The worker, as `fivefold workers` names it
    #[arg(value_name = "WORKER")]
    worker: String,
    /// Give it jobs again
    #[arg(long)]
    undo: bool,
}

/// Stops a worker from being given jobs, or lets it have some again.
pub(crate) async fn drain(args: &DrainArgs, coordinator: &Coordinator) -> anyhow::Result<()> {
    let worker_name = args.worker.clone();
    if args.undo {
        let request = UndrainWorkerRequest { worker_name };
        coordinator.call(async || coordinator.workers().undrain_worker(request.clone()).await).await?;
        print(&format!("{} may be given jobs again\n", one_line(&args.worker)))
    } else {
        let request = DrainWorkerRequest { worker_name };
        coordinator.call(async || coordinator.workers().drain_worker(request.clone()).await).await?;
        print(&format!("{} gives back what it holds, and is given no more jobs\n", one_line(&args.worker)))
    }
}

/// Prints the workers.
pub(crate) async fn run(coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = ListWorkersRequest {};
    let workers = coordinator.call(async || coordinator.workers().list_workers(request).await).await?.workers;
    if format == OutputFormat::Json {
        return print_json(&json!({ "workers": workers.iter().map(worker_json).collect::<Vec<_>>() }));
    }
    if workers.is_empty() {
        return print("No worker has registered yet. Start `fivefold-worker` on a machine with the images.\n");
    }
    let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let rows: Vec<[String; 5]> = workers.iter().map(|worker| row(worker, now_seconds)).collect();
    print(&table(["NAME", "DEVICE", "LAST SEEN", "JOB", "VERSION"], &rows))
}

fn row(worker: &Worker, now_seconds: i64) -> [String; 5] {
    // The two clocks may differ a little: nobody was seen in the future.
    let ago = worker.last_seen_time.map(|time| (now_seconds - time.seconds).max(0));
    [
        one_line(&worker.name),
        one_line(&worker.device),
        ago.map_or(NOTHING.to_owned(), how_long_ago),
        match (worker.job_id, worker.draining) {
            (0, true) => "drained".to_owned(),
            (0, false) => "idle".to_owned(),
            (job, true) => format!("{job}, draining"),
            (job, false) => job.to_string(),
        },
        one_line(&worker.version),
    ]
}

fn how_long_ago(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_words() {
        let words = [3, 119, 120, 7199, 7200, 900_000].map(how_long_ago);
        assert_eq!(words, ["3 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "10 days ago"]);
    }
}
