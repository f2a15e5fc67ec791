//! Reports of one attempt: progress and metrics up; renewals, releases and cancellations down. They go over a stream that is
//! opened again when it breaks.

use std::time::Duration;

use fivefold_client::{CallError, Connection, Retries};
use fivefold_common::ids::LeaseRef;
use fivefold_common::progress::{EpochReport, Progress};
use fivefold_proto::convert::{epoch_to_wire, lease_to_wire, progress_to_wire};
use fivefold_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The shortest and the longest wait for the answer to a report; between them it is the lease period.
const ANSWER_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// Why the coordinator ended a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The lease belongs to another attempt, or the coordinator does not know it.
    Lost(String),
    /// A user cancelled the job.
    Cancelled,
}

/// The coordinator's wishes for a lease.
#[derive(Debug, Clone)]
pub(crate) struct LeaseSignals {
    /// Cancelled when the lease is to be saved and released: its job set is paused, or the worker is drained or leaving.
    pub(crate) release: CancellationToken,
    /// Cancelled when the lease is gone.
    pub(crate) gone: CancellationToken,
}

/// Sends an attempt's reports from a task of its own and keeps the lease. The task ends when this is dropped, or when the lease
/// is gone; then [`LeaseSignals::gone`] is cancelled.
#[derive(Debug)]
pub(crate) struct Reporter {
    items: mpsc::UnboundedSender<Item>,
    task: JoinHandle<Option<LeaseEnd>>,
}

/// A way to wait until what a [`Reporter`] was given is stored.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    items: mpsc::UnboundedSender<Item>,
}

#[derive(Debug)]
enum Item {
    Progress(Progress),
    Epoch(EpochReport),
    /// Answered when all items before it are stored.
    Flush(oneshot::Sender<()>),
}

impl Reported {
    /// Waits until everything so far is stored, or the coordinator has ended the lease.
    pub(crate) async fn stored(self) {
        let (sender, receiver) = oneshot::channel();
        if self.items.send(Item::Flush(sender)).is_ok() {
            // Fails when the lease is gone.
            let _ = receiver.await;
        }
    }
}

impl Reporter {
    /// Starts to keep the lease, which lasts `lease_seconds` from `requested_at` on.
    pub(crate) fn start(
        connection: &Connection,
        lease: LeaseRef,
        lease_seconds: u32,
        requested_at: Instant,
        signals: LeaseSignals,
    ) -> Self {
        let (items, receiver) = mpsc::unbounded_channel();
        let reports = Reports {
            retries: connection.retries(),
            connection: connection.clone(),
            lease,
            release: signals.release,
            lease_period: period(lease_seconds),
            renewed_at: requested_at,
            has_lapsed: false,
            sequence: 0,
            stream: None,
        };
        let task = tokio::spawn(async move {
            let end = reports.run(receiver).await;
            if end.is_some() {
                signals.gone.cancel();
            }
            end
        });
        Self { items, task }
    }

    /// Reports progress. Between two reports only the newest counts.
    pub(crate) fn progress(&self, progress: Progress) {
        // Fails when the lease is gone.
        let _ = self.items.send(Item::Progress(progress));
    }

    /// Reports the metrics of an epoch. None is left out.
    pub(crate) fn epoch(&self, epoch: EpochReport) {
        let _ = self.items.send(Item::Epoch(epoch));
    }

    /// A way to wait until everything so far is stored.
    pub(crate) fn reported(&self) -> Reported {
        Reported { items: self.items.clone() }
    }

    /// Stops reporting, and returns why the lease was gone, if it was.
    pub(crate) async fn end(self) -> Option<LeaseEnd> {
        if !self.task.is_finished() {
            self.task.abort();
        }
        self.task.await.ok().flatten()
    }
}

/// The items of the next report.
#[derive(Debug, Default)]
struct Batch {
    progress: Option<Progress>,
    epochs: Vec<EpochReport>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, item: Item) {
        match item {
            Item::Progress(progress) => self.progress = Some(progress),
            Item::Epoch(epoch) => self.epochs.push(epoch),
            Item::Flush(sender) => self.flushes.push(sender),
        }
    }
}

/// The task behind a [`Reporter`].
struct Reports {
    connection: Connection,
    retries: Retries,
    lease: LeaseRef,
    release: CancellationToken,
    lease_period: Duration,
    /// When the last report that was answered was sent.
    renewed_at: Instant,
    has_lapsed: bool,
    /// Number of the last report that was stored.
    sequence: u64,
    stream: Option<Stream>,
}

/// The two directions of an open stream.
struct Stream {
    reports: mpsc::Sender<v1::ReportJobRequest>,
    answers: tonic::Streaming<v1::ReportJobResponse>,
}

impl Reports {
    /// Reports until the [`Reporter`] is dropped (`None`) or the lease is gone. One report is in flight at a time; what comes
    /// meanwhile goes into the next one.
    async fn run(mut self, mut items: mpsc::UnboundedReceiver<Item>) -> Option<LeaseEnd> {
        loop {
            let mut batch = Batch::default();
            tokio::select! {
                first = items.recv() => batch.add(first?),
                () = tokio::time::sleep_until(self.renewed_at + self.lease_period / 3) => {}
            }
            while let Ok(more) = items.try_recv() {
                batch.add(more);
            }
            let report = v1::ReportJobRequest {
                lease: Some(lease_to_wire(self.lease)),
                sequence: self.sequence + 1,
                progress: batch.progress.as_ref().map(progress_to_wire),
                epochs: batch.epochs.iter().map(epoch_to_wire).collect(),
            };
            if let Err(end) = self.store(&report).await {
                return Some(end);
            }
            for flush in batch.flushes {
                let _ = flush.send(());
            }
        }
    }

    /// Sends a report, unchanged, until it is stored.
    async fn store(&mut self, report: &v1::ReportJobRequest) -> Result<(), LeaseEnd> {
        loop {
            let sent_at = Instant::now();
            match self.exchange(report).await {
                Ok(answer) if answer.cancelled => return Err(LeaseEnd::Cancelled),
                Ok(answer) => {
                    self.retries.succeeded();
                    self.renewed_at = sent_at;
                    self.has_lapsed = false;
                    self.lease_period = period(answer.lease_seconds);
                    if answer.release {
                        self.release.cancel();
                    }
                    if answer.acknowledged_sequence >= report.sequence {
                        self.sequence = answer.acknowledged_sequence;
                        return Ok(());
                    }
                }
                Err(status) => {
                    self.stream = None;
                    let pause = self.retries.pause_after(status).map_err(lost)?;
                    tokio::time::sleep(pause.min(self.lease_period / 4)).await;
                    self.warn_when_lapsed();
                }
            }
        }
    }

    /// Sends a report and waits for its answer, over a new stream if there is none.
    async fn exchange(&mut self, report: &v1::ReportJobRequest) -> Result<v1::ReportJobResponse, Status> {
        let timeout = self.lease_period.clamp(ANSWER_TIMEOUTS.0, ANSWER_TIMEOUTS.1);
        let Self { connection, retries, stream, .. } = self;
        let exchange = async {
            let open = match stream {
                Some(open) => {
                    // Fails when the stream has ended; its status comes as the answer.
                    let _ = open.reports.send(report.clone()).await;
                    open
                }
                None => stream.insert(open_stream(connection, report.clone()).await?),
            };
            let answer = open.answers.message().await?;
            answer.ok_or_else(|| Status::unavailable("the stream of reports ended"))
        };
        let no_answer = |_| Err(Status::deadline_exceeded("no answer in time"));
        retries.attempt(async { tokio::time::timeout(timeout, exchange).await.unwrap_or_else(no_answer) }).await
    }

    /// Warns once when the lease has run out by this machine's clock. The job goes on: after a restart the coordinator grants
    /// everyone another lease period, and only it decides that a lease is lost.
    fn warn_when_lapsed(&mut self) {
        if !self.has_lapsed && self.renewed_at.elapsed() > self.lease_period {
            self.has_lapsed = true;
            tracing::warn!(
                "the lease of {} was not renewed for {} s; the attempt goes on until the coordinator ends it",
                self.lease,
                self.lease_period.as_secs()
            );
        }
    }
}

async fn open_stream(connection: &Connection, first: v1::ReportJobRequest) -> Result<Stream, Status> {
    let (reports, receiver) = mpsc::channel(1);
    // There is room for one.
    let _ = reports.send(first).await;
    let answers = connection.workers().report_job(ReceiverStream::new(receiver)).await?.into_inner();
    Ok(Stream { reports, answers })
}

/// A lease cannot be shorter than a second.
fn period(lease_seconds: u32) -> Duration {
    Duration::from_secs(u64::from(lease_seconds.max(1)))
}

/// A refused report ends the lease.
fn lost(error: CallError) -> LeaseEnd {
    LeaseEnd::Lost(error.to_string())
}
