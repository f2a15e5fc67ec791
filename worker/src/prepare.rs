//! What a job needs before it runs: lists, folds, images, checkpoints and weights.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use fivefold_client::{CallError, TransferError};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest, ManifestError, ManifestRow};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::ImageLayout;
use fivefold_images::image_check::ListedImages;
use fivefold_pack::CacheLimit;
use fivefold_train::{FoldData, ImageSource, Predictor, Start, Trainer, check_checkpoint};

use crate::attempt::Attempt;
use crate::daemon::CacheFolder;
use crate::failure::AttemptError;
use crate::image_check::check_images;
use crate::job::{Initial, Job, PredictTask, Task, TrainTask};

/// A job that is ready to run.
pub(crate) enum Prepared {
    Train(Trainer),
    Predict(Predictor),
}

/// Downloads what the job needs and checks its images; before training, those of all lists of the job set. `None` when a stop
/// was asked for.
///
/// # Errors
/// When a list or a checkpoint cannot be used, or images are missing or cannot be used.
pub(crate) async fn prepare(attempt: &Attempt<'_>, job: Job) -> Result<Option<Prepared>, AttemptError> {
    let Job { spec, fold, task } = job;
    match task {
        Task::Train(task) => Ok(trainer(attempt, spec, fold, &task).await?.map(Prepared::Train)),
        Task::Predict(task) => Ok(predictor(attempt, spec, fold, &task).await?.map(Prepared::Predict)),
    }
}

async fn trainer(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    task: &TrainTask,
) -> Result<Option<Trainer>, AttemptError> {
    let train_list = fetch(attempt, task.train_list).await?;
    let hpa_list = match task.hpa_list {
        Some(digest) => Some(fetch(attempt, digest).await?),
        None => None,
    };
    let folds = fetch(attempt, task.folds).await?;
    let (rows, mut images) = {
        let spec = spec.clone();
        blocking(move || read_fold_rows(&spec, fold, &train_list, hpa_list.as_deref(), &folds)).await?
    };
    if let Some(digest) = task.test_list {
        let list = read_test_list(attempt, &spec, digest).await?;
        images.push(listed(Source::Test, &list));
    }
    if check_images(attempt, layout(&spec)?, images).await?.is_break() {
        return Ok(None);
    }
    let data = FoldData {
        images: image_source(attempt, layout(&spec)?).await?,
        train: rows.train.into(),
        valid: rows.valid.into(),
        decode_threads: attempt.worker.decode_threads,
    };
    let start = match (checkpoints(attempt, &spec, fold, &task.checkpoints).await?, task.initial) {
        (Some(checkpoint), _) => checkpoint,
        (None, Initial::Weights(digest)) => Start::Weights(fetch(attempt, digest).await?),
        // Of this fold alone, so no later job needs it.
        (None, Initial::Model(digest)) => Start::Model(attempt.transfers().fetch(digest, &attempt.folder).await?),
        (None, Initial::Seed) => Start::Seed,
    };
    Ok(Some(Trainer { spec, fold, data, device: attempt.worker.device, folder: attempt.folder.clone(), start }))
}

async fn predictor(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    task: &PredictTask,
) -> Result<Option<Predictor>, AttemptError> {
    let list = read_test_list(attempt, &spec, task.test_list).await?;
    if check_images(attempt, layout(&spec)?, vec![listed(Source::Test, &list)]).await?.is_break() {
        return Ok(None);
    }
    let row = |row: ManifestRow| LabelledRow { id: row.id, source: Source::Test, labels: row.labels };
    let worker = attempt.worker;
    Ok(Some(Predictor {
        images: image_source(attempt, layout(&spec)?).await?,
        spec,
        fold,
        rows: list.rows.into_iter().map(row).collect(),
        decode_threads: worker.decode_threads,
        device: worker.device,
        checkpoint: attempt.transfers().fetch(task.checkpoint, &attempt.folder).await?,
    }))
}

/// The images of a job, with the cache if there is one and it can be used.
async fn image_source(attempt: &Attempt<'_>, layout: ImageLayout) -> Result<ImageSource, AttemptError> {
    let images = attempt.worker.images.clone();
    let Some(CacheFolder { path, limit_bytes }) = attempt.worker.cache.clone() else { return Ok(images.into()) };
    blocking(move || {
        let limit = CacheLimit::of(limit_bytes);
        Ok(ImageSource::cached(images.clone(), layout, &path, limit).unwrap_or_else(|error| {
            tracing::warn!("--cache {}: {error}; images are decoded in each epoch", path.display());
            images.into()
        }))
    })
    .await
}

/// Downloads a list, a folds file or weights. Later attempts use the same file.
async fn fetch(attempt: &Attempt<'_>, digest: Digest) -> Result<PathBuf, AttemptError> {
    let folder = attempt.worker.scratch.join("artifacts");
    tokio::fs::create_dir_all(&folder).await.with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(attempt.transfers().fetch(digest, &folder).await?)
}

/// The rows of a fold, and the images of all folds.
fn read_fold_rows(
    spec: &JobSetSpec,
    fold: Fold,
    train_list: &Path,
    hpa_list: Option<&Path>,
    folds: &Path,
) -> anyhow::Result<(FoldRows, Vec<ListedImages>)> {
    let labelled = |path: &Path| read_list(path, |file| Manifest::read_labelled_csv("list", spec, file));
    let train = labelled(train_list)?;
    let hpa = hpa_list.map(labelled).transpose()?;
    let file = File::open(folds).with_context(|| folds.display().to_string())?;
    let folds = FoldTable::read_csv("folds", file).context("the folds of the job set")?;
    let rows = FoldRows::of(spec, fold, &train, hpa.as_ref(), &folds).context("the lists and folds of the job set")?;
    let mut images = vec![listed(Source::Train, &train)];
    if let Some(hpa) = hpa.filter(|_| spec.train_with_hpa || spec.valid_with_hpa) {
        images.push(listed(Source::Hpa, &hpa));
    }
    Ok((rows, images))
}

async fn read_test_list(attempt: &Attempt<'_>, spec: &JobSetSpec, digest: Digest) -> Result<Manifest, AttemptError> {
    let (path, spec) = (fetch(attempt, digest).await?, spec.clone());
    blocking(move || read_list(&path, |file| Manifest::read_test_csv("list", &spec, file))).await
}

/// The layout of the images, which the coordinator has checked with the spec.
fn layout(spec: &JobSetSpec) -> Result<ImageLayout, AttemptError> {
    Ok(ImageLayout::of(spec).context("the settings of the job set")?)
}

fn listed(source: Source, list: &Manifest) -> ListedImages {
    ListedImages { source, ids: list.rows.iter().map(|row| row.id.clone()).collect() }
}

fn read_list(path: &Path, read: impl FnOnce(File) -> Result<Manifest, ManifestError>) -> anyhow::Result<Manifest> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    read(file).context("a list of the job set")
}

/// The newest usable checkpoints of each role. Unusable ones are skipped with a warning. If none is left to resume from, the
/// job fails: it must not start from the beginning unnoticed.
async fn checkpoints(
    attempt: &Attempt<'_>,
    spec: &JobSetSpec,
    fold: Fold,
    candidates: &[Checkpoint],
) -> Result<Option<Start>, AttemptError> {
    let (mut last, mut best) = (None, None);
    let mut problems = Vec::new();
    for candidate in candidates {
        let slot = match candidate.role {
            CheckpointRole::Last => &mut last,
            CheckpointRole::Best => &mut best,
        };
        if slot.is_some() {
            continue;
        }
        let point = candidate.point.words(spec.epochs);
        match checkpoint(attempt, spec, fold, candidate.digest).await? {
            Ok(path) => {
                tracing::info!("downloaded the {} checkpoint, of {point}", candidate.role);
                *slot = Some(path);
            }
            Err(problem) => {
                tracing::warn!("the checkpoint of {point} cannot be used: {problem}");
                problems.push(problem);
            }
        }
    }
    if last.is_none() && !problems.is_empty() {
        let problems = problems.join("; ");
        return Err(anyhow!("no checkpoint can be used, and the fold is not started again: {problems}").into());
    }
    Ok(last.map(|last| Start::Checkpoint { last, best }))
}

/// Downloads and checks a checkpoint. The outer error ends the attempt, the inner one concerns this checkpoint alone.
async fn checkpoint(
    attempt: &Attempt<'_>,
    spec: &JobSetSpec,
    fold: Fold,
    digest: Digest,
) -> Result<Result<PathBuf, String>, AttemptError> {
    let path = match attempt.transfers().fetch(digest, &attempt.folder).await {
        Ok(path) => path,
        Err(error @ TransferError::Call(CallError::Cancelled | CallError::LeaseLost(_))) => return Err(error.into()),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (spec, checked) = (spec.clone(), path.clone());
    let problem = blocking(move || Ok(check_checkpoint(&checked, &spec, fold).err())).await?;
    Ok(problem.map_or(Ok(path), |problem| Err(problem.to_string())))
}

/// Runs work that blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, AttemptError> {
    Ok(tokio::task::spawn_blocking(work).await.context("a thread ended early")??)
}
