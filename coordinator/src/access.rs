//! Authorisation. Every call carries a bearer token whose role has to allow the call. While no token was ever created, every
//! call is allowed: only for a coordinator that listens on its own machine.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use fivefold_common::role::Role;
use fivefold_proto::status::{Reason, has_reason, status};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::error::Error;
use crate::listener::Peer;
use crate::queue::Queue;

/// The beginning of every token, by which a leaked one is recognised.
const PREFIX: &str = "ffv1_";
/// A revoked token is refused after this long at most.
const REFRESH: Duration = Duration::from_millis(500);
/// Unknown tokens make the coordinator read the tokens again, for they may be new: this often at most.
const RELOAD_PAUSE: Duration = Duration::from_millis(50);
/// The health service, which says only whether the coordinator is up, and needs no token.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The caller of a call. Services find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's hash and role; `None` where no token is needed.
    token: Option<(blake3::Hash, Role)>,
    guard: Guard,
}

impl Caller {
    /// The caller of `request`.
    ///
    /// # Errors
    /// When the request did not pass a [`Guard`].
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Caller, Error> {
        let caller = request.extensions().get::<Caller>().cloned();
        caller.ok_or_else(|| Error::RoleNotEnough("the call was not authorised".into()))
    }

    /// Whether it may reach only the artifacts of its lease.
    pub fn is_worker(&self) -> bool {
        matches!(self.token, Some((_, Role::Worker)))
    }

    /// Checks that a stream may go on: its token is still valid, or it has none and none is needed yet.
    ///
    /// # Errors
    /// [`Error::TokenRevoked`].
    pub fn require_live(&self) -> Result<(), Error> {
        let is_live = match self.token {
            Some((hash, _)) => self.guard.role_of(hash).is_some(),
            None => !self.guard.asks_for_tokens(),
        };
        if is_live { Ok(()) } else { Err(Error::TokenRevoked) }
    }
}

/// The roles that may call a method, by its path; `None` for an unknown method.
fn roles_of(path: &str) -> Option<&'static [Role]> {
    use Role::{ReadOnly, User, Worker};
    let (service, method) = path.trim_start_matches('/').split_once('/')?;
    Some(match (service, method) {
        (
            "fivefold.v1.JobSetService",
            "GetJobSet" | "ResolveJobSet" | "ListJobSets" | "WatchJobSet" | "ListEpochMetrics" | "FitTrainedFolds"
            | "GetDiskUsage",
        ) => &[User, ReadOnly],
        (
            "fivefold.v1.JobSetService",
            "SubmitJobSet" | "FinishJobSet" | "CancelJobSet" | "PauseJobSet" | "ResumeJobSet" | "RetryJobSet"
            | "RetrainFold" | "ExtendJobSet" | "PredictJobSet" | "DeleteJobSet",
        ) => &[User],
        ("fivefold.v1.DataSetService", "GetDataSet" | "ListDataSets") => &[User, ReadOnly],
        ("fivefold.v1.DataSetService", "PutDataSet" | "DeleteDataSet" | "FindMissingArtifacts") => &[User],
        ("fivefold.v1.WorkerService", "ListWorkers") => &[User, ReadOnly],
        ("fivefold.v1.WorkerService", "DrainWorker" | "UndrainWorker") => &[User],
        (
            "fivefold.v1.WorkerService",
            "RegisterWorker" | "UnregisterWorker" | "AcquireLease" | "ReportJob" | "RecordCheckpoint" | "CompleteJob"
            | "FailJob" | "ReleaseLease",
        ) => &[Worker],
        ("fivefold.v1.LogService", "AppendLogLines") => &[Worker],
        ("fivefold.v1.LogService", "ListLogLines") => &[User, ReadOnly],
        ("fivefold.v1.ArtifactService", "GetUpload" | "UploadArtifact") => &[User, Worker],
        ("fivefold.v1.ArtifactService", "DownloadArtifact") => &[User, Worker, ReadOnly],
        ("grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection", _) => {
            &[User, Worker, ReadOnly]
        }
        _ => return None,
    })
}

/// A new token: 32 random bytes in hex.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token() -> Result<String, getrandom::Error> {
    Ok(format!("{PREFIX}{}", random_hex()?))
}

/// 32 random bytes in hex.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The stored form of a token. A token is as random as a key, so a plain hash protects it.
pub fn token_hash(token: &str) -> blake3::Hash {
    blake3::hash(token.as_bytes())
}

#[derive(Debug, Default)]
struct Tokens {
    /// Whether one was ever created.
    any: bool,
    live: Vec<(blake3::Hash, Role)>,
}

/// The tokens, as they were in the database a moment ago. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    queue: Arc<dyn Queue>,
    tokens: Arc<RwLock<Tokens>>,
    /// When the tokens were read last for an unknown one. Whoever holds it reads them.
    reloaded: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(queue: Arc<dyn Queue>) -> Result<Guard, Error> {
        let guard = Guard { queue, tokens: Arc::default(), reloaded: Arc::default() };
        guard.refresh().await?;
        Ok(guard)
    }

    /// Reads the tokens twice a second until `stopping` is cancelled.
    pub async fn keep_fresh(self, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                () = stopping.cancelled() => return,
            }
            self.refresh_or_log().await;
        }
    }

    async fn refresh_or_log(&self) {
        if let Err(error) = self.refresh().await {
            tracing::error!("cannot read the tokens, those read before stay valid: {error}");
        }
    }

    /// Reads the tokens for an unknown one, unless they were read after `asked`.
    async fn reload(&self, asked: Instant) {
        let mut reloaded = self.reloaded.lock().await;
        if let Some(last) = *reloaded {
            if last > asked {
                return;
            }
            tokio::time::sleep_until(last + RELOAD_PAUSE).await;
        }
        *reloaded = Some(Instant::now());
        self.refresh_or_log().await;
    }

    async fn refresh(&self) -> Result<(), Error> {
        let tokens = self.queue.tokens().await?;
        let any = !tokens.is_empty();
        let live = tokens.into_iter().filter(|token| token.revoked.is_none()).map(|token| (token.hash, token.role));
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Tokens { any, live: live.collect() };
        Ok(())
    }

    /// Whether calls need a token.
    pub fn asks_for_tokens(&self) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).any
    }

    /// The role of a valid token. Takes the same time for every token: all hashes are compared, each in constant time.
    pub(crate) fn role_of(&self, hash: blake3::Hash) -> Option<Role> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let mut role = None;
        for (live, live_role) in &tokens.live {
            if *live == hash {
                role = Some(*live_role);
            }
        }
        role
    }

    fn authorise_request(&self, request: &http::Request<Body>) -> Result<Caller, Status> {
        self.authorise(request.uri().path(), request.headers(), request.extensions().get::<Peer>())
    }

    /// Authorises a call of `path` over the connection of `peer`.
    fn authorise(&self, path: &str, headers: &http::HeaderMap, peer: Option<&Peer>) -> Result<Caller, Status> {
        let anybody = Caller { token: None, guard: self.clone() };
        let is_health = path.starts_with(HEALTH);
        let caller = if is_health || !self.asks_for_tokens() { Ok(anybody) } else { self.caller(headers) };
        let roles = roles_of(path);
        match peer {
            Some(peer) if !is_health && caller.is_ok() && roles.is_some() => peer.admit(),
            Some(peer) => peer.extend(),
            None => {}
        }
        let caller = caller?;
        match (caller.token, roles) {
            _ if is_health => Ok(caller),
            (_, None) => Err(Status::unimplemented(format!("this coordinator has no call {path}"))),
            (Some((_, role)), Some(roles)) if !roles.contains(&role) => {
                let needed: Vec<&str> = roles.iter().map(|role| role.word()).collect();
                let message =
                    format!("this needs a token of the role {}; yours has the role {role}", needed.join(" or "));
                Err(status(Reason::RoleNotEnough, message))
            }
            _ => Ok(caller),
        }
    }

    /// The caller with the token of these headers.
    fn caller(&self, headers: &http::HeaderMap) -> Result<Caller, Status> {
        let Some(token) = bearer_token(headers) else {
            let message = "a token is needed: name its file with --token-file, or set FIVEFOLD_TOKEN";
            return Err(status(Reason::TokenNeeded, message));
        };
        let hash = token_hash(token);
        let Some(role) = self.role_of(hash) else {
            let message = "the token is unknown or was revoked: ask for a new one";
            return Err(status(Reason::TokenNeeded, message));
        };
        Ok(Caller { token: Some((hash, role)), guard: self.clone() })
    }
}

impl<S> tower_layer::Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let authorised = self.guard.authorise_request(&request);
        match authorised {
            Ok(caller) => Box::pin(self.inner.call(of_caller(request, caller))),
            Err(status) if has_reason(&status, Reason::TokenNeeded) && bearer_token(request.headers()).is_some() => {
                let guard = self.guard.clone();
                // This one is ready; the clone may not be.
                let inner = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, inner);
                Box::pin(async move {
                    guard.reload(Instant::now()).await;
                    match guard.authorise_request(&request) {
                        Ok(caller) => inner.call(of_caller(request, caller)).await,
                        Err(status) => Ok(status.into_http()),
                    }
                })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

/// The request as the services get it.
fn of_caller(mut request: http::Request<Body>, caller: Caller) -> http::Request<Body> {
    // Not needed from here on, and so it cannot be logged by mistake.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    request.extensions_mut().insert(caller);
    request
}

/// The token that a request carries.
pub(crate) fn bearer_token(headers: &http::HeaderMap) -> Option<&str> {
    headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_has_its_roles() {
        let files = prost_types::FileDescriptorSet::decode(fivefold_proto::DESCRIPTORS).unwrap();
        let mut methods = 0;
        for service in files.file.iter().filter(|file| file.package() == "fivefold.v1").flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/fivefold.v1.{}/{}", service.name(), method.name());
                assert!(roles_of(&path).is_some(), "{path} is not in the table");
                methods += 1;
            }
        }
        assert!(methods >= 23, "{methods}");
        assert!(roles_of("/fivefold.v1.JobSetService/Nothing").is_none());
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert!(one.len() == PREFIX.len() + 64 && one != other);
    }
}
