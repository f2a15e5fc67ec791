//! What a job needs before it runs: lists, folds, images, checkpoints and weights.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use fivefold_client::{CallError, TransferError};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest, ManifestError, ManifestRow};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::image_check::ListedImages;
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_pack::{CacheLimit, ImageKey};
use fivefold_train::{FoldData, ImageSource, Predictor, Start, Trainer, check_checkpoint, rows_by_first_need};

use crate::attempt::Attempt;
use crate::cache_folder::CacheFolder;
use crate::daemon::Worker;
use crate::failure::AttemptError;
use crate::fetching::Fetching;
use crate::image_check::check_images;
use crate::job::{Images, Initial, Job, PredictTask, Task, TrainTask};

/// A job that is ready to run.
pub(crate) struct Prepared {
    pub(crate) work: Work,
    /// Its images, if they are being fetched.
    pub(crate) fetching: Option<Fetching>,
}

pub(crate) enum Work {
    Train(Trainer),
    Predict(Predictor),
}

/// Downloads what the job needs and checks its images; before training, those of all lists of the job set. Of pushed images,
/// those of the first batch are waited for. `None` when a stop was asked for.
///
/// # Errors
/// When a list or a checkpoint cannot be used, or images are missing or cannot be used.
pub(crate) async fn prepare(attempt: &Attempt<'_>, job: Job) -> Result<Option<Prepared>, AttemptError> {
    let Job { spec, fold, images, task } = job;
    match task {
        Task::Train(task) => trainer(attempt, spec, fold, images, &task).await,
        Task::Predict(task) => predictor(attempt, spec, fold, images, &task).await,
    }
}

async fn trainer(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    images: Images,
    task: &TrainTask,
) -> Result<Option<Prepared>, AttemptError> {
    let train_list = fetch(attempt, task.train_list).await?;
    let hpa_list = match task.hpa_list {
        Some(digest) => Some(fetch(attempt, digest).await?),
        None => None,
    };
    let folds = fetch(attempt, task.folds).await?;
    let (rows, mut lists) = {
        let spec = spec.clone();
        blocking(move || read_fold_rows(&spec, fold, &train_list, hpa_list.as_deref(), &folds)).await?
    };
    // The coordinator has checked that all images of the lists are pushed.
    if images == Images::InFolder {
        if let Some(digest) = task.test_list {
            let list = read_test_list(attempt, &spec, digest).await?;
            lists.push(listed(Source::Test, &list));
        }
        if check_images(attempt, image_folder(attempt)?, layout(&spec)?, lists).await?.is_break() {
            return Ok(None);
        }
    }
    let (start, from) = start(attempt, &spec, fold, task).await?;
    let (train, valid): (Arc<[LabelledRow]>, Arc<[LabelledRow]>) = (rows.train.into(), rows.valid.into());
    let needed = {
        let (spec, train, valid) = (spec.clone(), train.clone(), valid.clone());
        move || keys(rows_by_first_need(&spec, fold, from, &train, &valid))
    };
    let Some((images, fetching)) = image_source(attempt, images, &spec, needed).await? else { return Ok(None) };
    let data = FoldData { images, train, valid, decode_threads: attempt.worker.decode_threads };
    let trainer = Trainer { spec, fold, data, device: attempt.worker.device, folder: attempt.folder.clone(), start };
    Ok(Some(Prepared { work: Work::Train(trainer), fetching }))
}

async fn predictor(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    images: Images,
    task: &PredictTask,
) -> Result<Option<Prepared>, AttemptError> {
    let list = read_test_list(attempt, &spec, task.test_list).await?;
    if images == Images::InFolder {
        let lists = vec![listed(Source::Test, &list)];
        if check_images(attempt, image_folder(attempt)?, layout(&spec)?, lists).await?.is_break() {
            return Ok(None);
        }
    }
    let row = |row: ManifestRow| LabelledRow { id: row.id, source: Source::Test, labels: row.labels };
    let rows: Arc<[LabelledRow]> = list.rows.into_iter().map(row).collect();
    let checkpoint = attempt.transfers().fetch(task.checkpoint, &attempt.folder).await?;
    let needed = {
        let rows = rows.clone();
        move || keys(rows.iter())
    };
    let Some((images, fetching)) = image_source(attempt, images, &spec, needed).await? else { return Ok(None) };
    let Worker { decode_threads, device, .. } = *attempt.worker;
    let predictor = Predictor { spec, fold, images, rows, decode_threads, device, checkpoint };
    Ok(Some(Prepared { work: Work::Predict(predictor), fetching }))
}

/// What training begins from, and at which point.
async fn start(
    attempt: &Attempt<'_>,
    spec: &JobSetSpec,
    fold: Fold,
    task: &TrainTask,
) -> Result<(Start, TrainingPoint), AttemptError> {
    if let Some(resumed) = checkpoints(attempt, spec, fold, &task.checkpoints).await? {
        return Ok(resumed);
    }
    let start = match task.initial {
        Initial::Weights(digest) => Start::Weights(fetch(attempt, digest).await?),
        // Of this fold alone, so no later job needs it.
        Initial::Model(digest) => Start::Model(attempt.transfers().fetch(digest, &attempt.folder).await?),
        Initial::Seed => Start::Seed,
    };
    Ok((start, TrainingPoint { epoch: 0, step: 0 }))
}

/// The folder of images, without which a worker gets no job that needs it.
fn image_folder(attempt: &Attempt<'_>) -> Result<Arc<ImageFolder>, AttemptError> {
    let folder = attempt.worker.images.clone();
    Ok(folder.context("this worker has no folder of images: start it with --data DIR, or push the data set")?)
}

/// The images of a job, and what fetches them if they are pushed. `needed` gives them in the order of their first need. `None`
/// when a stop was asked for.
async fn image_source(
    attempt: &Attempt<'_>,
    images: Images,
    spec: &JobSetSpec,
    needed: impl FnOnce() -> Vec<ImageKey> + Send + 'static,
) -> Result<Option<(ImageSource, Option<Fetching>)>, AttemptError> {
    let layout = layout(spec)?;
    let digest = match images {
        Images::InFolder => return Ok(Some((folder_source(attempt, layout).await?, None))),
        Images::Pushed(digest) => digest,
    };
    let index = fetch(attempt, digest).await?;
    let needed = blocking(move || Ok(needed())).await?;
    let first = needed[..needed.len().min(spec.batch_size as usize)].to_vec();
    let mut fetching = Fetching::start(attempt, index, &layout, needed).await?;
    if fetching.wait_for(attempt, &first).await?.is_break() {
        return Ok(None);
    }
    Ok(Some((fetching.images().into(), Some(fetching))))
}

/// The images of the folder, with the cache if there is one and it can be used.
async fn folder_source(attempt: &Attempt<'_>, layout: ImageLayout) -> Result<ImageSource, AttemptError> {
    let images = image_folder(attempt)?;
    let Some(CacheFolder { path, limit_bytes }) = attempt.worker.cache.decoded.clone() else {
        return Ok(images.into());
    };
    blocking(move || {
        let limit = CacheLimit::of(limit_bytes);
        Ok(ImageSource::cached(images.clone(), layout, &path, limit).unwrap_or_else(|error| {
            tracing::warn!("--cache {}: {error}; images are decoded in each epoch", path.display());
            images.into()
        }))
    })
    .await
}

fn keys<'a>(rows: impl IntoIterator<Item = &'a LabelledRow>) -> Vec<ImageKey> {
    rows.into_iter().map(|row| PackedImages::key(row.source, &row.id)).collect()
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

/// The newest usable checkpoints of each role, and the point of training that they hold. Unusable ones are skipped with a warning. If none is left to resume from, the
/// job fails: it must not start from the beginning unnoticed.
async fn checkpoints(
    attempt: &Attempt<'_>,
    spec: &JobSetSpec,
    fold: Fold,
    candidates: &[Checkpoint],
) -> Result<Option<(Start, TrainingPoint)>, AttemptError> {
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
                *slot = Some((path, candidate.point));
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
    let best = best.map(|(path, _)| path);
    Ok(last.map(|(last, point)| (Start::Checkpoint { last, best }, point)))
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
