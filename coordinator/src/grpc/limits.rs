//! Limits on concurrent long calls, and on the silence of one: an upload that sends nothing, a reader that takes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;

use crate::error::Error;

/// The limits of a coordinator. A call above one of them fails with a delay after which to retry.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Concurrent uploads.
    pub uploads: usize,
    /// Concurrent downloads.
    pub downloads: usize,
    /// Concurrent watches.
    pub watches: usize,
    /// Concurrent fits on request, each of some seconds of a core.
    pub fits: usize,
    /// Concurrent streams of reports: one for each running job.
    pub report_streams: usize,
    /// Workers waiting for a lease.
    pub waits: usize,
    /// The silence after which an upload or a stream of answers is ended.
    pub slow: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uploads: 64,
            downloads: 64,
            watches: 256,
            fits: 4,
            report_streams: 4096,
            waits: 4096,
            slow: Duration::from_secs(60),
        }
    }
}

/// A limit on concurrent calls of one kind.
#[derive(Debug, Clone)]
pub struct CallLimit {
    what: &'static str,
    count: usize,
    free: Arc<Semaphore>,
}

/// Permits one call, until it is dropped.
#[derive(Debug)]
pub struct CallPermit {
    _permit: OwnedSemaphorePermit,
}

impl CallLimit {
    /// At most `count` of `what`, such as "uploads".
    pub fn new(what: &'static str, count: usize) -> Self {
        Self { what, count, free: Arc::new(Semaphore::new(count)) }
    }

    /// # Errors
    /// [`Error::Busy`] at the limit.
    pub fn acquire(&self) -> Result<CallPermit, Error> {
        let permit = self.free.clone().try_acquire_owned();
        permit.map(|permit| CallPermit { _permit: permit }).map_err(|_| {
            let Self { what, count, .. } = self;
            Error::Busy(format!("{count} {what} are under way, the most at a time: try again soon"))
        })
    }
}

/// The two ends of a stream of answers. The sender holds the permit.
pub fn answers<T>(permit: CallPermit, capacity: usize, slow: Duration) -> (Sender<T>, Answers<T>) {
    let (messages, receiver) = mpsc::channel(capacity);
    let (last, end) = oneshot::channel();
    (Sender { messages, last, slow, _permit: permit }, Answers { messages: receiver, end: Some(end) })
}

/// The coordinator's end of a stream of answers.
#[derive(Debug)]
pub struct Sender<T> {
    messages: mpsc::Sender<T>,
    last: oneshot::Sender<Status>,
    slow: Duration,
    _permit: CallPermit,
}

/// The reader has closed the stream, or was too slow.
#[derive(Debug)]
pub struct ReaderGone;

impl<T> Sender<T> {
    /// Sends a message. Returns the sender for the next one.
    pub async fn send(self, message: T) -> Result<Self, ReaderGone> {
        match self.messages.send_timeout(message, self.slow).await {
            Ok(()) => Ok(self),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(ReaderGone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let seconds = self.slow.as_secs();
                self.end(Error::Unavailable(format!("nothing was read of this stream for {seconds} s")));
                Err(ReaderGone)
            }
        }
    }

    /// Ends the stream with an error, after the messages sent so far.
    pub fn end(self, error: impl Into<Status>) {
        // The reader may be gone.
        let _ = self.last.send(error.into());
    }

    /// Waits until the reader closes the stream.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// The reader's end of a stream of answers.
#[derive(Debug)]
pub struct Answers<T> {
    messages: mpsc::Receiver<T>,
    end: Option<oneshot::Receiver<Status>>,
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(context)) {
            return Poll::Ready(Some(Ok(message)));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        // Without an error, the stream ended after its last message.
        let end = ready!(Pin::new(end).poll(context)).ok();
        self.end = None;
        Poll::Ready(end.map(Err))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[test]
    fn a_dropped_permit_can_be_acquired_again() {
        let limit = CallLimit::new("uploads", 1);
        let permit = limit.acquire().unwrap();
        let refused = limit.acquire().unwrap_err();
        assert!(refused.to_string().starts_with("1 uploads are under way"), "{refused}");
        drop(permit);
        assert!(limit.acquire().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_loses_its_stream_with_an_error() {
        let limit = CallLimit::new("watches", 1);
        let (sender, mut answers) = answers(limit.acquire().unwrap(), 1, Duration::from_secs(60));
        let sender = sender.send(1).await.unwrap();
        assert!(sender.send(2).await.is_err());
        assert!(limit.acquire().is_ok(), "the permit is free");
        assert_eq!(answers.next().await.unwrap().unwrap(), 1);
        assert!(answers.next().await.unwrap().unwrap_err().message().contains("60 s"));
        assert!(answers.next().await.is_none());
    }
}
