//! What a job needs before it runs: lists, folds, images, checkpoints and weights.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use fivefold_client::{CallError, TransferError};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest, ManifestError, ManifestRow};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_train::{FoldData, ImageFolder, Predictor, Start, Trainer, check_checkpoint};

use crate::attempt::Attempt;
use crate::failure::AttemptError;
use crate::job::{Job, PredictTask, Task, TrainTask};

/// A job that is ready to run.
pub(crate) enum Prepared {
    Train(Trainer),
    Predict(Predictor),
}

/// Downloads what the job needs and checks that its images are there.
///
/// # Errors
/// When a list or a checkpoint cannot be used, or images are missing.
pub(crate) async fn prepare(attempt: &Attempt<'_>, job: Job) -> Result<Prepared, AttemptError> {
    let Job { spec, fold, task } = job;
    match task {
        Task::Train(task) => Ok(Prepared::Train(trainer(attempt, spec, fold, &task).await?)),
        Task::Predict(task) => Ok(Prepared::Predict(predictor(attempt, spec, fold, &task).await?)),
    }
}

async fn trainer(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    task: &TrainTask,
) -> Result<Trainer, AttemptError> {
    let train_list = fetch(attempt, task.train_list).await?;
    let hpa_list = match task.hpa_list {
        Some(digest) => Some(fetch(attempt, digest).await?),
        None => None,
    };
    let folds = fetch(attempt, task.folds).await?;
    let rows = {
        let spec = spec.clone();
        blocking(move || read_fold_rows(&spec, fold, &train_list, hpa_list.as_deref(), &folds)).await?
    };
    let data = FoldData {
        folder: attempt.worker.images.clone(),
        train: rows.train.into(),
        valid: rows.valid.into(),
        decode_threads: attempt.worker.decode_threads,
    };
    require_images(&data.folder, data.train.iter().chain(data.valid.iter()).cloned().collect()).await?;
    let start = match (checkpoints(attempt, &spec, fold, &task.checkpoints).await?, task.weights) {
        (Some(checkpoint), _) => checkpoint,
        (None, Some(digest)) => Start::Weights(fetch(attempt, digest).await?),
        (None, None) => Start::Seed,
    };
    Ok(Trainer { spec, fold, data, device: attempt.worker.device, folder: attempt.folder.clone(), start })
}

async fn predictor(
    attempt: &Attempt<'_>,
    spec: JobSetSpec,
    fold: Fold,
    task: &PredictTask,
) -> Result<Predictor, AttemptError> {
    let path = fetch(attempt, task.test_list).await?;
    let rows: Arc<[LabelledRow]> = blocking(move || {
        let list = read_list(&path, |file| Manifest::read_test_csv("list", file))?;
        let row = |row: ManifestRow| LabelledRow { id: row.id, source: Source::Test, labels: row.labels };
        Ok(list.rows.into_iter().map(row).collect())
    })
    .await?;
    let worker = attempt.worker;
    require_images(&worker.images, rows.to_vec()).await?;
    Ok(Predictor {
        spec,
        fold,
        folder: worker.images.clone(),
        rows,
        decode_threads: worker.decode_threads,
        device: worker.device,
        checkpoint: attempt.transfers().fetch(task.checkpoint, &attempt.folder).await?,
    })
}

/// Downloads a list, a folds file or weights. Later attempts use the same file.
async fn fetch(attempt: &Attempt<'_>, digest: Digest) -> Result<PathBuf, AttemptError> {
    let folder = attempt.worker.scratch.join("artifacts");
    tokio::fs::create_dir_all(&folder).await.with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(attempt.transfers().fetch(digest, &folder).await?)
}

fn read_fold_rows(
    spec: &JobSetSpec,
    fold: Fold,
    train_list: &Path,
    hpa_list: Option<&Path>,
    folds: &Path,
) -> anyhow::Result<FoldRows> {
    let labelled = |path: &Path| read_list(path, |file| Manifest::read_labelled_csv("list", &spec.group_column, file));
    let train = labelled(train_list)?;
    let hpa = hpa_list.map(labelled).transpose()?;
    let file = File::open(folds).with_context(|| folds.display().to_string())?;
    let folds = FoldTable::read_csv("folds", file).context("the folds of the job set")?;
    FoldRows::of(spec, fold, &train, hpa.as_ref(), &folds).context("the lists and folds of the job set")
}

fn read_list(path: &Path, read: impl FnOnce(File) -> Result<Manifest, ManifestError>) -> anyhow::Result<Manifest> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    read(file).context("a list of the job set")
}

/// Refuses a job whose images are not all there.
async fn require_images(folder: &Arc<ImageFolder>, rows: Vec<LabelledRow>) -> Result<(), AttemptError> {
    let folder = folder.clone();
    let missing = blocking(move || Ok(folder.missing(&rows))).await?;
    match missing {
        Ok(None) => Ok(()),
        Ok(Some(missing)) => Err(AttemptError::BadData(missing.to_string())),
        Err(error) => Err(AttemptError::BadData(error.to_string())),
    }
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
        let (epoch, step) = (candidate.point.epoch, candidate.point.step);
        match checkpoint(attempt, spec, fold, candidate.digest).await? {
            Ok(path) => {
                tracing::info!("downloaded the {} checkpoint of epoch {epoch}, step {step}", candidate.role);
                *slot = Some(path);
            }
            Err(problem) => {
                tracing::warn!("the checkpoint of epoch {epoch}, step {step} cannot be used: {problem}");
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
