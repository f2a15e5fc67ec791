//! What the worker logs during an attempt, for the coordinator.

use std::time::Duration;

use fivefold_client::Connection;
use fivefold_common::ids::LeaseRef;
use fivefold_program::recorder::Recorder;
use fivefold_proto::convert::{lease_to_wire, log_line_to_wire};
use fivefold_proto::v1;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::daemon::Worker;

/// How often new lines are sent.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the last lines may take at the end of an attempt.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// The most lines of one call.
const LINES: usize = 100;

/// Sends the lines of an attempt from a task of its own. A log that cannot be sent never harms the attempt.
pub(crate) struct AttemptLog {
    task: JoinHandle<()>,
    ended: CancellationToken,
}

impl AttemptLog {
    /// Records from now on.
    pub(crate) fn start(connection: &Connection, lease: LeaseRef, Worker { name, recorder, .. }: &Worker) -> Self {
        recorder.begin();
        let ended = CancellationToken::new();
        let task = tokio::spawn(send_all(connection.clone(), lease, name.clone(), recorder.clone(), ended.clone()));
        Self { task, ended }
    }

    /// Sends the last lines, unless that takes too long.
    pub(crate) async fn end(self, recorder: &Recorder) {
        recorder.end();
        self.ended.cancel();
        let mut task = self.task;
        if tokio::time::timeout(END_TIMEOUT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Sends lines until the attempt has ended and all of them are stored, or the coordinator takes none.
async fn send_all(
    connection: Connection,
    lease: LeaseRef,
    worker_name: String,
    recorder: Recorder,
    ended: CancellationToken,
) {
    loop {
        let lines = recorder.oldest(LINES);
        let Some(newest) = lines.last().map(|line| line.number) else {
            if ended.is_cancelled() {
                return;
            }
            let _ = tokio::time::timeout(PAUSE, ended.cancelled()).await;
            continue;
        };
        let lines = lines.iter().map(log_line_to_wire).collect();
        let request =
            v1::AppendLogLinesRequest { lease: Some(lease_to_wire(lease)), lines, worker_name: worker_name.clone() };
        if let Err(error) = connection.call(request, async |c, r| c.logs().append_log_lines(r).await).await {
            return tracing::debug!("the log of {lease} cannot be sent: {error}");
        }
        recorder.forget(newest);
    }
}
