//! How many long calls are served at a time, and how long one may take to say or to read something.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;

use crate::error::Error;

/// The limits of one coordinator. A call above them is told when to come again.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Uploads at a time.
    pub uploads: usize,
    /// Downloads at a time.
    pub downloads: usize,
    /// Watches at a time.
    pub watches: usize,
    /// Streams of reports at a time: one for each job that runs.
    pub report_streams: usize,
    /// Workers that wait for a lease at a time.
    pub waits: usize,
    /// An upload that sends nothing, and a stream whose reader takes nothing, for so long is ended.
    pub slow: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uploads: 64,
            downloads: 64,
            watches: 256,
            report_streams: 4096,
            waits: 4096,
            slow: Duration::from_secs(60),
        }
    }
}

/// The places for one kind of call.
#[derive(Debug, Clone)]
pub struct Places {
    what: &'static str,
    count: usize,
    free: Arc<Semaphore>,
}

/// A place that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// `count` places for `what`: "uploads".
    pub fn new(what: &'static str, count: usize) -> Self {
        Self { what, count, free: Arc::new(Semaphore::new(count)) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// [`Error::Busy`] when none is free.
    pub fn take(&self) -> Result<Place, Error> {
        let permit = self.free.clone().try_acquire_owned();
        permit.map(|permit| Place { _permit: permit }).map_err(|_| {
            let Self { what, count, .. } = self;
            Error::Busy(format!("{count} {what} are under way, as many as are served at a time: try again soon"))
        })
    }
}

/// A stream of answers to a reader that may be slow or gone: the two ends of it. The place is held until the sender goes.
pub fn answers<T>(place: Place, capacity: usize, slow: Duration) -> (Sender<T>, Answers<T>) {
    let (messages, receiver) = mpsc::channel(capacity);
    let (last, end) = oneshot::channel();
    (Sender { messages, last, slow, _place: place }, Answers { messages: receiver, end: Some(end) })
}

/// The end that the coordinator holds.
#[derive(Debug)]
pub struct Sender<T> {
    messages: mpsc::Sender<T>,
    last: oneshot::Sender<Status>,
    slow: Duration,
    _place: Place,
}

/// The reader is gone, or so slow that it was given up: there is nobody to send to.
#[derive(Debug)]
pub struct NobodyReads;

impl<T> Sender<T> {
    /// Sends a message, and gives the sender back for the next one.
    ///
    /// # Errors
    /// [`NobodyReads`].
    pub async fn send(self, message: T) -> Result<Self, NobodyReads> {
        match self.messages.send_timeout(message, self.slow).await {
            Ok(()) => Ok(self),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(NobodyReads),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let seconds = self.slow.as_secs();
                self.end(Error::Unavailable(format!("nothing was read of this stream for {seconds} s")));
                Err(NobodyReads)
            }
        }
    }

    /// Ends the stream with an error, after what was sent.
    pub fn end(self, error: impl Into<Status>) {
        // A reader that is gone does not mind.
        let _ = self.last.send(error.into());
    }

    /// Waits until the reader is gone.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// The end that the reader gets.
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
        // A sender that went without a word had said everything.
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
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new("uploads", 1);
        let place = places.take().unwrap();
        let refused = places.take().unwrap_err();
        assert!(refused.to_string().starts_with("1 uploads are under way"), "{refused}");
        drop(place);
        assert!(places.take().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_told_so() {
        let places = Places::new("watches", 1);
        let (sender, mut answers) = answers(places.take().unwrap(), 1, Duration::from_secs(60));
        let sender = sender.send(1).await.unwrap();
        assert!(sender.send(2).await.is_err());
        assert!(places.take().is_ok(), "its place is free");
        assert_eq!(answers.next().await.unwrap().unwrap(), 1);
        assert!(answers.next().await.unwrap().unwrap_err().message().contains("60 s"));
        assert!(answers.next().await.is_none());
    }
}
