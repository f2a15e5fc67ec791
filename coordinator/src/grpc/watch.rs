//! Watches: a job set's events and its state as they change.

use std::time::Duration;

use fivefold_common::ids::JobSetId;
use fivefold_proto::v1;
use tokio::sync::watch::Receiver;

use super::limits::{ReaderGone, Sender};
use super::{Services, messages};
use crate::access::Caller;
use crate::app;
use crate::error::Error;
use crate::queue::{Event, JobSet};

/// Events per message.
const EVENTS_PER_MESSAGE: u32 = 500;
/// The least time between two messages, however much changes.
const PAUSE: Duration = Duration::from_millis(300);

/// Sends what changes until the job set has ended and everything is sent, or the reader is gone.
pub(super) async fn run(
    services: Services,
    caller: Caller,
    id: JobSetId,
    mut cursor: i64,
    mut sender: Sender<v1::WatchJobSetResponse>,
) {
    let mut changes = services.coordinator.queue.changes();
    let mut sent = None;
    loop {
        changes.mark_unchanged();
        let (job_set, events) = match news(&services, &caller, &id, cursor).await {
            Ok(news) => news,
            Err(error) => return sender.end(error),
        };
        let is_last_page = events.len() < EVENTS_PER_MESSAGE as usize;
        cursor = events.last().map_or(cursor, |event| event.cursor);
        let state = job_set.state;
        let message = messages::job_set(&job_set);
        if !events.is_empty() || sent.as_ref() != Some(&message) {
            let events = events.into_iter().map(messages::event).collect();
            let response = v1::WatchJobSetResponse { events, job_set: Some(message.clone()) };
            match sender.send(response).await {
                Ok(again) => sender = again,
                Err(ReaderGone) => return,
            }
        }
        if !is_last_page {
            continue;
        }
        if state.has_ended() {
            return;
        }
        sent = Some(message);
        tokio::select! {
            () = pause_until_changed(&mut changes) => {}
            () = sender.closed() => return,
            () = services.stopping.cancelled() => {
                return sender.end(Error::Unavailable("the coordinator is stopping".into()));
            }
        }
    }
}

async fn pause_until_changed(changes: &mut Receiver<u64>) {
    tokio::time::sleep(PAUSE).await;
    // The sender goes only when the coordinator stops.
    let _ = changes.changed().await;
}

/// The job set and its events after `cursor`. The job set is read first: the events that led to its state are then among them.
async fn news(services: &Services, caller: &Caller, id: &JobSetId, cursor: i64) -> Result<(JobSet, Vec<Event>), Error> {
    caller.require_live()?;
    let job_set = app::job_set(&services.coordinator, id).await?;
    let events = app::events(&services.coordinator, id, cursor, EVENTS_PER_MESSAGE).await?;
    Ok((job_set, events))
}
