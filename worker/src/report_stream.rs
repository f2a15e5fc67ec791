//! One job's reports: progress and metrics up, the lease's renewal and cancellations down, over a stream that is opened again
//! when it breaks.

use std::time::Duration;

use fivefold_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::coordinator_client::{CallError, CoordinatorClient, Pauses, no_answer};

/// Why there is nothing more to report on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The lease is another attempt's, or the coordinator does not know it.
    Lost(String),
    /// A user cancelled the job.
    Cancelled,
}

/// What a lease's worker has to hear of.
#[derive(Debug, Clone, Default)]
pub struct LeaseSignals {
    /// Cancelled when the lease is to be saved and given back: its job set is paused, or the worker drained.
    pub give_back: CancellationToken,
    /// Cancelled when the lease is gone.
    pub gone: CancellationToken,
}

/// Sends a job's reports from a task of its own, and keeps its lease. The task ends with [`Reporter::end`], or by itself once
/// the lease is gone; then [`LeaseSignals::gone`] is cancelled.
#[derive(Debug)]
pub struct Reporter {
    news: mpsc::UnboundedSender<News>,
    task: JoinHandle<Option<LeaseEnd>>,
}

/// What a [`Reporter`] was given so far.
#[derive(Debug, Clone)]
pub struct Reported {
    news: mpsc::UnboundedSender<News>,
}

impl Reported {
    /// Waits until it is stored, or the lease is gone.
    pub async fn stored(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.news.send(News::Flush(sender)).is_ok() {
            // An error is the other end of the task.
            let _ = receiver.await;
        }
    }
}

#[derive(Debug)]
enum News {
    Progress(v1::Progress),
    Epoch(v1::EpochMetrics),
    /// Asks for a word once all that came before is stored.
    Flush(oneshot::Sender<()>),
}

impl Reporter {
    /// Starts to keep the lease, which lasts `lease_seconds` from `asked_at` on, and to pass on what the coordinator says of it.
    pub fn start(
        client: CoordinatorClient,
        lease: v1::LeaseRef,
        lease_seconds: u32,
        asked_at: Instant,
        signals: LeaseSignals,
    ) -> Self {
        let (news, receiver) = mpsc::unbounded_channel();
        let reports = Reports {
            client,
            lease,
            give_back: signals.give_back,
            lease_period: Duration::from_secs(u64::from(lease_seconds.max(1))),
            renewed_at: asked_at,
            has_lapsed: false,
            sequence: 0,
            progress: None,
            epochs: Vec::new(),
            flushes: Vec::new(),
        };
        let task = tokio::spawn(async move {
            let end = reports.run(receiver).await;
            if end.is_some() {
                signals.gone.cancel();
            }
            end
        });
        Self { news, task }
    }

    /// Reports how far the job is. Of several that could not be sent, the newest is.
    pub fn progress(&self, progress: v1::Progress) {
        // Fails when the lease is gone, and with it everybody's interest.
        let _ = self.news.send(News::Progress(progress));
    }

    /// Reports the metrics of an epoch; none is left out.
    pub fn epoch(&self, epoch: v1::EpochMetrics) {
        let _ = self.news.send(News::Epoch(epoch));
    }

    /// Waits until all that was reported is stored, or the lease is gone.
    pub async fn flush(&self) {
        self.reported().stored().await;
    }

    /// A way to wait for the same from another task.
    pub fn reported(&self) -> Reported {
        Reported { news: self.news.clone() }
    }

    /// Stops reporting, and says whether the lease was gone before.
    pub async fn end(self) -> Option<LeaseEnd> {
        if !self.task.is_finished() {
            self.task.abort();
        }
        self.task.await.ok().flatten()
    }
}

struct Reports {
    client: CoordinatorClient,
    lease: v1::LeaseRef,
    give_back: CancellationToken,
    lease_period: Duration,
    /// When the last report that was answered was sent.
    renewed_at: Instant,
    has_lapsed: bool,
    /// Number of the last report that was stored.
    sequence: u64,
    progress: Option<v1::Progress>,
    epochs: Vec<v1::EpochMetrics>,
    flushes: Vec<oneshot::Sender<()>>,
}

/// The two directions of an open stream.
struct Stream {
    reports: mpsc::Sender<v1::ReportJobRequest>,
    answers: tonic::Streaming<v1::ReportJobResponse>,
}

impl Reports {
    /// Reports until there is nobody left to report for (`None`), or the lease is gone.
    async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) -> Option<LeaseEnd> {
        let mut stream = None;
        let mut pauses = Pauses::default();
        loop {
            let renew_at = self.renewed_at + self.lease_period / 3;
            tokio::select! {
                first = news.recv() => self.take(first?),
                () = tokio::time::sleep_until(renew_at) => {}
            }
            while let Ok(more) = news.try_recv() {
                self.take(more);
            }
            // One report at a time: what comes meanwhile is in the next one. An unanswered one is sent again as it was.
            let report = v1::ReportJobRequest {
                lease: Some(self.lease),
                sequence: self.sequence + 1,
                progress: self.progress.take(),
                epochs: std::mem::take(&mut self.epochs),
            };
            let flushed = std::mem::take(&mut self.flushes);
            loop {
                let sent_at = Instant::now();
                match self.exchange(&mut stream, &report).await {
                    Ok(answer) if answer.cancelled => return Some(LeaseEnd::Cancelled),
                    Ok(answer) => {
                        self.client.note_answer();
                        pauses = Pauses::default();
                        self.renewed_at = sent_at;
                        self.has_lapsed = false;
                        if answer.give_back {
                            self.give_back.cancel();
                        }
                        self.lease_period = Duration::from_secs(u64::from(answer.lease_seconds.max(1)));
                        if answer.acknowledged_sequence >= report.sequence {
                            self.sequence = answer.acknowledged_sequence;
                            break;
                        }
                    }
                    Err(status) => {
                        stream = None;
                        match self.client.pause_after("take a report", &status, &mut pauses) {
                            Ok(pause) => tokio::time::sleep(pause.min(self.lease_period / 4)).await,
                            Err(CallError::LeaseLost(message) | CallError::Refused { message, .. }) => {
                                return Some(LeaseEnd::Lost(message));
                            }
                            Err(CallError::GivenUp) => return None,
                        }
                        self.note_lapse();
                    }
                }
            }
            for flush in flushed {
                let _ = flush.send(());
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Progress(progress) => self.progress = Some(progress),
            News::Epoch(epoch) => self.epochs.push(epoch),
            News::Flush(sender) => self.flushes.push(sender),
        }
    }

    /// Sends a report and waits for its answer, over a new stream if there is none.
    async fn exchange(
        &self,
        stream: &mut Option<Stream>,
        report: &v1::ReportJobRequest,
    ) -> Result<v1::ReportJobResponse, Status> {
        let patience = self.lease_period.clamp(Duration::from_secs(2), Duration::from_secs(30));
        let exchange = async {
            if let Some(open) = stream.as_ref() {
                // The channel is closed when the stream is; its status comes as the answer.
                let _ = open.reports.send(report.clone()).await;
            } else {
                let (reports, receiver) = mpsc::channel(1);
                let _ = reports.send(report.clone()).await;
                let answers = self.client.workers().report_job(ReceiverStream::new(receiver)).await?.into_inner();
                *stream = Some(Stream { reports, answers });
            }
            let ended = || Status::unavailable("the stream of reports ended");
            match stream {
                Some(open) => open.answers.message().await?.ok_or_else(ended),
                None => Err(ended()),
            }
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Says once that the lease has run out by this machine's clock. The job goes on: the coordinator gives everyone a
    /// lease period after it comes back, and only it can say that the lease is lost.
    fn note_lapse(&mut self) {
        if !self.has_lapsed && self.renewed_at.elapsed() > self.lease_period {
            self.has_lapsed = true;
            tracing::warn!(
                "the lease of job {}, attempt {} could not be renewed for {} s; going on until the coordinator says that it is lost",
                self.lease.job_id,
                self.lease.attempt,
                self.lease_period.as_secs()
            );
        }
    }
}
