//! The coordinator, which may not be there for a while: calls wait for it, and say so on stderr.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use fivefold_common::one_line::one_line;
use fivefold_proto::client::{self, Credentials, Line};
use fivefold_proto::status::{busy_delay, is_worth_retrying, reason_word};
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

use crate::error::{Refused, Unreachable, problem_of};

/// How long one try of a call may take. A coordinator that splits large lists on submission needs some of it.
const CALL_SECONDS: u64 = 120;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where the coordinator is, and how long to wait for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Coordinator")]
pub(crate) struct ConnectionArgs {
    /// The coordinator's address
    #[arg(long, global = true, env = "FIVEFOLD_COORDINATOR", value_name = "URL", default_value = "http://127.0.0.1:7700", value_parser = checked_url)]
    coordinator: String,
    /// How long to wait for a coordinator that is not there, each time [default: forever]
    #[arg(long, global = true, value_name = "N")]
    wait_seconds: Option<u64>,
    /// A file with the token to show; FIVEFOLD_TOKEN may hold the token itself (a flag would show it to all users of this machine)
    #[arg(long, global = true, env = "FIVEFOLD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that signed the coordinator's certificate, PEM [default: those that the system trusts]
    #[arg(long, global = true, env = "FIVEFOLD_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// This client's certificate, PEM, for a coordinator that asks for one
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl ConnectionArgs {
    fn credentials(&self) -> Credentials {
        Credentials {
            token_file: self.token_file.clone(),
            token: std::env::var("FIVEFOLD_TOKEN").ok(),
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        }
    }
}

fn checked_url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("it should be http://HOST:PORT or https://HOST:PORT".to_owned());
    }
    let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| format!("not an address: {error}"))?;
    match endpoint.uri().port_u16() {
        Some(_) => Ok(url),
        None => Err("it should be http://HOST:PORT; the coordinator's port is 7700 unless told otherwise".to_owned()),
    }
}

/// The way to a coordinator. Nothing is connected before the first call.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    url: String,
    line: Line,
    wait_seconds: Option<u64>,
}

impl Coordinator {
    /// Has to be made inside a tokio runtime.
    pub(crate) fn new(args: &ConnectionArgs) -> anyhow::Result<Coordinator> {
        let endpoint = Endpoint::from_shared(args.coordinator.clone())
            .context("--coordinator")?
            .user_agent(concat!("fivefold/", env!("CARGO_PKG_VERSION")))
            .context("user agent")?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            // A machine that lost its power says nothing: without these a watch would wait for it for ever.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let line = client::line(endpoint, &args.credentials())?;
        Ok(Coordinator { url: args.coordinator.clone(), line, wait_seconds: args.wait_seconds })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn job_sets(&self) -> JobSetServiceClient<Line> {
        JobSetServiceClient::new(self.line.clone())
    }

    pub(crate) fn artifacts(&self) -> ArtifactServiceClient<Line> {
        ArtifactServiceClient::new(self.line.clone())
    }

    pub(crate) fn workers(&self) -> WorkerServiceClient<Line> {
        WorkerServiceClient::new(self.line.clone())
    }

    /// No outage yet.
    pub(crate) fn outage(&self) -> Outage<'_> {
        Outage { coordinator: self, since: None, pause: FIRST_PAUSE, said: None }
    }

    /// Makes a call, again and again while the coordinator is not there. `attempt` must be safe to repeat.
    ///
    /// # Errors
    /// [`Refused`] with the coordinator's answer, or [`Unreachable`].
    pub(crate) async fn call<T>(&self, attempt: impl AsyncFn() -> Result<Response<T>, Status>) -> anyhow::Result<T> {
        let mut outage = self.outage();
        loop {
            match in_time(attempt()).await {
                Ok(response) => {
                    outage.end(say_on_stderr);
                    return Ok(response.into_inner());
                }
                Err(status) => outage.wait_or_refuse(status, say_on_stderr).await?,
            }
        }
    }
}

/// Bounds one try of a call.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(Duration::from_secs(CALL_SECONDS), call).await;
    answer.unwrap_or_else(|_| Err(Status::unavailable(format!("no answer within {CALL_SECONDS} s"))))
}

pub(crate) fn say_on_stderr(text: &str) {
    eprintln!("fivefold: {text}");
}

/// Tries that failed since the coordinator was last heard of.
#[derive(Debug)]
pub(crate) struct Outage<'a> {
    coordinator: &'a Coordinator,
    since: Option<Instant>,
    pause: Duration,
    said: Option<String>,
}

impl Outage<'_> {
    /// After a failed try: pauses, longer each time, where another try may help.
    ///
    /// # Errors
    /// [`Refused`] where it cannot help, [`Unreachable`] when the user does not want to wait any longer.
    pub(crate) async fn wait_or_refuse(&mut self, status: Status, say: impl FnOnce(&str)) -> anyhow::Result<()> {
        if !is_outage(&status) {
            return Err(Refused(status).into());
        }
        let problem = one_line(&problem_of(&status)).into_owned();
        let url = &self.coordinator.url;
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        let mut pause = self.pause;
        if let Some(wait_seconds) = self.coordinator.wait_seconds {
            let left = Duration::from_secs(wait_seconds).saturating_sub(waited);
            if left.is_zero() {
                return Err(Unreachable { url: url.clone(), wait_seconds, problem }.into());
            }
            pause = pause.min(left);
        }
        let busy_delay = busy_delay(&status);
        pause = pause.max(busy_delay.unwrap_or_default());
        if self.said.as_ref() != Some(&problem) {
            let trouble = if busy_delay.is_some() { "the coordinator is busy" } else { "no coordinator" };
            say(&format!("{trouble} at {url} ({problem}); waiting for it, Ctrl-C ends this"));
            self.said = Some(problem);
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// The coordinator was heard of.
    pub(crate) fn end(&mut self, say: impl FnOnce(&str)) {
        if self.said.take().is_some() {
            say("the coordinator is there");
        }
        self.since = None;
        self.pause = FIRST_PAUSE;
    }
}

/// Whether the same call may work a little later. A full disk will not empty itself while we wait.
fn is_outage(status: &Status) -> bool {
    let connection_broke =
        status.code() == Code::Internal && reason_word(status).is_none() && std::error::Error::source(status).is_some();
    busy_delay(status).is_some()
        || status.code() != Code::ResourceExhausted && (connection_broke || is_worth_retrying(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str, wait_seconds: Option<u64>) -> ConnectionArgs {
        ConnectionArgs {
            coordinator: url.into(),
            wait_seconds,
            token_file: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
        }
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(checked_url("hub:7700").unwrap(), "http://hub:7700");
        assert_eq!(checked_url("http://[::1]:80").unwrap(), "http://[::1]:80");
        assert_eq!(checked_url("https://hub:7700").unwrap(), "https://hub:7700");
        for text in ["ftp://hub:7700", "http://hub", "http://", "a b", ""] {
            assert!(checked_url(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_missing_coordinator_is_waited_for_within_limits() {
        let args = |wait_seconds| args("http://127.0.0.1:1", wait_seconds);
        let coordinator = Coordinator::new(&args(Some(0))).unwrap();
        let error = coordinator
            .call(async || coordinator.workers().list_workers(fivefold_proto::v1::ListWorkersRequest {}).await)
            .await
            .unwrap_err();
        assert!(error.is::<Unreachable>());
        assert!(error.to_string().contains("no coordinator at http://127.0.0.1:1 within 0 s"), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn calls_are_repeated_until_they_work() {
        let coordinator = Coordinator::new(&args("http://127.0.0.1:1", None)).unwrap();
        let tries = std::cell::Cell::new(0);
        let answer = coordinator.call(async || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(Status::unavailable("starting")) } else { Ok(Response::new(7)) }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let refused = coordinator.call(async || Err::<Response<()>, _>(Status::resource_exhausted("full"))).await;
        assert!(refused.unwrap_err().is::<Refused>());
    }
}
