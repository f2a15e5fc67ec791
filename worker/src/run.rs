//! Training and prediction on a thread of their own.

use std::time::Duration;

use anyhow::Context as _;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::checkpoint::Checkpoint;
use fivefold_common::progress::{EpochReport, Progress, epoch_words};
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::Objective;
use fivefold_train::{Event, EventSink, Predictor, Scored, TrainError, TrainOutcome, Trainer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::checkpoint_uploads::{CheckpointUploads, uploaded_checkpoint};
use crate::failure::AttemptError;
use crate::fetching::Fetching;
use crate::prepare::Work;

/// How long the thread may go on after it was asked to stop at once. It looks at the flag with every batch.
const STOP_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the training is silent before the progress of the images that it waits for is reported.
const SILENCE: Duration = Duration::from_secs(30);

/// The thread does not stop. It occupies its device until the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the training did not stop within {} s after its lease was gone", STOP_TIMEOUT.as_secs())]
pub(crate) struct ThreadStuck;

/// The result of a job.
pub(crate) struct JobResult {
    /// Out-of-fold scores of a train job, scores of the test list of a predict job.
    pub(crate) scores: ScoreTable,
    /// The kind of `scores`.
    pub(crate) kind: ArtifactKind,
    /// The checkpoint that a train job scored with, without optimiser state; it is uploaded.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// Runs prepared work; `None` when it was stopped. `fetching` are its images, if they are being fetched.
///
/// # Errors
/// When training, scoring, or the upload of a checkpoint fails.
pub(crate) async fn run(
    attempt: &Attempt<'_>,
    work: Work,
    fetching: Option<&Fetching>,
) -> Result<Option<JobResult>, AttemptError> {
    match work {
        Work::Train(trainer) => train(attempt, trainer, fetching).await,
        Work::Predict(predictor) => predict(attempt, predictor, fetching).await,
    }
}

async fn train(
    attempt: &Attempt<'_>,
    trainer: Trainer,
    fetching: Option<&Fetching>,
) -> Result<Option<JobResult>, AttemptError> {
    let (stop, epoch_count, objective) = (attempt.stop.clone(), trainer.spec.epochs, trainer.spec.objective);
    let mut thread = TrainingThread::start(move |sink| trainer.run(sink, &stop));
    let uploads = CheckpointUploads::start(attempt);
    let mut epoch_began = Instant::now();
    while let Some(event) = thread.next_event(&attempt.gone, fetching).await? {
        match event {
            Event::Progress(progress) => attempt.reporter.progress(progress),
            Event::EpochEnded(metrics) => {
                let duration_seconds = epoch_began.elapsed().as_secs_f64();
                epoch_began = Instant::now();
                let epoch = EpochReport { metrics, duration_seconds };
                log_epoch(attempt, &epoch, epoch_count, objective);
                attempt.reporter.epoch(epoch);
            }
            Event::CheckpointSaved(checkpoint) => uploads.add(checkpoint),
        }
    }
    let outcome = thread.outcome().await?;
    uploads.flush().await?;
    let TrainOutcome::Finished { checkpoint, out_of_fold } = outcome else { return Ok(None) };
    let artifact = attempt.transfers().upload(ArtifactKind::Checkpoint, checkpoint.path.as_path().into()).await?;
    let checkpoint = Some(uploaded_checkpoint(&checkpoint, &artifact));
    Ok(Some(JobResult { scores: out_of_fold, kind: ArtifactKind::Oof, checkpoint }))
}

fn log_epoch(attempt: &Attempt<'_>, epoch: &EpochReport, epoch_count: u32, objective: Objective) {
    let EpochReport { metrics, duration_seconds } = epoch;
    tracing::info!(
        "{}: {} took {duration_seconds:.0} s: training loss {:.4}, validation loss {:.4}, macro F1 {:.4}{}",
        attempt.lease,
        epoch_words(metrics.epoch, epoch_count),
        metrics.train_loss,
        metrics.valid_loss,
        metrics.macro_f1,
        metrics.objective.map_or(String::new(), |value| format!(", {} {value:.4}", objective.title()))
    );
}

async fn predict(
    attempt: &Attempt<'_>,
    predictor: Predictor,
    fetching: Option<&Fetching>,
) -> Result<Option<JobResult>, AttemptError> {
    let stop = attempt.stop.clone();
    let mut thread = TrainingThread::start(move |sink| predictor.run(sink, &stop));
    while let Some(event) = thread.next_event(&attempt.gone, fetching).await? {
        match event {
            Event::Progress(progress) => attempt.reporter.progress(progress),
            Event::EpochEnded(_) | Event::CheckpointSaved(_) => {}
        }
    }
    match thread.outcome().await? {
        Scored::Finished(scores) => Ok(Some(JobResult { scores, kind: ArtifactKind::Predictions, checkpoint: None })),
        Scored::Stopped => Ok(None),
    }
}

/// A thread that works with libtorch, and its events.
struct TrainingThread<T> {
    events: mpsc::UnboundedReceiver<Event>,
    outcome: oneshot::Receiver<Result<T, TrainError>>,
}

impl<T: Send + 'static> TrainingThread<T> {
    fn start(work: impl FnOnce(&mut dyn EventSink) -> Result<T, TrainError> + Send + 'static) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let (outcome_sender, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            // The receivers are gone when the lease is lost.
            let outcome = work(&mut |event: Event| drop(event_sender.send(event)));
            let _ = outcome_sender.send(outcome);
        });
        Self { events, outcome }
    }

    /// The next event; `None` when the thread has ended. While the thread waits for images, their progress is an event.
    async fn next_event(
        &mut self,
        gone: &CancellationToken,
        fetching: Option<&Fetching>,
    ) -> Result<Option<Event>, ThreadStuck> {
        let is_stuck = async {
            gone.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            event = self.events.recv() => Ok(event),
            () = is_stuck => Err(ThreadStuck),
            progress = progress_of_wait(fetching) => Ok(Some(Event::Progress(progress))),
        }
    }

    /// What the thread returned, once there are no more events.
    async fn outcome(self) -> Result<T, AttemptError> {
        Ok(self.outcome.await.context("the training thread ended early")??)
    }
}

/// Returns once the training has been silent for a while, and waits for images.
async fn progress_of_wait(fetching: Option<&Fetching>) -> Progress {
    let Some(fetching) = fetching else { return std::future::pending().await };
    loop {
        tokio::time::sleep(SILENCE).await;
        if fetching.is_awaited() {
            return fetching.progress();
        }
    }
}
