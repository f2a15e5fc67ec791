//! The connection to a coordinator.

use std::fmt;
use std::future::Future;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::data_set_service_client::DataSetServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::log_service_client::LogServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use crate::address::Address;
use crate::credentials::{AuthorizedChannel, Credentials, CredentialsError, authorized_channel};
use crate::failure::{CallError, Failure};
use crate::problem::{ConnectionProblem, probe};
use crate::retry::{Retries, RetryPolicy};
use crate::transfers::Transfers;

/// A connection to a coordinator. It connects with the first call, and again whenever it breaks. Cheap to clone; clones share
/// the connection.
#[derive(Clone)]
pub struct Connection {
    address: Address,
    channel: AuthorizedChannel,
    retry: RetryPolicy,
    outage: Arc<Mutex<Outage>>,
    observer: Option<Observer>,
    cancellation: CancellationToken,
}

/// Receives the [`Notice`]s of a connection.
pub type Observer = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// News of a connection, for a log or a terminal. `Display` makes a sentence of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Calls fail and are tried again. Each kind of failure is told once until the connection works again.
    Retrying {
        /// The coordinator.
        address: &'a Address,
        /// Why calls fail.
        failure: &'a Failure,
    },
    /// Calls work again.
    Recovered {
        /// The coordinator.
        address: &'a Address,
    },
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovered { address } => write!(f, "the coordinator at {address} answers again"),
            Self::Retrying { address, failure } => match failure {
                Failure::Away(_) => write!(f, "no coordinator at {address} ({failure}); waiting for it"),
                Failure::Busy(_) => write!(f, "the coordinator at {address} is busy ({failure}); waiting for it"),
                Failure::DiskFull(_) | Failure::Fault(_) | Failure::LeaseLost(_) | Failure::Refused => {
                    write!(f, "the coordinator at {address} cannot serve a call ({failure}); waiting for it")
                }
            },
        }
    }
}

/// What the connection's users know of its failures.
#[derive(Debug, Default)]
struct Outage {
    /// Whether the coordinator ever answered.
    has_answered: bool,
    /// Whether it could not be reached since its last answer.
    is_away: bool,
    /// Calls and streams that are failing.
    failing: usize,
    /// The kinds of failures that were told.
    told: Vec<FailureKind>,
}

type FailureKind = (Discriminant<Failure>, Option<Discriminant<ConnectionProblem>>);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A machine without power sends nothing: pings find out.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// However short a caller's patience is.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// A connection to the coordinator at `address`. `user_agent` names the program in the coordinator's log. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub fn new(
        address: &Address,
        credentials: &Credentials,
        retry: RetryPolicy,
        user_agent: &'static str,
    ) -> Result<Self, CredentialsError> {
        Ok(Self {
            address: address.clone(),
            channel: authorized_channel(endpoint(address, &retry, user_agent), credentials)?,
            retry,
            outage: Arc::default(),
            observer: None,
            cancellation: CancellationToken::new(),
        })
    }

    /// The same connection, with its notices going to `observer`.
    pub fn with_observer(&self, observer: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self.clone() }
    }

    /// The same connection with another policy. Its time-outs for connecting stay.
    pub fn with_retry_policy(&self, retry: RetryPolicy) -> Self {
        Self { retry, ..self.clone() }
    }

    /// The same connection, whose calls and transfers end with [`CallError::Cancelled`] once `token` is cancelled.
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { cancellation: token, ..self.clone() }
    }

    /// The coordinator's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The policy for repeated calls.
    pub fn retry_policy(&self) -> &RetryPolicy {
        &self.retry
    }

    /// A client of the job set service.
    pub fn job_sets(&self) -> JobSetServiceClient<AuthorizedChannel> {
        JobSetServiceClient::new(self.channel.clone())
    }

    /// A client of the data set service.
    pub fn data_sets(&self) -> DataSetServiceClient<AuthorizedChannel> {
        DataSetServiceClient::new(self.channel.clone())
    }

    /// A client of the log service.
    pub fn logs(&self) -> LogServiceClient<AuthorizedChannel> {
        LogServiceClient::new(self.channel.clone())
    }

    /// A client of the worker service.
    pub fn workers(&self) -> WorkerServiceClient<AuthorizedChannel> {
        WorkerServiceClient::new(self.channel.clone())
    }

    /// A client of the artifact service. [`Connection::transfers`] is more convenient.
    pub fn artifacts(&self) -> ArtifactServiceClient<AuthorizedChannel> {
        ArtifactServiceClient::new(self.channel.clone())
    }

    /// Uploads and downloads of a user. A worker adds its lease with [`Transfers::under_lease`].
    pub fn transfers(&self) -> Transfers {
        Transfers::new(self.clone())
    }

    /// Makes a call, again and again as the policy says. `method` sends the request once, over this connection; the request must
    /// be safe to repeat.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<Message, Answer, Sent>(
        &self,
        request: Message,
        method: impl Fn(Self, Message) -> Sent,
    ) -> Result<Answer, CallError>
    where
        Message: Clone,
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let mut retries = self.retries();
        let calls = async {
            loop {
                match retries.attempt(method(self.clone(), request.clone())).await {
                    Ok(response) => {
                        retries.succeeded();
                        return Ok(response.into_inner());
                    }
                    Err(status) => retries.wait(status).await?,
                }
            }
        };
        self.until_cancelled(calls).await
    }

    /// For callers that make the tries themselves, such as those of a stream.
    pub fn retries(&self) -> Retries {
        Retries::new(self.clone())
    }

    /// Runs `work` until this connection's token is cancelled.
    pub(crate) async fn until_cancelled<T, E: From<CallError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.cancellation.run_until_cancelled(work).await.unwrap_or_else(|| Err(CallError::Cancelled.into()))
    }

    /// Why an unencrypted connection breaks, if the server speaks something else.
    pub(crate) async fn other_protocol(&self) -> Option<ConnectionProblem> {
        let (host, port) = self.address.host_and_port();
        if self.address.is_encrypted() { None } else { probe(host, port).await }
    }

    /// Notes that the coordinator answered.
    pub(crate) fn answered(&self) {
        let mut outage = self.outage();
        outage.has_answered = true;
        outage.is_away = false;
    }

    /// Whether the coordinator could not be reached when a call was last tried again.
    pub fn is_away(&self) -> bool {
        self.outage().is_away
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.outage().has_answered
    }

    pub(crate) fn outage_began(&self) {
        self.outage().failing += 1;
    }

    pub(crate) fn outage_ended(&self) {
        if self.one_failing_less() {
            self.notify(&Notice::Recovered { address: &self.address });
        }
    }

    /// The failing call was given up.
    pub(crate) fn outage_abandoned(&self) {
        self.one_failing_less();
    }

    /// Whether none is failing any more, and a failure was told.
    fn one_failing_less(&self) -> bool {
        let mut outage = self.outage();
        outage.failing -= 1;
        outage.failing == 0 && !std::mem::take(&mut outage.told).is_empty()
    }

    pub(crate) fn notify_failure(&self, failure: &Failure) {
        let problem = match failure {
            Failure::Away(problem) => Some(discriminant(problem)),
            _ => None,
        };
        let kind = (discriminant(failure), problem);
        let is_news = {
            let mut outage = self.outage();
            outage.is_away |= matches!(failure, Failure::Away(_));
            let is_news = !outage.told.contains(&kind);
            if is_news {
                outage.told.push(kind);
            }
            is_news
        };
        if is_news {
            self.notify(&Notice::Retrying { address: &self.address, failure });
        }
    }

    fn notify(&self, notice: &Notice<'_>) {
        if let Some(observer) = &self.observer {
            observer(notice);
        }
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}

fn endpoint(address: &Address, retry: &RetryPolicy, user_agent: &'static str) -> Endpoint {
    let within = |timeout: Duration, share: u32| match retry.patience {
        Some(patience) => timeout.min((patience / share).max(SHORTEST_TIMEOUT)),
        None => timeout,
    };
    let endpoint = address
        .endpoint()
        .connect_timeout(within(CONNECT_TIMEOUT, 1))
        // Without it, a message of more than one segment waits for the acknowledgement of the first: 40 ms.
        .tcp_nodelay(true)
        .http2_keep_alive_interval(within(PING_INTERVAL, 2))
        .keep_alive_timeout(within(PING_TIMEOUT, 2))
        .keep_alive_while_idle(true);
    // Only text that no header may have is refused.
    endpoint.clone().user_agent(user_agent).unwrap_or(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_send_at_once() {
        let address = "http://127.0.0.1:1".parse().unwrap();
        let patience = Some(Duration::from_secs(4));
        let endpoint = endpoint(&address, &RetryPolicy::interactive(patience), "test");
        assert!(endpoint.get_tcp_nodelay());
        assert_eq!(endpoint.get_connect_timeout(), patience);
    }

    #[tokio::test]
    async fn each_kind_of_failure_is_told_once_per_outage() {
        let address = "http://127.0.0.1:1".parse().unwrap();
        let connection = Connection::new(&address, &Credentials::default(), RetryPolicy::unattended(), "test").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let connection = connection.with_observer(move |notice| sink.lock().unwrap().push(notice.to_string()));
        let starting = || Status::unavailable("starting");
        let (mut one, mut other) = (connection.retries(), connection.clone().retries());
        one.pause_after(starting()).unwrap();
        other.pause_after(starting()).unwrap();
        one.pause_after(Status::deadline_exceeded("")).unwrap();
        one.succeeded();
        assert_eq!(told.lock().unwrap().len(), 2, "the other one still fails");
        other.succeeded();
        assert_eq!(told.lock().unwrap().last().unwrap(), "the coordinator at http://127.0.0.1:1 answers again");
        one.pause_after(starting()).unwrap();
        drop(one);
        assert_eq!(told.lock().unwrap().len(), 4);
        assert!(connection.is_away(), "it has not answered since");
        connection.retries().succeeded();
        assert!(!connection.is_away());
    }
}
