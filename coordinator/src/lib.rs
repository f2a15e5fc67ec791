//! Fivefold's coordinator: the SQLite queue of fold jobs, the artifact store, the threshold and the submission.

pub mod access;
pub mod app;
pub mod blobs;
pub mod clock;
pub mod error;
pub mod grpc;
pub mod listener;
pub mod queue;
pub mod state_folder;
pub mod web;

use std::fs::TryLockError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fivefold_proto::v1::artifact_service_server::ArtifactServiceServer;
use fivefold_proto::v1::data_set_service_server::DataSetServiceServer;
use fivefold_proto::v1::job_set_service_server::JobSetServiceServer;
use fivefold_proto::v1::log_service_server::LogServiceServer;
use fivefold_proto::v1::worker_service_server::WorkerServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::access::Guard;
use crate::app::{Coordinator, Counts, DueJobSets, ScoreTables, Settings};
use crate::blobs::Claims;
use crate::blobs::folder::FolderBlobs;
use crate::clock::SystemClock;
use crate::grpc::Services;
use crate::grpc::limits::Limits;
use crate::listener::ConnectionLimits;
pub use crate::listener::Tls;
use crate::queue::sqlite::{Durability, SqliteQueue};
use crate::web::{Page, WebAddress};

/// Concurrent calls over one connection; further ones wait in the client.
const STREAMS_PER_CONNECTION: u32 = 1024;

/// Age at which an artifact without a reference is deleted. Whoever uploads refers to the upload soon after its end, or never.
const UNREFERENCED_SECONDS: u32 = 3600;

/// The settings of a coordinator.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the database and the blobs.
    pub state: PathBuf,
    /// Time until a lease expires without renewal, in seconds.
    pub lease_seconds: u32,
    /// Time without progress, in seconds, after which a job is taken back although its lease is renewed; 0 means no limit.
    pub stall_seconds: u32,
    /// Days after which job sets that have ended are deleted; 0 means never.
    pub retain_days: u32,
    /// Certificates of encrypted connections; `None` for connections in plain text.
    pub tls: Option<Tls>,
    /// Whether to listen on the network without encryption or tokens.
    pub exposure: Exposure,
    /// Concurrent calls of each kind.
    pub limits: Limits,
    /// Open connections, and deadlines of those without an authorised call.
    pub connections: ConnectionLimits,
    /// Where the page is served.
    pub web: WebAddress,
}

/// Whether a coordinator listens on an address that other machines can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Only with encryption and tokens.
    Guarded,
    /// Always.
    Insecure,
}

impl Config {
    /// The default settings, for a state folder.
    pub fn new(state: impl Into<PathBuf>) -> Config {
        let (lease_seconds, stall_seconds, retain_days) = (60, 1800, 0);
        let (exposure, limits) = (Exposure::Guarded, Limits::default());
        let connections = ConnectionLimits::default();
        Config {
            state: state.into(),
            lease_seconds,
            stall_seconds,
            retain_days,
            tls: None,
            exposure,
            limits,
            connections,
            web: WebAddress::Off,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            lease_seconds: self.lease_seconds,
            stall_seconds: self.stall_seconds,
            unreferenced_seconds: UNREFERENCED_SECONDS,
            retain_days: self.retain_days,
        }
    }
}

/// Serves on `listener` until `stopping` is cancelled.
///
/// # Errors
/// When the state folder cannot be used, or another coordinator uses it.
pub async fn run(config: Config, listener: TcpListener, stopping: CancellationToken) -> anyhow::Result<()> {
    let database_file = state_folder::create(&config.state)?;
    let _lock = lock(&config.state)?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let serving = tonic_health::ServingStatus::Serving;
    let not_serving = tonic_health::ServingStatus::NotServing;
    reporter.set_service_status("", not_serving).await;

    let queue = Arc::new(SqliteQueue::open(&database_file, Durability::Disk).await?);
    let guard = Guard::load(queue.clone()).await?;
    let address = listener.local_addr()?;
    check_exposure(address, &config, &guard)?;
    let handshake = config.tls.as_ref().map(Tls::server_config).transpose().context("cannot encrypt connections")?;
    let coordinator = coordinator_of(&config, queue).await?;
    resume(&coordinator).await?;
    serve_page(&config, &coordinator, &guard, &stopping).await?;
    let services = Services::new(coordinator.clone(), config.limits, stopping.clone());
    let upkeep = tokio::spawn(app::run_upkeep(coordinator, stopping.clone()));
    let fresh = tokio::spawn(guard.clone().keep_fresh(stopping.clone()));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .layer(guard)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // Older clients, grpcurl and Python's grpcio among them, ask for this one.
        .add_service(reflection().build_v1alpha()?)
        .add_service(JobSetServiceServer::new(services.clone()))
        .add_service(DataSetServiceServer::new(services.clone()))
        .add_service(LogServiceServer::new(services.clone()))
        .add_service(WorkerServiceServer::new(services.clone()))
        .add_service(ArtifactServiceServer::new(services));
    reporter.set_service_status("", serving).await;
    tracing::info!("listening on {}://{address}", if handshake.is_some() { "https" } else { "http" });
    let connections = listener::accept(listener, config.connections, stopping.clone());
    let stopped = stopping.clone().cancelled_owned();
    let served = async {
        match handshake {
            Some(handshake) => {
                server.serve_with_incoming_shutdown(listener::encrypt(connections, handshake), stopped).await
            }
            None => server.serve_with_incoming_shutdown(connections, stopped).await,
        }
    };
    // Streams end when `stopping` is cancelled, but a connection ends only when its client closes it.
    let outcome = tokio::select! {
        outcome = served => outcome.context("serving"),
        () = async { stopping.cancelled().await; tokio::time::sleep(Duration::from_secs(10)).await } => Ok(()),
    };
    reporter.set_service_status("", not_serving).await;
    stopping.cancel();
    upkeep.await.context("upkeep panicked")?;
    fresh.await.context("reading the tokens panicked")?;
    outcome
}

/// What the use cases work with.
async fn coordinator_of(config: &Config, queue: Arc<SqliteQueue>) -> anyhow::Result<Coordinator> {
    Ok(Coordinator {
        queue,
        blobs: Arc::new(FolderBlobs::open(&config.state).await?),
        clock: Arc::new(SystemClock),
        claims: Claims::default(),
        due: DueJobSets::default(),
        score_tables: ScoreTables::default(),
        counts: Counts::default(),
        settings: config.settings(),
    })
}

/// Serves the page, if there is to be one, until `stopping` is cancelled.
async fn serve_page(
    config: &Config,
    coordinator: &Coordinator,
    guard: &Guard,
    stopping: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(listener) = web::listen(config.web).await? {
        let page = Page::new(coordinator.clone(), guard.clone(), listener.local_addr()?, stopping.clone());
        tokio::spawn(web::serve(listener, page));
    }
    Ok(())
}

/// Deletes unreferenced files and extends the leases, before any call is served.
async fn resume(coordinator: &Coordinator) -> anyhow::Result<()> {
    let deleted = app::start_blobs(coordinator).await?;
    if deleted > 0 {
        tracing::info!("deleted {deleted} unreferenced files");
    }
    let leases = app::resume_work(coordinator).await?;
    if leases > 0 {
        let lease_seconds = coordinator.settings.lease_seconds;
        tracing::info!("extended {leases} leases by {lease_seconds} s, for their workers to reconnect");
    }
    Ok(())
}

/// Refuses to listen on an address of the network without encryption and tokens, unless told to.
fn check_exposure(address: SocketAddr, config: &Config, guard: &Guard) -> anyhow::Result<()> {
    let has_tokens = guard.asks_for_tokens();
    if address.ip().is_loopback() || (config.tls.is_some() && has_tokens) {
        return Ok(());
    }
    match config.exposure {
        Exposure::Guarded => bail!(
            "other machines can reach {address}: set --tls-cert and --tls-key and create tokens \
             (`fivefold-coordinator token create`), or use --insecure on a network that you fully trust"
        ),
        Exposure::Insecure if has_tokens => {
            tracing::warn!("INSECURE: tokens cross the network to {address} in plain text")
        }
        Exposure::Insecure => {
            tracing::warn!("INSECURE: everyone who can reach {address} can read and change everything")
        }
    }
    Ok(())
}

/// The reflection service, which describes every service of this port.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fivefold_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Locks the state folder for this process, until the file is closed.
fn lock(state: &Path) -> anyhow::Result<std::fs::File> {
    let path = state.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another coordinator uses the state folder {}", state.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
