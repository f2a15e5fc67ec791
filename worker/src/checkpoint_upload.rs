//! A job's checkpoints on their way to the coordinator, beside the training that makes them.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use fivefold_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::coordinator_client::{CallError, CoordinatorClient};
use crate::report_stream::Reported;
use crate::transfer::{TransferError, upload};
use fivefold_common::checkpoint::CheckpointRole;
use fivefold_train::SavedCheckpoint;

/// Uploads checkpoints one after the other, and names each to the coordinator once it holds it whole.
///
/// A checkpoint that waits gives way to a newer one of its role. Files that are no longer needed are removed; the newest
/// best one stays, since the training may want it for scoring.
#[derive(Debug)]
pub struct CheckpointUpload {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

/// What became of the uploads so far.
type Delivered = Result<HashMap<PathBuf, v1::Checkpoint>, TransferError>;

#[derive(Debug)]
enum Order {
    Upload(SavedCheckpoint),
    Flush(oneshot::Sender<Delivered>),
}

impl CheckpointUpload {
    /// Starts to wait for checkpoints; tries to deliver each until `give_up` is cancelled.
    pub fn start(
        client: CoordinatorClient,
        lease: v1::LeaseRef,
        reported: Reported,
        give_up: CancellationToken,
    ) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let line = Line {
            client,
            lease,
            reported,
            give_up,
            waiting: Vec::new(),
            newest_best: None,
            files: Vec::new(),
            delivered: HashMap::new(),
            failure: None,
        };
        Self { orders, task: tokio::spawn(line.run(receiver)) }
    }

    /// Takes a checkpoint, and the care of its file.
    pub fn add(&self, checkpoint: SavedCheckpoint) {
        // Fails when the task has ended; then the next flush says so.
        let _ = self.orders.send(Order::Upload(checkpoint));
    }

    /// Waits until every checkpoint is delivered, or none waits any more because one could not be. Returns those that
    /// were, by their files.
    ///
    /// # Errors
    /// Why the newest checkpoint did not get across.
    pub async fn flush(&self) -> Delivered {
        let (sender, receiver) = oneshot::channel();
        let gone = || TransferError::Call(CallError::GivenUp);
        self.orders.send(Order::Flush(sender)).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    /// Drops what waits, and ends.
    pub async fn end(self) {
        self.task.abort();
        // Aborted, so an error is what is expected.
        let _ = self.task.await;
    }
}

/// The checkpoints that wait, and what became of those before.
struct Line {
    client: CoordinatorClient,
    lease: v1::LeaseRef,
    reported: Reported,
    give_up: CancellationToken,
    /// At most one of each role, in the order in which they came.
    waiting: Vec<SavedCheckpoint>,
    newest_best: Option<PathBuf>,
    /// Every file that is still there.
    files: Vec<PathBuf>,
    delivered: HashMap<PathBuf, v1::Checkpoint>,
    failure: Option<TransferError>,
}

/// A delivery that is under way.
type Delivery = Pin<Box<dyn Future<Output = Result<v1::Checkpoint, TransferError>> + Send>>;

impl Line {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut under_way: Option<(PathBuf, Delivery)> = None;
        let mut flushes: Vec<oneshot::Sender<Delivered>> = Vec::new();
        loop {
            if under_way.is_none() && !self.waiting.is_empty() {
                let next = self.waiting.remove(0);
                let path = next.path.clone();
                let (client, reported, give_up) = (self.client.clone(), self.reported.clone(), self.give_up.clone());
                under_way = Some((path, Box::pin(deliver(client, self.lease, next, reported, give_up))));
            }
            self.remove_files(under_way.as_ref().map(|(path, _)| path));
            let Some((path, delivery)) = &mut under_way else {
                for flush in flushes.drain(..) {
                    let _ = flush.send(self.failure.take().map_or_else(|| Ok(self.delivered.clone()), Err));
                }
                match orders.recv().await {
                    Some(Order::Upload(checkpoint)) => self.add(checkpoint),
                    Some(Order::Flush(flush)) => flushes.push(flush),
                    None => return,
                }
                continue;
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Upload(checkpoint)) => self.add(checkpoint),
                    Some(Order::Flush(flush)) => flushes.push(flush),
                    None => return,
                },
                delivered = delivery => {
                    match delivered {
                        Ok(checkpoint) => {
                            self.failure = None;
                            self.delivered.insert(path.clone(), checkpoint);
                        }
                        Err(error) => {
                            if !matches!(error, TransferError::Call(CallError::GivenUp | CallError::LeaseLost(_))) {
                                tracing::warn!("a checkpoint could not be delivered: {error}");
                            }
                            self.failure = Some(error);
                        }
                    }
                    under_way = None;
                }
            }
        }
    }

    fn add(&mut self, checkpoint: SavedCheckpoint) {
        if checkpoint.role == CheckpointRole::Best {
            self.newest_best = Some(checkpoint.path.clone());
        }
        if !self.files.contains(&checkpoint.path) {
            self.files.push(checkpoint.path.clone());
        }
        self.waiting.retain(|waiting| waiting.role != checkpoint.role);
        self.waiting.push(checkpoint);
    }

    /// Removes the files that nobody needs any more.
    fn remove_files(&mut self, under_way: Option<&PathBuf>) {
        let (waiting, best) = (&self.waiting, &self.newest_best);
        self.files.retain(|path| {
            let is_needed = under_way == Some(path)
                || best.as_ref() == Some(path)
                || waiting.iter().any(|checkpoint| checkpoint.path == *path);
            if !is_needed && let Err(error) = std::fs::remove_file(path) {
                tracing::warn!("{}: cannot be removed: {error}", path.display());
            }
            is_needed
        });
    }
}

/// Uploads a checkpoint and then names it to the coordinator, once the metrics of its epochs are stored there: whoever goes on
/// from it does not report them again.
async fn deliver(
    client: CoordinatorClient,
    lease: v1::LeaseRef,
    saved: SavedCheckpoint,
    reported: Reported,
    give_up: CancellationToken,
) -> Result<v1::Checkpoint, TransferError> {
    let artifact = upload(&client, v1::ArtifactKind::Checkpoint, &saved.path, lease, &give_up).await?;
    tokio::select! {
        () = reported.stored() => {}
        () = give_up.cancelled() => return Err(CallError::GivenUp.into()),
    }
    let checkpoint = checkpoint_to_wire(&saved, &artifact);
    let request = v1::RecordCheckpointRequest { lease: Some(lease), checkpoint: Some(checkpoint.clone()) };
    client
        .persist("record a checkpoint", &give_up, || {
            let (mut workers, request) = (client.workers(), request.clone());
            async move { workers.record_checkpoint(request).await }
        })
        .await?;
    Ok(checkpoint)
}

/// A checkpoint as the coordinator knows it.
pub(crate) fn checkpoint_to_wire(saved: &SavedCheckpoint, artifact: &v1::Artifact) -> v1::Checkpoint {
    let role = match saved.role {
        CheckpointRole::Last => v1::CheckpointRole::Last,
        CheckpointRole::Best => v1::CheckpointRole::Best,
    };
    v1::Checkpoint {
        digest: artifact.digest.clone(),
        size_bytes: artifact.size_bytes,
        role: role.into(),
        epoch: saved.point.epoch,
        step: saved.point.step,
        macro_f1: saved.macro_f1,
    }
}
