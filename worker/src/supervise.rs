//! One worker process for each CUDA device.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::host::terminate;

/// The pause before a process that crashed is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// Runs the commands, one for each device, and starts again what ends. Returns when all have ended after `leaving`.
///
/// # Errors
/// When a process cannot be started.
pub async fn supervise(commands: Vec<Command>, leaving: &CancellationToken) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for (device, mut command) in commands.into_iter().enumerate() {
        command.kill_on_drop(true);
        tasks.push(tokio::spawn(keep_running(command, device, leaving.clone())));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn keep_running(mut command: Command, device: usize, leaving: CancellationToken) -> anyhow::Result<()> {
    while !leaving.is_cancelled() {
        let mut child = command.spawn().with_context(|| format!("cannot start the worker of cuda:{device}"))?;
        let status = tokio::select! {
            status = child.wait() => status?,
            () = leaving.cancelled() => return end(&mut child).await.map(|_| ()),
        };
        tracing::error!("the worker of cuda:{device} ended with {status}; it will be started again");
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = leaving.cancelled() => {}
        }
    }
    Ok(())
}

/// Passes SIGTERM on and waits for the end. A child that already has the signal from the terminal is not hurt: it counts
/// signals within a second as one.
async fn end(child: &mut Child) -> anyhow::Result<ExitStatus> {
    if let Some(process_id) = child.id() {
        terminate(process_id).with_context(|| format!("cannot stop process {process_id}"))?;
    }
    Ok(child.wait().await?)
}
