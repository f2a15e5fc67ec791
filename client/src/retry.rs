//! When a call is tried again.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use fivefold_proto::status::retry_delay;
use tokio::time::Instant;
use tonic::Status;

use crate::connection::Connection;
use crate::failure::{CallError, Failure, Refusal, Unreachable};
use crate::problem::ConnectionProblem;

/// How long and how often a call is tried again. Pauses between tries double from `first_pause` to `longest_pause`, each
/// shortened by up to a half at random, so that clients do not return at the same moment. A longer delay that the coordinator
/// asks for is respected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest pause after the first failed try.
    pub first_pause: Duration,
    /// The longest pause of all. Keep it well below the lease period: after a restart, a coordinator waits so long for its workers.
    pub longest_pause: Duration,
    /// The longest duration of one try.
    pub call_timeout: Duration,
    /// How long a call keeps trying while the coordinator is away; `None` is forever.
    pub patience: Option<Duration>,
    /// How often a call is repeated after a fault inside the coordinator.
    pub fault_retries: u32,
    /// What to do when the coordinator's disk is full.
    pub disk_full: DiskFull,
}

/// What to do when the coordinator's disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFull {
    /// Try again until there is room.
    Wait,
    /// Report it at once.
    Fail,
}

impl RetryPolicy {
    /// For a program that works alone, such as a worker: it keeps trying whatever time or a person may mend.
    pub const fn unattended() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(5),
            call_timeout: Duration::from_secs(60),
            patience: None,
            fault_retries: 20,
            disk_full: DiskFull::Wait,
        }
    }

    /// For a person at a terminal: waits up to `patience` for a coordinator that is away, and reports everything else.
    pub const fn interactive(patience: Option<Duration>) -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(5),
            // Splitting large lists takes a part of it.
            call_timeout: Duration::from_secs(120),
            patience,
            fault_retries: 0,
            disk_full: DiskFull::Fail,
        }
    }

    fn backoff(&self) -> ExponentialBackoff {
        // Jitter adds up to the whole pause.
        ExponentialBuilder::new()
            .with_min_delay(self.first_pause / 2)
            .with_max_delay(self.longest_pause / 2)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// The tries of one call, or of one stream that is opened again whenever it breaks. [`Connection::call`] is enough for most
/// calls.
#[derive(Debug)]
pub struct Retries {
    connection: Connection,
    backoff: ExponentialBackoff,
    /// Start of the current try.
    try_began: Instant,
    /// Start of the first of the failed tries.
    failing_since: Option<Instant>,
    faults: u32,
}

/// The least time for the last try before patience ends.
const LAST_TRY: Duration = Duration::from_secs(1);

impl Retries {
    pub(crate) fn new(connection: Connection) -> Self {
        let backoff = connection.retry_policy().backoff();
        Self { connection, backoff, try_began: Instant::now(), failing_since: None, faults: 0 }
    }

    /// Makes one try, within the policy's limits of time.
    ///
    /// # Errors
    /// The status of the call; `DEADLINE_EXCEEDED` when the time was up.
    pub async fn attempt<T>(&mut self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        self.try_began = Instant::now();
        let policy = self.connection.retry_policy();
        let mut limit = policy.call_timeout;
        if let (Some(patience), Some(since)) = (policy.patience, self.failing_since) {
            limit = limit.min(patience.saturating_sub(since.elapsed()).max(LAST_TRY));
        }
        let answer = tokio::time::timeout(limit, call).await;
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
    }

    /// Notes that the coordinator answered: pauses and patience begin anew.
    pub fn succeeded(&mut self) {
        self.connection.answered();
        if self.failing_since.take().is_some() {
            self.connection.outage_ended();
        }
        self.backoff = self.connection.retry_policy().backoff();
        self.faults = 0;
    }

    /// How long to pause after a failed try.
    ///
    /// # Errors
    /// When another try is not worthwhile. A wrong certificate or address ends the tries of a connection that never worked. One
    /// that worked before waits for it to be mended.
    pub fn pause_after(&mut self, status: Status) -> Result<Duration, CallError> {
        let failure = Failure::of(&status);
        self.pause_for(failure, status)
    }

    /// Pauses after a failed try.
    ///
    /// # Errors
    /// When another try is not worthwhile.
    pub async fn wait(&mut self, status: Status) -> Result<(), CallError> {
        let mut failure = Failure::of(&status);
        let is_unclear = matches!(failure, Failure::Away(ConnectionProblem::Other(_)));
        if self.failing_since.is_none()
            && (is_unclear || is_foreign(&status))
            && let Some(problem) = self.connection.other_protocol().await
        {
            failure = Failure::Away(problem);
        }
        let pause = self.pause_for(failure, status)?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn pause_for(&mut self, failure: Failure, status: Status) -> Result<Duration, CallError> {
        let policy = *self.connection.retry_policy();
        let is_retried = match &failure {
            Failure::Away(_) | Failure::Busy(_) => true,
            Failure::DiskFull(_) => policy.disk_full == DiskFull::Wait,
            Failure::Fault(_) => {
                self.faults += 1;
                self.faults <= policy.fault_retries
            }
            Failure::LeaseLost(message) => return Err(CallError::LeaseLost(message.clone())),
            Failure::Refused => false,
        };
        if !is_retried {
            return Err(Refusal::new(status).into());
        }
        if let Failure::Away(problem) = &failure
            && problem.is_lasting()
            && !self.connection.has_answered()
        {
            let address = self.connection.address().clone();
            return Err(Box::new(Unreachable { address, patience: Duration::ZERO, failure }).into());
        }
        let is_first = self.failing_since.is_none();
        let since = *self.failing_since.get_or_insert(self.try_began);
        if is_first {
            self.connection.outage_began();
        }
        let mut pause = self.next_pause().max(retry_delay(&status).unwrap_or_default());
        if let Some(patience) = policy.patience {
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                let address = self.connection.address().clone();
                return Err(Box::new(Unreachable { address, patience, failure }).into());
            }
            pause = pause.min(left);
        }
        self.connection.notify_failure(&failure);
        Ok(pause)
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        self.backoff.next().unwrap_or(self.connection.retry_policy().longest_pause)
    }
}

impl Drop for Retries {
    fn drop(&mut self) {
        if self.failing_since.is_some() {
            self.connection.outage_abandoned();
        }
    }
}

/// Whether the answer is no gRPC, as that of a web server. The library has its own words for that, and its codes vary.
fn is_foreign(status: &Status) -> bool {
    let message = status.message();
    message.starts_with("grpc-status header missing") || message.contains("while receiving response with status")
}

#[cfg(test)]
mod tests {
    use fivefold_proto::status::{Reason, status};
    use fivefold_proto::v1::ListWorkersRequest;
    use tonic::Response;

    use super::*;
    use crate::credentials::Credentials;

    fn connection(policy: RetryPolicy) -> Connection {
        let address = "http://127.0.0.1:1".parse().unwrap();
        Connection::new(&address, &Credentials::default(), policy, "test").unwrap()
    }

    #[tokio::test]
    async fn pauses_grow_to_a_limit_and_respect_the_coordinators() {
        let policy = RetryPolicy::unattended();
        let mut retries = connection(policy).retries();
        let mut pause = || retries.pause_after(Status::unavailable("starting")).unwrap();
        assert!(pause() <= policy.first_pause);
        for _ in 0..40 {
            assert!(pause() <= policy.longest_pause);
        }
        assert!(pause() >= policy.longest_pause / 2);
        retries.succeeded();
        assert!(retries.pause_after(Status::unavailable("")).unwrap() <= policy.first_pause);
        let mut retries = connection(policy).retries();
        assert_eq!(retries.pause_after(status(Reason::Busy, "64 uploads")).unwrap(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn faults_and_full_disks_are_repeated_as_the_policy_says() {
        let full = || status(Reason::Exhausted, "the disk is full");
        let fault = || status(Reason::Internal, "a fault");
        let mut patient = connection(RetryPolicy::unattended()).retries();
        assert!(patient.pause_after(full()).is_ok());
        for _ in 0..20 {
            assert!(patient.pause_after(fault()).is_ok());
        }
        assert!(matches!(patient.pause_after(fault()), Err(CallError::Refused(_))));
        let mut interactive = connection(RetryPolicy::interactive(None)).retries();
        for status in [full(), fault(), Status::resource_exhausted("full")] {
            assert!(matches!(interactive.pause_after(status), Err(CallError::Refused(_))));
        }
        let stale = status(Reason::StaleAttempt, "attempt 1 is over");
        assert!(matches!(interactive.pause_after(stale), Err(CallError::LeaseLost(_))));
    }

    #[tokio::test]
    async fn calls_are_repeated_until_they_work() {
        let connection = connection(RetryPolicy::interactive(None));
        let tries = std::sync::atomic::AtomicU32::new(0);
        let answer = connection.call((), |_, ()| async {
            let number = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number < 2 { Err(Status::unavailable("starting")) } else { Ok(Response::new(7)) }
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_missing_coordinator_is_named() {
        let connection = connection(RetryPolicy::interactive(Some(Duration::ZERO)));
        let call = connection.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await);
        let error = call.await.unwrap_err().to_string();
        let expected = "no coordinator at http://127.0.0.1:1 within 0 s (connection refused)";
        assert!(error.contains(expected), "{error}");
    }

    /// Eight seconds are eight seconds, also when every try takes its full time.
    #[tokio::test(start_paused = true)]
    async fn patience_is_kept_with_tries_that_hang() {
        let patience = Duration::from_secs(8);
        let connection = connection(RetryPolicy::interactive(Some(patience)));
        let began = Instant::now();
        let failed = connection.call((), |_, ()| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err::<Response<()>, _>(Status::unavailable("no route"))
        });
        assert!(matches!(failed.await, Err(CallError::Unreachable(_))));
        assert!((patience..patience + 2 * LAST_TRY).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_cancelled_call_ends() {
        let token = tokio_util::sync::CancellationToken::new();
        let connection = connection(RetryPolicy::unattended()).with_cancellation(token.clone());
        let asked = std::sync::atomic::AtomicU32::new(0);
        let answer = connection.call(ListWorkersRequest {}, |connection, request| {
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
                token.cancel();
            }
            async move { connection.workers().list_workers(request).await }
        });
        assert!(matches!(answer.await, Err(CallError::Cancelled)));
    }
}
