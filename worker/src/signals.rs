//! SIGTERM and Ctrl-C.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals within this time count as one: a terminal sends Ctrl-C to parent and children, and the parent passes it on.
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// What a shell shows for a program ended by Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Cancels `leaving` with the first SIGTERM or Ctrl-C, and ends the process with the next one.
pub(crate) async fn listen(leaving: CancellationToken) {
    let streams =
        signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let Ok((mut terminate, mut interrupt)) = streams else {
        tracing::warn!("signals cannot be received: the worker will end at once when it is told to");
        return;
    };
    let mut first: Option<Instant> = None;
    loop {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        match first {
            None => {
                tracing::info!(
                    "leaving; a job in work is saved and released first, and a second signal ends the worker at once"
                );
                leaving.cancel();
                first = Some(Instant::now());
            }
            Some(first) if first.elapsed() < SAME_SIGNAL => {}
            Some(_) => std::process::exit(EXIT_CODE),
        }
    }
}
