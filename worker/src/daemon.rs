//! The worker's life: make itself known, wait for a lease, work on it, again; and one process per card where there are several.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use fivefold_proto::{PROTOCOL, v1};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response};

use crate::coordinator_client::{CallError, CoordinatorClient, entropy};
use crate::lease::{Workplace, work_on};
use fivefold_train::torch::device;

const WAIT_SECONDS: u32 = 30;
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// Works on lease after lease until `leaving` is cancelled.
///
/// # Errors
/// When the coordinator refuses this worker, or a training hangs and holds the device.
pub async fn run(
    client: CoordinatorClient,
    workplace: Workplace,
    name: &str,
    leaving: CancellationToken,
) -> anyhow::Result<()> {
    let device = device::describe(workplace.device);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let register =
        v1::RegisterWorkerRequest { name: name.to_owned(), device: device.clone(), version, protocol: PROTOCOL };
    while !leaving.is_cancelled() {
        let registered = client.persist("register this worker", &leaving, || {
            let (mut workers, register) = (client.workers(), register.clone());
            async move { workers.register_worker(register).await }
        });
        match registered.await {
            Err(CallError::GivenUp) => break,
            registered => registered?,
        };
        tracing::info!("worker {name} waits for a job, on {device}");
        // Until the coordinator has forgotten this worker, which only a new state folder makes it do.
        while let Some((lease, asked_at)) = next_lease(&client, name, &leaving).await? {
            work_on(&client, &workplace, lease, asked_at, &leaving).await?;
        }
    }
    tracing::info!("worker {name} is leaving");
    Ok(())
}

/// The next lease; none when the worker has to go, or has to register again.
async fn next_lease(
    client: &CoordinatorClient,
    name: &str,
    leaving: &CancellationToken,
) -> anyhow::Result<Option<(v1::Lease, Instant)>> {
    while !leaving.is_cancelled() {
        // The same for every try of this wait: a lease whose answer was lost is given again.
        let request = v1::AcquireLeaseRequest {
            worker_name: name.to_owned(),
            wait_seconds: WAIT_SECONDS,
            request_id: format!("{:016x}{:016x}", entropy(), entropy()),
            protocol: PROTOCOL,
        };
        let asked_at = Instant::now();
        let answer = client.persist("give a lease", leaving, || {
            let (mut workers, request) = (client.workers(), request.clone());
            async move {
                match workers.acquire_lease(request).await {
                    // The coordinator has another state folder than before, and does not know this worker.
                    Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                    answer => answer.map(|answer| Response::new(Some(answer.into_inner()))),
                }
            }
        });
        match answer.await {
            Ok(Some(v1::AcquireLeaseResponse { lease: Some(lease) })) => return Ok(Some((lease, asked_at))),
            Ok(Some(v1::AcquireLeaseResponse { lease: None })) => {}
            Ok(None) | Err(CallError::GivenUp) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Runs one process of this program per card, each with `--device cuda:N` and a name of its own, and starts one again that
/// crashed. Ends when all have ended after `leaving`.
///
/// # Errors
/// When a process cannot be started.
pub async fn run_one_process_per_card(
    cards: usize,
    name: &str,
    arguments: &[String],
    leaving: CancellationToken,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program's own file")?;
    let mut tasks = Vec::new();
    for card in 0..cards {
        let mut command = Command::new(&program);
        command.args(arguments);
        command.args(["--device", &format!("cuda:{card}"), "--name", &format!("{name}-cuda{card}")]);
        command.kill_on_drop(true);
        tasks.push(tokio::spawn(supervise(command, card, leaving.clone())));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn supervise(mut command: Command, card: usize, leaving: CancellationToken) -> anyhow::Result<()> {
    while !leaving.is_cancelled() {
        let mut child = command.spawn().with_context(|| format!("the worker of card {card}"))?;
        let status = tokio::select! {
            status = child.wait() => status?,
            () = leaving.cancelled() => return terminate(&mut child).await.map(|_| ()),
        };
        tracing::error!("the worker of card {card} ended with {status}; it is started again");
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = leaving.cancelled() => {}
        }
    }
    Ok(())
}

/// Passes SIGTERM on, and waits for the end. A child that has the signal already from the terminal takes no harm: it counts
/// signals that come within a second as one.
async fn terminate(child: &mut Child) -> anyhow::Result<ExitStatus> {
    if let Some(id) = child.id() {
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await.context("kill")?;
    }
    Ok(child.wait().await?)
}
