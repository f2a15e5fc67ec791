//! `fivefold export`: the models of trained folds in another format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::decision_rule::DecisionRule;
use fivefold_onnx::{About, TrainedModel};
use fivefold_program::number::whole_number;
use fivefold_proto::convert::{job_state_from_wire, required, spec_from_wire};
use fivefold_proto::v1::{Artifact, Job, JobSet};
use serde_json::json;

use crate::chosen_results::{ChosenResults, Source, Wanted, is_of_kind, require_folds, train_jobs};
use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::commands::results::read_report;
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
    /// Only these folds, counted from 0, such as 0,2 [default: every trained fold]
    #[arg(long, value_name = "FOLDS", value_delimiter = ',', value_parser = whole_number::<u32>(0..=99))]
    fold: Vec<u32>,
    /// Number of an earlier fit, counted from 1 [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..))]
    fit: Option<u32>,
    /// Replace files of the same names
    #[arg(long)]
    replace: bool,
}

/// Downloads the models of the trained folds, or of one, and writes each as an ONNX file.
pub(crate) async fn run(args: &ExportArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let job_set = get_job_set(coordinator, &args.id.resolve(coordinator).await?).await?;
    require_folds(&job_set, &args.fold)?;
    let wanted = args.fit.map_or(Wanted::Newest, Wanted::Fit);
    let chosen = ChosenResults::find(job_set, wanted, coordinator).await?;
    let exported = exports(&chosen, args)?;
    fs::create_dir_all(&args.onnx).with_context(|| format!("cannot create {}", args.onnx.display()))?;
    let job_set = &chosen.job_set;
    let spec = spec_from_wire(required("job_set.spec", job_set.spec.clone())?)?;
    let report = chosen.artifacts.iter().find(|artifact| is_of_kind(artifact, ArtifactKind::Report));
    let about = About {
        job_set: job_set.id.clone(),
        classes: spec.class_names(),
        rule: decision_rule(report.context("the coordinator sent no report")?, coordinator).await?,
    };
    for export in &exported {
        write(coordinator, export, &about).await?;
    }
    if let Source::BeforeItEnded(number) = chosen.source {
        notify(&format!("{} ended while folds were trained again; these are the models of fit {number}", job_set.id));
    } else if args.fold.is_empty() {
        notify_of_missing_folds(job_set, &exported);
    }
    match format {
        OutputFormat::Json => {
            let folds: Vec<u32> = exported.iter().map(|export| export.fold).collect();
            let files: Vec<&PathBuf> = exported.iter().map(|export| &export.path).collect();
            let threshold = about.rule.threshold();
            print_json(&json!({"id": job_set.id, "threshold": threshold, "folds": folds, "files": files}))
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

/// What is to be exported. It is an error if a fold has no model, or if a file is already there and may not be replaced.
fn exports<'a>(chosen: &'a ChosenResults, args: &ExportArgs) -> anyhow::Result<Vec<Export<'a>>> {
    let models = chosen.folds.iter().filter_map(|fold| Some((fold.fold, fold.checkpoint.as_ref()?)));
    let exported: Vec<Export<'a>> = models
        .filter(|(fold, _)| args.fold.is_empty() || args.fold.contains(fold))
        .map(|(fold, model)| Export { fold, model, path: args.onnx.join(format!("fold-{fold}.onnx")) })
        .collect();
    let without = args.fold.iter().find(|fold| exported.iter().all(|export| export.fold != **fold));
    if let Some(&fold) = without {
        bail!("{}", no_such_model(&chosen.job_set, fold));
    }
    if exported.is_empty() {
        bail!("the coordinator does not name the models of this fit: it is of an earlier version");
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
    let job = train_jobs(job_set).find(|job| job.fold == fold);
    let why = job.map_or(String::new(), |job| format!(" ({})", state_of(job)));
    format!("fold {fold} of {} is not trained{why}", job_set.id)
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

/// The rule of a report for predictions.
async fn decision_rule(report: &Artifact, coordinator: &Connection) -> anyhow::Result<DecisionRule> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let path = folder.path().join("report.json");
    download_as(coordinator, report, &path, "the report").await?;
    Ok(read_report(&path)?.decision_rule())
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
    use fivefold_proto::v1::{self, FitFold};

    use super::*;
    use crate::exit_status::ExitStatus;

    fn job(fold: u32, state: v1::job::State, reason: &str) -> Job {
        let kind = v1::JobKind::Train.into();
        Job { kind, fold, state: state.into(), state_reason: reason.into(), ..Job::default() }
    }

    fn chosen() -> ChosenResults {
        let predicted = Job { kind: v1::JobKind::Predict.into(), ..job(2, v1::job::State::Queued, "") };
        let model = |fold: u32| {
            let kind = v1::ArtifactKind::Checkpoint.into();
            let checkpoint = Some(Artifact { kind, digest: fold.to_string(), size_bytes: 1 });
            FitFold { fold, table: None, checkpoint }
        };
        let (source, folds) = (Source::TrainedFolds, vec![model(0), model(2)]);
        let job_set = JobSet {
            id: "js-abcdefgh".into(),
            jobs: vec![
                job(0, v1::job::State::Succeeded, ""),
                job(1, v1::job::State::Failed, "the loss is not finite"),
                job(2, v1::job::State::Succeeded, ""),
                job(3, v1::job::State::Leased, ""),
                predicted,
            ],
            ..JobSet::default()
        };
        ChosenResults { job_set, source, artifacts: Vec::new(), folds, is_partial: true }
    }

    fn args(folder: &Path, fold: &[u32]) -> ExportArgs {
        ExportArgs { id: "@".parse().unwrap(), onnx: folder.to_owned(), fold: fold.to_vec(), fit: None, replace: false }
    }

    #[test]
    fn trained_folds_are_exported_and_reasons_given_for_others() {
        let (chosen, folder) = (chosen(), tempfile::tempdir().unwrap());
        let files = |folds: &[u32]| -> Result<Vec<(String, PathBuf)>, String> {
            let exported = exports(&chosen, &args(folder.path(), folds)).map_err(|error| error.to_string())?;
            Ok(exported.into_iter().map(|export| (export.model.digest.clone(), export.path)).collect())
        };
        let file = |fold: u32| (fold.to_string(), folder.path().join(format!("fold-{fold}.onnx")));
        assert_eq!(files(&[]), Ok(vec![file(0), file(2)]));
        assert_eq!(files(&[2]), Ok(vec![file(2)]));
        assert_eq!(files(&[2, 0]), Ok(vec![file(0), file(2)]));
        let failed = "fold 1 of js-abcdefgh is not trained (failed: the loss is not finite)";
        assert_eq!(files(&[0, 1]).unwrap_err(), failed);
        assert_eq!(files(&[3]).unwrap_err(), "fold 3 of js-abcdefgh is not trained (leased)");
        let refused = require_folds(&chosen.job_set, &[7]).unwrap_err().to_string();
        assert_eq!(refused, "js-abcdefgh has no fold 7: its folds are 0, 1, 2, 3");
    }

    #[test]
    fn files_are_replaced_only_if_asked() {
        let (chosen, folder) = (chosen(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("fold-2.onnx"), "mine").unwrap();
        let refused = exports(&chosen, &args(folder.path(), &[])).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("fold-2.onnx is already there"), "{refused}");
        assert_eq!(ExitStatus::of(&refused), ExitStatus::Usage);
        assert_eq!(exports(&chosen, &args(folder.path(), &[0])).unwrap().len(), 1);
        let replacing = ExportArgs { replace: true, ..args(folder.path(), &[]) };
        assert_eq!(exports(&chosen, &replacing).unwrap().len(), 2);
    }
}
