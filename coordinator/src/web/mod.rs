//! The page: job sets and workers in a browser.
//!
//! Pages are rendered here and work without a script. The script replaces the content of an open page whenever the
//! coordinator sends it anew, and draws the curves. Links are relative, for a proxy that serves the page below a
//! path.

mod assets;
mod compare;
mod controls;
mod curves;
mod files;
mod gate;
mod job_set;
mod job_sets;
mod layout;
mod live;
mod login;
mod logs;
mod metrics;
mod problem;
mod progress;
mod remaining;
mod report;
mod sessions;
mod workers;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::remaining::Paces;
use self::sessions::Sessions;
use crate::access::Guard;
use crate::app::Coordinator;

/// Open pages that are kept up to date at a time.
const LIVE_PAGES: usize = 256;

/// Where the page is served: to browsers of this machine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebAddress {
    Off,
    /// On this address, if it is free. Otherwise there is no page.
    IfFree(SocketAddr),
    /// On this address.
    At(SocketAddr),
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Page {
    coordinator: Coordinator,
    guard: Guard,
    sessions: Sessions,
    live: Arc<Semaphore>,
    paces: Paces,
    address: SocketAddr,
    stopping: CancellationToken,
}

impl Page {
    /// A page that is served on `address`.
    pub fn new(coordinator: Coordinator, guard: Guard, address: SocketAddr, stopping: CancellationToken) -> Self {
        let live = Arc::new(Semaphore::new(LIVE_PAGES));
        Self { coordinator, guard, sessions: Sessions::default(), live, paces: Paces::default(), address, stopping }
    }
}

/// The listener of the page; `None` for no page.
///
/// # Errors
/// If other machines could reach the address, or it cannot be listened on.
pub async fn listen(address: WebAddress) -> anyhow::Result<Option<TcpListener>> {
    let (WebAddress::At(wanted) | WebAddress::IfFree(wanted)) = address else { return Ok(None) };
    ensure!(
        wanted.ip().is_loopback(),
        "--web {wanted}: the page is not encrypted, so it is served to browsers of this machine alone: name an address such \
         as 127.0.0.1:7701, and open it from elsewhere through `ssh -L 7701:127.0.0.1:7701 HUB`"
    );
    match (TcpListener::bind(wanted).await, address) {
        (Ok(listener), _) => {
            tracing::info!("the page is at http://{}", listener.local_addr()?);
            Ok(Some(listener))
        }
        (Err(error), WebAddress::IfFree(_)) if error.kind() == ErrorKind::AddrInUse => {
            tracing::warn!("there is no page: {wanted} is in use; name another address with --web");
            Ok(None)
        }
        (Err(error), _) => Err(error).with_context(|| format!("cannot listen on --web {wanted}")),
    }
}

/// Serves the page on `listener` until it is stopped.
pub async fn serve(listener: TcpListener, page: Page) {
    let stopping = page.stopping.clone();
    if let Err(error) = axum::serve(listener, router(page)).with_graceful_shutdown(stopping.cancelled_owned()).await {
        tracing::error!("the page ended: {error}");
    }
}

fn router(page: Page) -> Router {
    Router::new()
        .route("/", get(job_sets::show))
        .route("/live", get(job_sets::follow))
        .route("/job-sets/{id}", get(job_set::show))
        .route("/job-sets/{id}/live", get(job_set::follow))
        .route("/job-sets/{id}/curves", get(curves::show))
        .route("/job-sets/{id}/report", get(report::show))
        .route("/job-sets/{id}/log", get(logs::show))
        .route("/job-sets/{id}/files/{digest}/{name}", get(files::download))
        .route("/job-sets/{id}/{control}", post(controls::change_job_set))
        .route("/compare", get(compare::show))
        .route("/workers", get(workers::show))
        .route("/workers/live", get(workers::follow))
        .route("/workers/{control}", post(controls::change_worker))
        .route("/metrics", get(metrics::show))
        .route("/login", get(login::show).post(login::enter))
        .route("/logout", post(login::leave))
        .route("/assets/{name}", get(assets::send))
        .fallback(problem::no_page)
        .layer(axum::middleware::from_fn_with_state(page.clone(), gate::check))
        .with_state(page)
}
