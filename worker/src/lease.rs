//! One leased job's life: fetch what it needs, train or predict on a thread of its own, deliver.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::job::{FailureCause, JobKind};
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest, ManifestKind, ManifestRow};
use fivefold_common::progress::{EpochReport, Phase, Progress};
use fivefold_common::scores::{ScoreTable, Source};
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{
    digest_from_wire, epoch_to_wire, failure_cause_to_wire, fold_from_wire, job_kind_from_wire,
    optional_digest_from_wire, progress_to_wire, required, spec_from_wire,
};
use fivefold_proto::v1;
use fivefold_train::torch::device;
use fivefold_train::{
    Device, Event, FoldData, ImageFolder, Predictor, Scored, Start, Stop, StopFlag, TrainError, TrainOutcome, Trainer,
    checkpoint,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checkpoint_upload::{CheckpointUpload, checkpoint_to_wire};
use crate::coordinator_client::{CallError, CoordinatorClient};
use crate::report_stream::{LeaseEnd, LeaseSignals, Reporter};
use crate::transfer::{TransferError, download, upload};

/// How long a worker that was asked to stop tries to deliver what it has.
const FAREWELL: Duration = Duration::from_secs(120);
/// How long a thread may go on after its lease is gone. It looks at its stop flag with every batch.
const THREAD_PATIENCE: Duration = Duration::from_secs(300);

/// Where a worker works.
#[derive(Debug, Clone)]
pub struct Workplace {
    /// The images.
    pub folder: Arc<ImageFolder>,
    /// Downloads and checkpoints; what is in it may be deleted between leases.
    pub scratch: PathBuf,
    /// The device.
    pub device: Device,
    /// Threads that decode images.
    pub decode_threads: usize,
}

/// A job as the worker understands it.
#[derive(Debug, Clone)]
struct Job {
    lease: v1::LeaseRef,
    kind: JobKind,
    fold: Fold,
    spec: JobSetSpec,
    train: Digest,
    hpa: Option<Digest>,
    test: Option<Digest>,
    weights: Option<Digest>,
    folds: Digest,
    checkpoints: Vec<v1::Checkpoint>,
}

impl Job {
    fn from_wire(lease: v1::Lease) -> anyhow::Result<Job> {
        let manifests = required("manifests", lease.manifests)?;
        Ok(Job {
            lease: v1::LeaseRef { job_id: lease.job_id, attempt: lease.attempt },
            kind: job_kind_from_wire(lease.kind)?,
            fold: fold_from_wire(lease.fold)?,
            spec: spec_from_wire(required("spec", lease.spec)?)?,
            train: digest_from_wire("manifests.train_digest", &manifests.train_digest)?,
            hpa: optional_digest_from_wire("manifests.hpa_digest", &manifests.hpa_digest)?,
            test: optional_digest_from_wire("manifests.test_digest", &manifests.test_digest)?,
            weights: optional_digest_from_wire("manifests.weights_digest", &manifests.weights_digest)?,
            folds: digest_from_wire("folds_digest", &lease.folds_digest)?,
            checkpoints: lease.checkpoints,
        })
    }
}

/// What work on a job came to.
enum Outcome {
    /// It is delivered.
    Delivered,
    /// It was asked to stop; what was to be kept is with the coordinator.
    GivenBack,
}

/// Why work on a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("{0}")]
    BadData(String),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Hung(#[from] Hung),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl JobError {
    fn cause(&self) -> FailureCause {
        match self {
            Self::BadData(_) | Self::Train(TrainError::Image(_)) => FailureCause::BadData,
            Self::Train(TrainError::OutOfMemory { .. }) => FailureCause::OutOfMemory,
            Self::Train(TrainError::NonFiniteLoss { .. } | TrainError::NonFiniteScore { .. }) => {
                FailureCause::NonFiniteLoss
            }
            Self::Train(_) | Self::Transfer(_) | Self::Call(_) | Self::Hung(_) | Self::Other(_) => FailureCause::Error,
        }
    }
}

/// The training thread does not stop. Its device cannot be used for anything else: only a new process helps.
#[derive(Debug, thiserror::Error)]
#[error("the training hangs: it did not stop {} s after its lease was gone", THREAD_PATIENCE.as_secs())]
pub struct Hung;

/// What work on one lease shares.
struct Desk<'a> {
    client: &'a CoordinatorClient,
    workplace: &'a Workplace,
    job: Job,
    /// This lease's own files.
    folder: PathBuf,
    reporter: &'a Reporter,
    stop: &'a StopFlag,
    /// Cancelled when nothing can be delivered any more: the lease is gone, or the time to hand over is up.
    gone: &'a CancellationToken,
}

/// Works on a lease until it is delivered, failed, given back or lost. `asked_at` is when it was asked for; `leaving` is
/// cancelled when the worker has to go.
///
/// # Errors
/// [`Hung`]; every other failure is told to the coordinator.
pub async fn work_on(
    client: &CoordinatorClient,
    workplace: &Workplace,
    lease: v1::Lease,
    asked_at: Instant,
    leaving: &CancellationToken,
) -> Result<(), Hung> {
    let reference = v1::LeaseRef { job_id: lease.job_id, attempt: lease.attempt };
    let name = format!("job {} (fold {}, attempt {})", lease.job_id, lease.fold, lease.attempt);
    tracing::info!("{name} begins");
    // A worker that leaves gives back what it holds.
    let signals = LeaseSignals { give_back: leaving.child_token(), gone: CancellationToken::new() };
    let (stop, gone) = (StopFlag::new(), signals.gone.clone());
    let reporter = Reporter::start(client.clone(), reference, lease.lease_seconds, asked_at, signals.clone());
    reporter.progress(progress_to_wire(&Progress::start_of(Phase::Preparing)));
    let folder = workplace.scratch.join(format!("job-{}-{}", reference.job_id, reference.attempt));
    let told = stop.clone();
    let watch = tokio::spawn(async move { stop_when_due(&signals, &told).await });

    let worked = async {
        let job = Job::from_wire(lease)?;
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let desk =
            Desk { client, workplace, job, folder: folder.clone(), reporter: &reporter, stop: &stop, gone: &gone };
        match desk.job.kind {
            JobKind::Train => train(&desk).await,
            JobKind::Predict => predict(&desk).await,
        }
    }
    .await;
    let ending = if matches!(worked, Err(JobError::Hung(_))) { Err(Hung) } else { Ok(()) };
    match worked {
        _ if gone.is_cancelled() => match reporter.end().await {
            Some(LeaseEnd::Cancelled) => tracing::info!("{name} was cancelled"),
            Some(LeaseEnd::Lost(reason)) => tracing::warn!("{name} is dropped: {reason}"),
            None => tracing::warn!("{name} could not be handed over in time: it is dropped"),
        },
        Ok(Outcome::Delivered) => tracing::info!("{name} is delivered"),
        Ok(Outcome::GivenBack) => {
            let request = v1::ReleaseLeaseRequest { lease: Some(reference) };
            let released = client.persist("take a lease back", &gone, || release(client, request)).await;
            match released {
                Ok(_) => tracing::info!("{name} is given back"),
                Err(error) => tracing::warn!("{name} could not be given back: {error}"),
            }
        }
        Err(error) => {
            tracing::error!("{name} failed: {error}");
            let cause = failure_cause_to_wire(error.cause()).into();
            let request = v1::FailJobRequest { lease: Some(reference), cause, message: error.to_string() };
            let told = client.persist("hear of a failure", &gone, || {
                let (mut workers, request) = (client.workers(), request.clone());
                async move { workers.fail_job(request).await }
            });
            if let Err(error) = told.await {
                tracing::warn!("the coordinator could not be told that {name} failed: {error}");
            }
        }
    }
    watch.abort();
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::debug!("{} stays: {error}", folder.display());
    }
    ending
}

async fn release(
    client: &CoordinatorClient,
    request: v1::ReleaseLeaseRequest,
) -> Result<tonic::Response<v1::ReleaseLeaseResponse>, tonic::Status> {
    client.workers().release_lease(request).await
}

/// Sets the stop flag when the lease is to be given back or is gone, and gives up handing over after [`FAREWELL`].
async fn stop_when_due(signals: &LeaseSignals, stop: &StopFlag) {
    let LeaseSignals { give_back, gone } = signals;
    tokio::select! {
        () = gone.cancelled() => {}
        () = async {
            give_back.cancelled().await;
            stop.ask(Stop::SaveAndStop);
            tokio::time::sleep(FAREWELL).await;
        } => gone.cancel(),
    }
    stop.ask(Stop::Discard);
}

async fn train(desk: &Desk<'_>) -> Result<Outcome, JobError> {
    let Desk { workplace, job, .. } = desk;
    let train = read_list(desk, job.train, ManifestKind::Labelled).await?;
    let hpa = match job.hpa {
        Some(digest) => Some(read_list(desk, digest, ManifestKind::Labelled).await?),
        None => None,
    };
    let path = fetch(desk, job.folds).await?;
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let folds = FoldTable::read_csv("folds", file).context("folds")?;
    let rows = FoldRows::of(&job.spec, job.fold, &train, hpa.as_ref(), &folds).context("lists and folds")?;
    let data = FoldData {
        folder: workplace.folder.clone(),
        train: rows.train.into(),
        valid: rows.valid.into(),
        decode_threads: workplace.decode_threads,
    };
    require_images(&workplace.folder, data.train.iter().chain(data.valid.iter()).cloned().collect()).await?;
    let start = match (fetch_checkpoints(desk).await?, job.weights) {
        (Some(checkpoint), _) => checkpoint,
        (None, Some(digest)) => Start::Weights(fetch(desk, digest).await?),
        (None, None) => Start::Seed,
    };
    if desk.stop.asked().is_some() {
        return Ok(Outcome::GivenBack);
    }

    let (events, mut received) = mpsc::unbounded_channel();
    let trained = {
        let (spec, fold, device, folder) = (job.spec.clone(), job.fold, workplace.device, desk.folder.clone());
        let (trainer, stop) = (Trainer { spec, fold, data, device, folder, start }, desk.stop.clone());
        // The receiver is gone when the lease is lost; then nobody wants to know.
        on_a_thread(move || trainer.run(&mut |event: Event| drop(events.send(event)), &stop))
    };
    let uploads = CheckpointUpload::start(desk.client.clone(), job.lease, desk.reporter.reported(), desk.gone.clone());
    let mut epoch_began = Instant::now();
    while let Some(event) = next_event(&mut received, desk.gone).await? {
        match event {
            Event::Progress(progress) => desk.reporter.progress(progress_to_wire(&progress)),
            Event::EpochEnded(metrics) => {
                let duration_seconds = epoch_began.elapsed().as_secs_f64();
                epoch_began = Instant::now();
                desk.reporter.epoch(epoch_to_wire(&EpochReport { metrics, duration_seconds }));
            }
            Event::CheckpointSaved(checkpoint) => uploads.add(checkpoint),
        }
    }
    // All events are in: the thread has ended, or is about to.
    let finished = trained.await.context("the training thread ended early")??;
    let delivered = uploads.flush().await?;
    let TrainOutcome::Finished { checkpoint, out_of_fold } = finished else { return Ok(Outcome::GivenBack) };
    let checkpoint = match delivered.get(&checkpoint.path) {
        Some(delivered) => delivered.clone(),
        // The one that was resumed from: training was finished, only its scores were missing.
        None => {
            let kind = v1::ArtifactKind::Checkpoint;
            let artifact = upload(desk.client, kind, &checkpoint.path, job.lease, desk.gone).await?;
            checkpoint_to_wire(&checkpoint, &artifact)
        }
    };
    deliver(desk, &out_of_fold, Some(checkpoint)).await
}

async fn predict(desk: &Desk<'_>) -> Result<Outcome, JobError> {
    let Desk { workplace, job, .. } = desk;
    let test = job.test.ok_or_else(|| anyhow!("a predict job without a test list"))?;
    let list = read_list(desk, test, ManifestKind::Test).await?;
    let row = |row: ManifestRow| LabelledRow { id: row.id, source: Source::Test, labels: row.labels };
    let rows: Arc<[LabelledRow]> = list.rows.into_iter().map(row).collect();
    require_images(&workplace.folder, rows.to_vec()).await?;
    let wire = job.checkpoints.first().ok_or_else(|| anyhow!("a predict job without a checkpoint"))?;
    let digest = digest_from_wire("checkpoint.digest", &wire.digest).context("lease")?;
    let checkpoint = download(desk.client, digest, &desk.folder, desk.job.lease, desk.gone).await?;
    if desk.stop.asked().is_some() {
        return Ok(Outcome::GivenBack);
    }

    let (events, mut received) = mpsc::unbounded_channel();
    let scored = {
        let predictor = Predictor {
            spec: job.spec.clone(),
            fold: job.fold,
            folder: workplace.folder.clone(),
            rows,
            decode_threads: workplace.decode_threads,
            device: workplace.device,
            checkpoint,
        };
        let stop = desk.stop.clone();
        on_a_thread(move || predictor.run(&mut |event: Event| drop(events.send(event)), &stop))
    };
    while let Some(event) = next_event(&mut received, desk.gone).await? {
        if let Event::Progress(progress) = event {
            desk.reporter.progress(progress_to_wire(&progress));
        }
    }
    match scored.await.context("the scoring thread ended early")?? {
        Scored::Finished(table) => deliver(desk, &table, None).await,
        Scored::Stopped => Ok(Outcome::GivenBack),
    }
}

/// Uploads the result and completes the job.
async fn deliver(desk: &Desk<'_>, table: &ScoreTable, checkpoint: Option<v1::Checkpoint>) -> Result<Outcome, JobError> {
    let Desk { client, job, gone, .. } = desk;
    desk.reporter.progress(progress_to_wire(&Progress::start_of(Phase::Uploading)));
    let path = desk.folder.join("scores.csv");
    let written = File::create(&path).and_then(|file| table.write_csv(std::io::BufWriter::new(file)));
    written.with_context(|| path.display().to_string())?;
    let kind = match job.kind {
        JobKind::Train => v1::ArtifactKind::Oof,
        JobKind::Predict => v1::ArtifactKind::Predictions,
    };
    let result = upload(client, kind, &path, job.lease, gone).await?;
    desk.reporter.flush().await;
    let made_by = serde_json::json!({
        "fivefold": env!("CARGO_PKG_VERSION"),
        "libtorch": device::LIBTORCH_VERSION,
        "device": device::describe(desk.workplace.device),
    });
    let request = v1::CompleteJobRequest {
        lease: Some(job.lease),
        result: Some(result),
        checkpoint,
        made_by_json: made_by.to_string(),
    };
    client
        .persist("take a result", gone, || {
            let (mut workers, request) = (client.workers(), request.clone());
            async move { workers.complete_job(request).await }
        })
        .await?;
    Ok(Outcome::Delivered)
}

/// The next event of a thread; none when the thread has ended.
async fn next_event(
    received: &mut mpsc::UnboundedReceiver<Event>,
    gone: &CancellationToken,
) -> Result<Option<Event>, Hung> {
    tokio::select! {
        event = received.recv() => Ok(event),
        () = async { gone.cancelled().await; tokio::time::sleep(THREAD_PATIENCE).await } => Err(Hung),
    }
}

/// Runs work of libtorch on a thread of its own.
fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TrainError> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<Result<T, TrainError>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody waits for it when the lease was lost.
        let _ = sender.send(work());
    });
    receiver
}

/// Refuses a job whose images are not all here.
async fn require_images(folder: &Arc<ImageFolder>, rows: Vec<LabelledRow>) -> Result<(), JobError> {
    let folder = folder.clone();
    let missing = tokio::task::spawn_blocking(move || folder.missing(&rows)).await.context("looking for images")?;
    match missing {
        Ok(None) => Ok(()),
        Ok(Some(missing)) => Err(JobError::BadData(missing.to_string())),
        Err(error) => Err(JobError::BadData(error.to_string())),
    }
}

/// The newest checkpoint that can be had. One that cannot is passed over, loudly; with none left the job fails rather than
/// starting anew.
async fn fetch_checkpoints(desk: &Desk<'_>) -> Result<Option<Start>, JobError> {
    let (mut last, mut best) = (None, None);
    let mut problems = Vec::new();
    for wire in &desk.job.checkpoints {
        let slot = match wire.role() {
            v1::CheckpointRole::Best => &mut best,
            _ => &mut last,
        };
        if slot.is_some() {
            continue;
        }
        let digest = digest_from_wire("checkpoint.digest", &wire.digest).context("lease")?;
        let got = match download(desk.client, digest, &desk.folder, desk.job.lease, desk.gone).await {
            Ok(path) => match checkpoint::check(&path, &desk.job.spec, desk.job.fold) {
                Ok(()) => Ok(path),
                Err(error) => Err(error.to_string()),
            },
            Err(error @ TransferError::Call(CallError::GivenUp | CallError::LeaseLost(_))) => return Err(error.into()),
            Err(error) => Err(error.to_string()),
        };
        match got {
            Ok(path) => {
                tracing::info!(
                    "there is the {} of epoch {}, step {}",
                    wire.role().as_str_name(),
                    wire.epoch,
                    wire.step
                );
                *slot = Some(path);
            }
            Err(problem) => {
                tracing::warn!("the checkpoint of epoch {}, step {} cannot be used: {problem}", wire.epoch, wire.step);
                problems.push(problem);
            }
        }
    }
    if last.is_none() && !problems.is_empty() {
        let problems = problems.join("; ");
        return Err(anyhow!("no checkpoint can be used, and the fold is not started anew: {problems}").into());
    }
    Ok(last.map(|last| Start::Checkpoint { last, best }))
}

/// Downloads a list or weights, once for all leases.
async fn fetch(desk: &Desk<'_>, digest: Digest) -> Result<PathBuf, JobError> {
    let folder = desk.workplace.scratch.join("artifacts");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(download(desk.client, digest, &folder, desk.job.lease, desk.gone).await?)
}

async fn read_list(desk: &Desk<'_>, digest: Digest, kind: ManifestKind) -> Result<Manifest, JobError> {
    let path = fetch(desk, digest).await?;
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    Ok(Manifest::read_csv("list", kind, file).context("a list of the job")?)
}
