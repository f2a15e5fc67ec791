//! Uploads of checkpoints while training goes on.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use fivefold_client::{CallError, Connection, TransferError};
use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::LeaseRef;
use fivefold_proto::convert::{checkpoint_to_wire, lease_to_wire};
use fivefold_proto::status::Reason;
use fivefold_proto::v1;
use fivefold_train::SavedCheckpoint;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::report::Reported;

/// Uploads checkpoints one after the other, and records each with the coordinator when it is there.
///
/// A checkpoint that waits is replaced by a newer one of its role. Files that are not needed any more are removed; the newest
/// best one stays, because training may score with it.
#[derive(Debug)]
pub(crate) struct CheckpointUploads {
    requests: mpsc::UnboundedSender<Request>,
}

/// Why the newest checkpoint was not uploaded, if it was not.
type Uploaded = Result<(), TransferError>;

#[derive(Debug)]
enum Request {
    Upload(SavedCheckpoint),
    Flush(oneshot::Sender<Uploaded>),
}

impl CheckpointUploads {
    /// Starts the task that uploads. It ends when this is dropped.
    pub(crate) fn start(attempt: &Attempt<'_>) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let queue = Queue {
            connection: attempt.connection.clone(),
            lease: attempt.lease,
            reported: attempt.reporter.reported(),
            gone: attempt.gone.clone(),
            waiting: Vec::new(),
            newest_best: None,
            files: Vec::new(),
            failure: None,
            flushes: Vec::new(),
        };
        tokio::spawn(queue.run(receiver));
        Self { requests }
    }

    /// Takes a checkpoint and the responsibility for its file.
    pub(crate) fn add(&self, checkpoint: SavedCheckpoint) {
        // Fails when the task has ended; the next flush reports it.
        let _ = self.requests.send(Request::Upload(checkpoint));
    }

    /// Waits until no checkpoint is waiting.
    ///
    /// # Errors
    /// Why the newest checkpoint was not uploaded.
    pub(crate) async fn flush(&self) -> Uploaded {
        let (sender, receiver) = oneshot::channel();
        let ended = || TransferError::Call(CallError::Cancelled);
        self.requests.send(Request::Flush(sender)).map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())?
    }
}

/// The checkpoints that wait, and what became of those before.
struct Queue {
    connection: Connection,
    lease: LeaseRef,
    reported: Reported,
    gone: CancellationToken,
    /// At most one of each role, the oldest first.
    waiting: Vec<SavedCheckpoint>,
    newest_best: Option<PathBuf>,
    /// Every file that is still there.
    files: Vec<PathBuf>,
    failure: Option<TransferError>,
    flushes: Vec<oneshot::Sender<Uploaded>>,
}

/// An upload in progress.
struct Upload {
    path: PathBuf,
    work: Pin<Box<dyn Future<Output = Uploaded> + Send>>,
}

impl Queue {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut current: Option<Upload> = None;
        loop {
            if current.is_none() {
                current = self.next_upload();
            }
            self.remove_files(current.as_ref().map(|upload| &upload.path)).await;
            if current.is_none() {
                self.answer_flushes();
            }
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Upload(checkpoint)) => self.add(checkpoint),
                    Some(Request::Flush(flush)) => self.flushes.push(flush),
                    None => return,
                },
                uploaded = finished(&mut current) => {
                    current = None;
                    self.note(uploaded);
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

    fn next_upload(&mut self) -> Option<Upload> {
        if self.waiting.is_empty() {
            return None;
        }
        let next = self.waiting.remove(0);
        let path = next.path.clone();
        let work = upload(self.connection.clone(), self.lease, next, self.reported.clone(), self.gone.clone());
        Some(Upload { path, work: Box::pin(work) })
    }

    fn note(&mut self, uploaded: Uploaded) {
        match uploaded {
            Ok(()) => self.failure = None,
            Err(error) => {
                // The end of the lease is reported by the attempt.
                if !matches!(error, TransferError::Call(CallError::Cancelled | CallError::LeaseLost(_))) {
                    tracing::warn!("a checkpoint could not be uploaded: {error}");
                }
                self.failure = Some(error);
            }
        }
    }

    fn answer_flushes(&mut self) {
        for flush in self.flushes.drain(..) {
            let _ = flush.send(self.failure.take().map_or(Ok(()), Err));
        }
    }

    /// Removes the files that are not needed any more.
    async fn remove_files(&mut self, uploading: Option<&PathBuf>) {
        let is_needed = |path: &PathBuf| {
            uploading == Some(path)
                || self.newest_best.as_ref() == Some(path)
                || self.waiting.iter().any(|checkpoint| checkpoint.path == *path)
        };
        for path in self.files.extract_if(.., |path| !is_needed(path)) {
            if let Err(error) = tokio::fs::remove_file(&path).await {
                tracing::warn!("{} cannot be removed: {error}", path.display());
            }
        }
    }
}

/// The end of an upload; never, where there is none.
async fn finished(current: &mut Option<Upload>) -> Uploaded {
    match current {
        Some(upload) => upload.work.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Uploads a checkpoint, and records it once the metrics of its epochs are stored: whoever resumes from it does not report
/// them again.
async fn upload(
    connection: Connection,
    lease: LeaseRef,
    saved: SavedCheckpoint,
    reported: Reported,
    gone: CancellationToken,
) -> Uploaded {
    let transfers = connection.transfers().under_lease(lease);
    let upload = || transfers.upload(ArtifactKind::Checkpoint, saved.path.as_path().into());
    let artifact = upload().await?;
    gone.run_until_cancelled(reported.stored()).await.ok_or(CallError::Cancelled)?;
    let checkpoint = uploaded_checkpoint(&saved, &artifact);
    match record(&connection, lease, &checkpoint).await {
        // An equal checkpoint of another job set was held, and was superseded and deleted since.
        Err(CallError::Refused(refusal)) if refusal.reason() == Some(Reason::NotFound) => {
            upload().await?;
            record(&connection, lease, &checkpoint).await?;
        }
        recorded => recorded?,
    }
    Ok(())
}

async fn record(connection: &Connection, lease: LeaseRef, checkpoint: &Checkpoint) -> Result<(), CallError> {
    let wire = Some(checkpoint_to_wire(checkpoint));
    let request = v1::RecordCheckpointRequest { lease: Some(lease_to_wire(lease)), checkpoint: wire };
    connection.call(request, async |c, r| c.workers().record_checkpoint(r).await).await.map(|_| ())
}

/// An uploaded checkpoint as the coordinator records it.
pub(crate) fn uploaded_checkpoint(saved: &SavedCheckpoint, artifact: &Artifact) -> Checkpoint {
    Checkpoint {
        digest: artifact.digest,
        size_bytes: artifact.size_bytes,
        role: saved.role,
        point: saved.point,
        macro_f1: saved.macro_f1,
    }
}
