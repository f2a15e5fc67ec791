//! The worker's line to the coordinator: calls that are tried again for as long as the coordinator is away.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fivefold_proto::client::{self, ClientError, Credentials, Line};
use fivefold_proto::status::{Reason, busy_delay, has_reason, is_worth_retrying, reason_word};
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

/// Clients of the coordinator's services, over one connection that mends itself. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoordinatorClient {
    url: Arc<str>,
    line: Line,
    away: Arc<AtomicBool>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The lease is another attempt's, or the job has ended.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// The coordinator does not want what was asked, and would not want it again.
    #[error("the coordinator refused to {what}: {message}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it says.
        message: String,
    },
    /// The caller does not want to try on.
    #[error("not tried any further")]
    GivenUp,
}

/// Text that is no address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is none.
    #[error("{url:?} is not the address of a coordinator: it should look like http://HOST:7700 or https://HOST:7700")]
    Url {
        /// What was given.
        url: String,
    },
    /// The credentials cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long one try of an ordinary call may take.
const CALL_PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A coordinator that came back waits one lease period for its workers, so pauses stay well below it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a fault of the coordinator's own is tried again.
const MOST_INTERNAL_FAULTS: u32 = 20;

impl CoordinatorClient {
    /// A client of the coordinator at `url`; connects with the first call.
    ///
    /// # Errors
    /// When `url` is not one, or the credentials cannot be used.
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url { url: url.chars().take(200).collect() };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| wrong())?;
        if !matches!(endpoint.uri().scheme_str(), Some("http" | "https")) || endpoint.uri().host().is_none() {
            return Err(wrong());
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        Ok(Self { url: url.into(), line: client::line(endpoint, credentials)?, away: Arc::default() })
    }

    /// A client of the worker service.
    pub fn workers(&self) -> WorkerServiceClient<Line> {
        WorkerServiceClient::new(self.line.clone())
    }

    /// A client of the artifact service.
    pub fn artifacts(&self) -> ArtifactServiceClient<Line> {
        ArtifactServiceClient::new(self.line.clone())
    }

    /// Makes a call, again and again while the coordinator is away or too busy, until it is answered or `give_up` is
    /// cancelled. `what` completes "the coordinator refused to".
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn persist<T, Call, Answer>(
        &self,
        what: &'static str,
        give_up: &CancellationToken,
        call: Call,
    ) -> Result<T, CallError>
    where
        Call: Fn() -> Answer,
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let mut pauses = Pauses::default();
        loop {
            let answer = tokio::select! {
                answer = tokio::time::timeout(CALL_PATIENCE, call()) => answer.unwrap_or_else(|_| Err(no_answer())),
                () = give_up.cancelled() => return Err(CallError::GivenUp),
            };
            match answer {
                Ok(answer) => {
                    self.note_answer();
                    return Ok(answer.into_inner());
                }
                Err(status) => {
                    let pause = self.pause_after(what, &status, &mut pauses)?;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = give_up.cancelled() => return Err(CallError::GivenUp),
                    }
                }
            }
        }
    }

    /// How long to wait before another try after `status`.
    ///
    /// # Errors
    /// When another try would end in the same way.
    pub fn pause_after(&self, what: &'static str, status: &Status, pauses: &mut Pauses) -> Result<Duration, CallError> {
        if has_reason(status, Reason::StaleAttempt) {
            return Err(CallError::LeaseLost(status.message().to_owned()));
        }
        let is_fault = has_reason(status, Reason::Internal);
        pauses.faults += u32::from(is_fault);
        let is_mended_by_time = is_connection_trouble(status) || (is_fault && pauses.faults < MOST_INTERNAL_FAULTS);
        if !is_mended_by_time {
            return Err(CallError::Refused { what, message: status.message().to_owned() });
        }
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!("the coordinator at {} does not answer ({}); trying on", self.url, words(status));
        }
        Ok(pauses.next().max(busy_delay(status).unwrap_or_default()))
    }

    /// Notes that the coordinator answered.
    pub fn note_answer(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the coordinator at {} answers again", self.url);
        }
    }
}

/// The status of a call that was not answered in time.
pub(crate) fn no_answer() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// Whether the trouble is with the way to the coordinator, or it asked for patience.
fn is_connection_trouble(status: &Status) -> bool {
    // A broken connection comes in several codes, but never with a reason of ours.
    is_worth_retrying(status) || (status.code() == Code::Internal && reason_word(status).is_none())
}

/// What a status says, with the causes that its message leaves out.
fn words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The lengthening pauses between tries, each shortened by a random part so that many workers do not come back at once.
#[derive(Debug, Default)]
pub struct Pauses {
    tries: u32,
    faults: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(10)).min(LONGEST_PAUSE);
        self.tries += 1;
        let random = entropy() as f64 / u64::MAX as f64;
        pause.mul_f64(0.5 + 0.5 * random)
    }
}

/// 64 bits that differ from call to call and from process to process: for pauses and request ids, never for training.
pub(crate) fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut pauses = Pauses::default();
        assert!(pauses.next() <= FIRST_PAUSE);
        for _ in 0..40 {
            assert!(pauses.next() <= LONGEST_PAUSE);
        }
        assert!(pauses.next() >= LONGEST_PAUSE / 2);
    }

    #[test]
    fn only_addresses_are_taken() {
        for url in ["", "localhost", "ftp://host:1", "/path", "http://"] {
            assert!(CoordinatorClient::new(url, &Credentials::default()).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_is_away_is_asked_until_the_caller_gives_up() {
        let client = CoordinatorClient::new("http://127.0.0.1:1", &Credentials::default()).unwrap();
        let give_up = CancellationToken::new();
        let asked = std::sync::atomic::AtomicU32::new(0);
        let answer = client.persist("register", &give_up, || async {
            if asked.fetch_add(1, Ordering::Relaxed) == 2 {
                give_up.cancel();
            }
            client.workers().list_workers(fivefold_proto::v1::ListWorkersRequest {}).await
        });
        assert!(matches!(answer.await, Err(CallError::GivenUp)));
        let stale = fivefold_proto::status::status(Reason::StaleAttempt, "attempt 1 is over");
        assert!(matches!(client.pause_after("report", &stale, &mut Pauses::default()), Err(CallError::LeaseLost(_))));
    }
}
