//! Pages, and their content anew whenever it changes.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fivefold_common::ids::JobSetId;
use maud::Markup;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::gate::{self, Viewer};
use super::layout::{self, Root};
use super::problem::Problem;
use super::{Page, job_set, job_sets, workers};
use crate::error::Error;
use crate::queue::SubmissionNumber;

/// The least time between two versions of a page, however much changes.
const PAUSE: Duration = Duration::from_secs(1);
/// A page changes with time alone, too: a worker is gone.
const AGE: Duration = Duration::from_secs(20);

/// What a live page shows.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Job sets that were submitted before the one of that number; the newest ones if it is `None`.
    JobSets {
        before: Option<SubmissionNumber>,
    },
    JobSet(JobSetId),
    Workers,
}

impl Content {
    /// Where its versions are, relative to its page.
    fn path(&self) -> String {
        match self {
            Self::JobSets { before: None } => "live".to_owned(),
            Self::JobSets { before: Some(number) } => format!("live?before={}", number.0),
            Self::JobSet(id) => format!("{id}/live"),
            Self::Workers => "workers/live".to_owned(),
        }
    }

    async fn render(&self, page: &Page, viewer: Viewer) -> Result<Markup, Error> {
        match self {
            Self::JobSets { before } => job_sets::content(page, *before).await,
            Self::JobSet(id) => job_set::content(page, viewer, id).await,
            Self::Workers => workers::content(page, viewer).await,
        }
    }
}

/// A page.
pub(super) async fn page(
    page: &Page,
    root: Root<'_>,
    title: &str,
    viewer: Viewer,
    content: Content,
) -> Result<Response, Problem> {
    let live = content.path();
    let content = content.render(page, viewer).await?;
    Ok(layout::live_page(root, title, viewer, &content, &live).into_response())
}

/// The content of a page, now and whenever it changes.
pub(super) async fn versions(page: Page, headers: HeaderMap, content: Content) -> Result<Response, Problem> {
    let Ok(permit) = page.live.clone().try_acquire_owned() else {
        return Err(Error::Busy("too many pages are open: this one is not kept up to date".into()).into());
    };
    let (sender, events) = mpsc::channel(1);
    tokio::spawn(async move {
        let _permit = permit;
        send_versions(&page, &headers, &content, &sender).await;
    });
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response())
}

async fn send_versions(
    page: &Page,
    headers: &HeaderMap,
    content: &Content,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) {
    let mut changes = page.coordinator.queue.changes();
    let mut sent = String::new();
    loop {
        changes.mark_unchanged();
        // The session may have ended. The page then asks again, and is sent to the login.
        let Some(viewer) = gate::viewer(page, headers) else { return };
        // A job set that was deleted has no content any more; its page stays as it was.
        let Ok(version) = content.render(page, viewer).await else { return };
        let version = version.into_string();
        if version != sent {
            if sender.send(Ok(Event::default().data(&version))).await.is_err() {
                return;
            }
            sent = version;
        }
        tokio::select! {
            () = pause_until_changed(&mut changes) => {}
            () = sender.closed() => return,
            () = page.stopping.cancelled() => return,
        }
    }
}

async fn pause_until_changed(changes: &mut tokio::sync::watch::Receiver<u64>) {
    tokio::time::sleep(PAUSE).await;
    // The sender goes only when the coordinator stops.
    let _ = tokio::time::timeout(AGE, changes.changed()).await;
}
