//! `fivefold results`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::durable_file;
use fivefold_common::job::JobState;
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::Report;
use fivefold_common::scores::ScoreTable;
use fivefold_proto::convert::{artifact_kind_from_wire, job_set_state_from_wire, job_state_from_wire, required};
use fivefold_proto::v1::{Artifact, Fit, FitTrainedFoldsRequest, Job, JobSet};
use serde_json::json;

use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::job_set_name::JobSetName;
use crate::render::job_set::headline;
use crate::render::report::report_summary;
use crate::render::text::word;
use crate::results_folder::{Origin, Replace, ResultsFolder};
use crate::transfer::download;

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Output folder, created if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of an earlier fit, counted from 1; each `fivefold retrain` adds a fit [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["npy", "checkpoints"])]
    fit: Option<u32>,
    /// Number of an earlier submission, counted from 1, with its fit; each `fivefold predict` adds one [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["fit", "npy", "checkpoints"])]
    submission: Option<u32>,
    /// Also write oof.npy and, after the prediction, predictions.npy (one row per image and fold), for numpy, pandas and polars
    #[arg(long)]
    npy: bool,
    /// Also download the model of each trained fold: fold-0.safetensors and so on, with torchvision's names
    #[arg(long)]
    checkpoints: bool,
    /// Replace the results of another job set in the folder, or those of all folds by partial ones
    #[arg(long)]
    replace: bool,
}

/// The result files, in the order in which they are made.
const FILES: [(ArtifactKind, &str); 3] = [
    (ArtifactKind::Oof, "oof.csv"),
    (ArtifactKind::Report, "report.json"),
    (ArtifactKind::Submission, "submission.csv"),
];

/// Downloads the results that exist so far, and prints a summary of the report. Without any result, that is an error.
pub(crate) async fn run(args: &ResultsArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let Results { job_set, artifacts, is_partial } = find_results(args, coordinator).await?;
    let wanted = wanted_files(&artifacts);
    let digest_of = |kind| wanted.iter().find(|(found, ..)| *found == kind).map(|(.., found)| found.digest.clone());
    let origin = Origin {
        job_set: job_set.id.clone(),
        fit: digest_of(ArtifactKind::Oof).unwrap_or_default(),
        partial: is_partial,
        submission: digest_of(ArtifactKind::Submission),
    };
    let models = if args.checkpoints { job_results(&job_set, ArtifactKind::Checkpoint) } else { Vec::new() };
    let models: Vec<(String, &Artifact)> =
        models.into_iter().map(|(job, model)| (format!("fold-{}.safetensors", job.fold), model)).collect();
    let arrays = if args.npy { arrays(&job_set) } else { Vec::new() };
    let mut names: Vec<String> = wanted.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    names.extend(arrays.iter().map(|(name, _)| (*name).to_owned()));
    names.extend(models.iter().map(|(name, _)| name.clone()));
    let replace = if args.replace { Replace::Yes } else { Replace::No };
    let folder = ResultsFolder::prepare(&args.out, origin, &names, replace)?;

    let mut report = None;
    for &(kind, name, artifact) in &wanted {
        let path = folder.file(name);
        download(coordinator, artifact, &path).await?;
        if kind == ArtifactKind::Report {
            report = Some(read_report(&path)?);
        }
    }
    for (name, tables) in &arrays {
        write_array(coordinator, tables, &args.out, &folder.file(name)).await?;
    }
    for (name, model) in &models {
        download(coordinator, model, &folder.file(name)).await?;
    }
    notify_of_gaps(&job_set, args, is_partial);
    let written: Vec<PathBuf> = names.iter().map(|name| folder.file(name)).collect();
    match format {
        OutputFormat::Json => print_json(&json!({
            "id": job_set.id,
            "state": word(job_set_state_from_wire(job_set.state)),
            "partial": is_partial,
            "files": written,
            "report": report,
        })),
        OutputFormat::Text => {
            let summary = report.as_ref().map_or(String::new(), report_summary);
            let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            print(&format!("{summary}\nFiles: {}\n", written.join(", ")))
        }
    }
}

/// The results of a job set, of one of its earlier fits, or of the folds that are trained by now.
struct Results {
    job_set: JobSet,
    artifacts: Vec<Artifact>,
    is_partial: bool,
}

async fn find_results(args: &ResultsArgs, coordinator: &Connection) -> anyhow::Result<Results> {
    let id = args.id.resolve(coordinator).await?;
    let job_set = get_job_set(coordinator, &id).await?;
    if let Some(number) = args.submission {
        let artifacts = submission_results(&job_set, number)?;
        return Ok(Results { is_partial: is_partial(&job_set, &artifacts), artifacts, job_set });
    }
    if let Some(number) = args.fit {
        let (id, fits) = (&job_set.id, job_set.fits.len());
        let Some(fit) = job_set.fits.get(number as usize - 1) else {
            bail!("there is no fit {number}: {id} has {}", counted(fits, "fit"));
        };
        let artifacts = fit.results.clone();
        return Ok(Results { is_partial: is_partial(&job_set, &artifacts), artifacts, job_set });
    }
    if !job_set.results.is_empty() {
        let artifacts = job_set.results.clone();
        return Ok(Results { is_partial: is_partial(&job_set, &artifacts), artifacts, job_set });
    }
    let is_trained = |job: &Job| job_state_from_wire(job.state) == Ok(JobState::Succeeded);
    if !job_set.jobs.iter().any(is_trained) {
        bail!("{}", nothing_yet(&job_set));
    }
    let request = FitTrainedFoldsRequest { job_set_id: id.to_string() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().fit_trained_folds(r).await).await?;
    let (fit, job_set) = (required("fit", answer.fit)?, required("job_set", answer.job_set)?);
    let is_partial = fit.folds.len() < job_set.spec.as_ref().map_or(0, |spec| spec.folds.len());
    Ok(Results { job_set, artifacts: fit.results, is_partial })
}

/// Why there are no results, and what to do.
pub(super) fn nothing_yet(job_set: &JobSet) -> String {
    let (id, headline) = (&job_set.id, headline(job_set));
    if job_set_state_from_wire(job_set.state).is_ok_and(JobSetState::has_ended) {
        return format!(
            "no fold is trained ({headline}); `fivefold retry {id}` queues the failed and cancelled jobs again"
        );
    }
    format!("no fold is trained yet ({headline}); wait for it with `fivefold watch {id}`")
}

/// Whether the fit with these results lacks folds of the job set.
fn is_partial(job_set: &JobSet, results: &[Artifact]) -> bool {
    let all = job_set.spec.as_ref().map_or(0, |spec| spec.folds.len());
    let fit = job_set.fits.iter().find(|fit| fit.results.first() == results.first());
    // A coordinator of an earlier version does not name the folds.
    fit.is_some_and(|fit| !fit.folds.is_empty() && fit.folds.len() < all)
}

/// A submission with the table and the report of its fit.
fn submission_results(job_set: &JobSet, number: u32) -> anyhow::Result<Vec<Artifact>> {
    let (id, count) = (&job_set.id, job_set.submissions.len());
    let Some(submission) = job_set.submissions.get(number as usize - 1) else {
        bail!("there is no submission {number}: {id} has {}", counted(count, "submission"));
    };
    let is_its_fit = |fit: &&Fit| fit.results.iter().any(|artifact| artifact.digest == submission.oof_digest);
    let of_fit = job_set.fits.iter().find(is_its_fit).map_or(&[][..], |fit| &fit.results);
    let of_fit = of_fit.iter().filter(|artifact| !is_of_kind(artifact, ArtifactKind::Submission)).cloned();
    Ok(of_fit.chain(submission.artifact.clone()).collect())
}

/// Says on stderr what is missing and what will follow.
fn notify_of_gaps(job_set: &JobSet, args: &ResultsArgs, is_partial: bool) {
    let id = &job_set.id;
    if let Ok(state @ (JobSetState::Training | JobSetState::Predicting)) = job_set_state_from_wire(job_set.state) {
        notify(&format!("{id} is still {state}; more results will follow"));
    }
    let whole = job_set.fits.iter().rposition(|fit| !is_partial || fit.folds.len() > trained(job_set));
    if let Some(place) = whole.filter(|_| is_partial && args.fit.is_none() && args.submission.is_none()) {
        notify(&format!("an earlier fit has more folds: `fivefold results {id} --fit {}` downloads it", place + 1));
    }
    let all = job_set.spec.as_ref().map_or(0, |spec| spec.folds.len());
    let number = args.submission.map_or(job_set.submissions.len(), |number| number as usize);
    let used = job_set.submissions.get(number.wrapping_sub(1)).filter(|_| args.fit.is_none() && !is_partial);
    if let Some(used) = used.filter(|used| used.folds.len() < all) {
        let folds: Vec<String> = used.folds.iter().map(u32::to_string).collect();
        notify(&format!("submission {number} is predicted by the folds {} of {all}", folds.join(", ")));
    }
}

/// The number of folds that are trained.
fn trained(job_set: &JobSet) -> usize {
    job_results(job_set, ArtifactKind::Oof).len()
}

/// A count with its noun, such as `1 fit` and `2 fits`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The result files among `results`, in the order in which they are made.
fn wanted_files(results: &[Artifact]) -> Vec<(ArtifactKind, &'static str, &Artifact)> {
    let mut wanted = Vec::new();
    for (kind, name) in FILES {
        wanted.extend(results.iter().find(|artifact| is_of_kind(artifact, kind)).map(|found| (kind, name, found)));
    }
    wanted
}

fn read_report(path: &Path) -> anyhow::Result<Report> {
    let name = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    serde_json::from_slice(&text).with_context(|| format!("{name} is not a report that this version can read"))
}

/// The results of one kind of all jobs, by fold.
pub(super) fn job_results(job_set: &JobSet, kind: ArtifactKind) -> Vec<(&Job, &Artifact)> {
    let mut found = Vec::new();
    for job in &job_set.jobs {
        found.extend(job.results.iter().filter(|artifact| is_of_kind(artifact, kind)).map(|artifact| (job, artifact)));
    }
    found.sort_by_key(|(job, _)| job.fold);
    found
}

fn is_of_kind(artifact: &Artifact, kind: ArtifactKind) -> bool {
    artifact_kind_from_wire(artifact.kind) == Ok(kind)
}

/// The arrays that can be made, with the score tables in each: the out-of-fold rows in the order of oof.csv, the predictions
/// fold by fold.
fn arrays(job_set: &JobSet) -> Vec<(&'static str, Vec<(&Job, &Artifact)>)> {
    let kinds = [(ArtifactKind::Oof, "oof.npy"), (ArtifactKind::Predictions, "predictions.npy")];
    let arrays = kinds.map(|(kind, name)| (name, job_results(job_set, kind)));
    arrays.into_iter().filter(|(_, tables)| !tables.is_empty()).collect()
}

/// Downloads score tables and writes them as one array to `path`, in the folder `out`.
async fn write_array(
    coordinator: &Connection,
    tables: &[(&Job, &Artifact)],
    out: &Path,
    path: &Path,
) -> anyhow::Result<()> {
    let downloads = tempfile::tempdir_in(out).with_context(|| format!("cannot write into {}", out.display()))?;
    let mut all: Option<ScoreTable> = None;
    for (job, artifact) in tables {
        let path = downloads.path().join("scores.csv");
        download(coordinator, artifact, &path).await?;
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let table = ScoreTable::read_csv(&format!("the scores of fold {}", job.fold), file)?;
        match &mut all {
            Some(all) => all.rows.extend(table.rows),
            None => all = Some(table),
        }
    }
    if let Some(all) = all {
        durable_file::write(path, |output| all.write_npy(output))?;
    }
    Ok(())
}
