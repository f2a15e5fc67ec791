//! `fivefold export`: the models of trained folds in another format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::job::JobKind;
use fivefold_onnx::{About, TrainedModel};
use fivefold_proto::convert::{job_kind_from_wire, job_state_from_wire, required, spec_from_wire};
use fivefold_proto::v1::{Artifact, FitTrainedFoldsRequest, Job, JobSet};
use serde_json::json;

use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::commands::results::{job_results, nothing_yet};
use crate::console::{OutputFormat, notify, print, print_json};
use crate::error::UsageError;
use crate::job_set_name::JobSetName;
use crate::render::text::word;
use crate::transfer::download_as;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Folder for ONNX files, created if missing: fold-0.onnx and so on
    #[arg(long, value_name = "DIR")]
    onnx: PathBuf,
    /// Only this fold, counted from 0 [default: every trained fold]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..100))]
    fold: Option<u32>,
    /// Replace files of the same names
    #[arg(long)]
    replace: bool,
}

/// Downloads the models of the trained folds, or of one, and writes each as an ONNX file.
pub(crate) async fn run(args: &ExportArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let id = args.id.resolve(coordinator).await?;
    let job_set = get_job_set(coordinator, &id).await?;
    let exported = exports(&job_set, args)?;
    fs::create_dir_all(&args.onnx).with_context(|| format!("cannot create {}", args.onnx.display()))?;
    let spec = spec_from_wire(required("job_set.spec", job_set.spec.clone())?)?;
    let about = About {
        job_set: job_set.id.clone(),
        classes: spec.class_names(),
        threshold: threshold(&job_set, coordinator).await?,
    };
    for export in &exported {
        write(coordinator, export, &about).await?;
    }
    if args.fold.is_none() {
        notify_of_missing_folds(&job_set, &exported);
    }
    match format {
        OutputFormat::Json => {
            let folds: Vec<u32> = exported.iter().map(|export| export.fold).collect();
            let files: Vec<&PathBuf> = exported.iter().map(|export| &export.path).collect();
            print_json(&json!({"id": job_set.id, "threshold": about.threshold, "folds": folds, "files": files}))
        }
        OutputFormat::Text => {
            let files: Vec<String> = exported.iter().map(|export| export.path.display().to_string()).collect();
            print(&format!("Files: {}\n", files.join(", ")))
        }
    }
}

/// A fold's model and the file that it is written to.
struct Export<'a> {
    fold: u32,
    model: &'a Artifact,
    path: PathBuf,
}

/// What is to be exported. It is an error if that is nothing, or if a file is already there and may not be replaced.
fn exports<'a>(job_set: &'a JobSet, args: &ExportArgs) -> anyhow::Result<Vec<Export<'a>>> {
    let is_wanted = |job: &Job| args.fold.is_none_or(|fold| fold == job.fold);
    let models = job_results(job_set, ArtifactKind::Checkpoint).into_iter().filter(|(job, _)| is_wanted(job));
    let exported: Vec<Export<'a>> = models
        .map(|(job, model)| Export { fold: job.fold, model, path: args.onnx.join(format!("fold-{}.onnx", job.fold)) })
        .collect();
    if exported.is_empty() {
        match args.fold {
            Some(fold) => bail!("{}", no_such_model(job_set, fold)),
            None => bail!("{}", nothing_yet(job_set)),
        }
    }
    let present = exported.iter().find(|export| export.path.symlink_metadata().is_ok());
    if let Some(Export { path, .. }) = present.filter(|_| !args.replace) {
        let problem = format!("{} is already there: replace it with --replace, or name another folder", path.display());
        return Err(UsageError(problem).into());
    }
    Ok(exported)
}

/// Why a fold has no model.
fn no_such_model(job_set: &JobSet, fold: u32) -> String {
    let id = &job_set.id;
    match train_jobs(job_set).find(|job| job.fold == fold) {
        Some(job) => format!("fold {fold} of {id} is not trained ({})", state_of(job)),
        None => {
            let folds: Vec<String> = train_jobs(job_set).map(|job| job.fold.to_string()).collect();
            format!("{id} has no fold {fold}: its folds are {}", folds.join(", "))
        }
    }
}

fn train_jobs(job_set: &JobSet) -> impl Iterator<Item = &Job> {
    job_set.jobs.iter().filter(|job| job_kind_from_wire(job.kind) == Ok(JobKind::Train))
}

/// The state of a job with its reason.
fn state_of(job: &Job) -> String {
    let state = word(job_state_from_wire(job.state));
    if job.state_reason.is_empty() { state.to_owned() } else { format!("{state}: {}", job.state_reason) }
}

fn notify_of_missing_folds(job_set: &JobSet, exported: &[Export<'_>]) {
    for job in train_jobs(job_set).filter(|job| exported.iter().all(|export| export.fold != job.fold)) {
        notify(&format!("fold {} is missing ({})", job.fold, state_of(job)));
    }
}

/// The threshold of the newest fit; while folds are missing, that of the trained ones, as in `fivefold results`.
async fn threshold(job_set: &JobSet, coordinator: &Connection) -> anyhow::Result<f64> {
    if let Some(threshold) = job_set.threshold {
        return Ok(threshold);
    }
    let request = FitTrainedFoldsRequest { job_set_id: job_set.id.clone() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().fit_trained_folds(r).await).await?;
    Ok(required("fit", answer.fit)?.threshold)
}

/// Downloads a model and writes it as ONNX. The downloaded file is deleted.
async fn write(coordinator: &Connection, export: &Export<'_>, about: &About) -> anyhow::Result<()> {
    let Export { fold, model, path } = export;
    let folder = path.parent().unwrap_or(Path::new("."));
    let downloads = tempfile::tempdir_in(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    let checkpoint = downloads.path().join("model.safetensors");
    download_as(coordinator, model, &checkpoint, &format!("the model of fold {fold}")).await?;
    let cannot_export = || format!("cannot export fold {fold}");
    let trained = TrainedModel::read(&checkpoint).with_context(cannot_export)?;
    fivefold_onnx::write(&trained, about, path).with_context(cannot_export)
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1;

    use super::*;
    use crate::exit_status::ExitStatus;

    fn job(fold: u32, state: v1::job::State, reason: &str) -> Job {
        let results = match state {
            v1::job::State::Succeeded => vec![
                Artifact { kind: v1::ArtifactKind::Oof.into(), digest: "o".into(), size_bytes: 1 },
                Artifact { kind: v1::ArtifactKind::Checkpoint.into(), digest: fold.to_string(), size_bytes: 1 },
            ],
            _ => Vec::new(),
        };
        let kind = v1::JobKind::Train.into();
        Job { kind, fold, state: state.into(), state_reason: reason.into(), results, ..Job::default() }
    }

    fn job_set() -> JobSet {
        let predicted = Job { kind: v1::JobKind::Predict.into(), ..job(2, v1::job::State::Queued, "") };
        JobSet {
            id: "js-abcdefgh".into(),
            jobs: vec![
                job(0, v1::job::State::Succeeded, ""),
                job(1, v1::job::State::Failed, "the loss is not finite"),
                job(2, v1::job::State::Succeeded, ""),
                job(3, v1::job::State::Leased, ""),
                predicted,
            ],
            ..JobSet::default()
        }
    }

    fn args(folder: &Path, fold: Option<u32>) -> ExportArgs {
        let Ok(id) = "@".parse();
        ExportArgs { id, onnx: folder.to_owned(), fold, replace: false }
    }

    #[test]
    fn trained_folds_are_exported_and_reasons_given_for_others() {
        let (job_set, folder) = (job_set(), tempfile::tempdir().unwrap());
        let files = |fold| -> Result<Vec<(String, PathBuf)>, String> {
            let exported = exports(&job_set, &args(folder.path(), fold)).map_err(|error| error.to_string())?;
            Ok(exported.into_iter().map(|export| (export.model.digest.clone(), export.path)).collect())
        };
        let file = |fold: u32| (fold.to_string(), folder.path().join(format!("fold-{fold}.onnx")));
        assert_eq!(files(None), Ok(vec![file(0), file(2)]));
        assert_eq!(files(Some(2)), Ok(vec![file(2)]));
        let failed = "fold 1 of js-abcdefgh is not trained (failed: the loss is not finite)";
        assert_eq!(files(Some(1)).unwrap_err(), failed);
        assert_eq!(files(Some(3)).unwrap_err(), "fold 3 of js-abcdefgh is not trained (leased)");
        assert_eq!(files(Some(7)).unwrap_err(), "js-abcdefgh has no fold 7: its folds are 0, 1, 2, 3");
        let none = JobSet { jobs: vec![job(0, v1::job::State::Leased, "")], ..job_set.clone() };
        let refused = exports(&none, &args(folder.path(), None)).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("no fold is trained"), "{refused}");
    }

    #[test]
    fn files_are_replaced_only_if_asked() {
        let (job_set, folder) = (job_set(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("fold-2.onnx"), "mine").unwrap();
        let refused = exports(&job_set, &args(folder.path(), None)).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("fold-2.onnx is already there"), "{refused}");
        assert_eq!(ExitStatus::of(&refused), ExitStatus::Usage);
        assert_eq!(exports(&job_set, &args(folder.path(), Some(0))).unwrap().len(), 1);
        let replacing = ExportArgs { replace: true, ..args(folder.path(), None) };
        assert_eq!(exports(&job_set, &replacing).unwrap().len(), 2);
    }
}
