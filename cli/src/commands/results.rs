//! `fivefold results`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::durable_file;
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::Report;
use fivefold_common::scores::ScoreTable;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::job_set_state_from_wire;
use fivefold_proto::v1::{Artifact, FitFold, JobSet};
use serde_json::json;

use crate::chosen_results::{ChosenResults, Source, Wanted, is_of_kind, trained_folds};
use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::epoch_metrics;
use crate::job_set_name::JobSetName;
use crate::render::epoch_history::EpochHistory;
use crate::render::job_set::id_and_name;
use crate::render::report::report_summary;
use crate::render::text::word;
use crate::report_page;
use crate::results_folder::{Origin, Replace, ResultsFolder};
use crate::tensorboard;
use crate::transfer::download;

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Output folder, created if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of an earlier fit, counted from 1; `fivefold retrain` and `extend` add one each [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..))]
    fit: Option<u32>,
    /// Number of an earlier submission, counted from 1, with its fit; each `fivefold predict` adds one [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..), conflicts_with_all = ["fit", "npy", "checkpoints"])]
    submission: Option<u32>,
    /// Also write oof.npy and, after the prediction, predictions.npy (one row per image and fold), for numpy, pandas and polars
    #[arg(long)]
    npy: bool,
    /// Also download the model of each trained fold: fold-0.safetensors and so on, with torchvision's names
    #[arg(long)]
    checkpoints: bool,
    /// Also write the epochs of all folds for TensorBoard, to DIR/ID/fold-0 and so on
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Replace the results of another job set in the folder, or those of all folds by partial ones
    #[arg(long)]
    replace: bool,
}

impl ResultsArgs {
    fn wanted(&self) -> Wanted {
        match (self.submission, self.fit) {
            (Some(number), _) => Wanted::Submission(number),
            (None, Some(number)) => Wanted::Fit(number),
            (None, None) => Wanted::Newest,
        }
    }
}

/// The result files, in the order in which they are made.
const FILES: [(ArtifactKind, &str); 3] = [
    (ArtifactKind::Oof, "oof.csv"),
    (ArtifactKind::Report, "report.json"),
    (ArtifactKind::Submission, "submission.csv"),
];

/// The report as a page.
const PAGE: &str = "report.html";

/// Downloads the results that exist so far, and prints a summary of the report. Without any result, that is an error.
pub(crate) async fn run(args: &ResultsArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    if let Some(folder) = &args.tensorboard {
        tensorboard::prepare(folder)?;
    }
    let job_set = get_job_set(coordinator, &args.id.resolve(coordinator).await?).await?;
    let chosen = ChosenResults::find(job_set, args.wanted(), coordinator).await?;
    let ChosenResults { job_set, is_partial, .. } = &chosen;
    let wanted = wanted_files(&chosen.artifacts);
    let digest_of = |kind| wanted.iter().find(|(found, ..)| *found == kind).map(|(.., found)| found.digest.clone());
    let origin = Origin {
        job_set: job_set.id.clone(),
        fit: digest_of(ArtifactKind::Oof).unwrap_or_default(),
        partial: *is_partial,
        submission: digest_of(ArtifactKind::Submission),
    };
    let models = if args.checkpoints { models(&chosen.folds) } else { Vec::new() };
    let arrays = if args.npy { arrays(&chosen) } else { Vec::new() };
    let mut names: Vec<String> = wanted.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    let has_page = [ArtifactKind::Oof, ArtifactKind::Report].iter().all(|&kind| digest_of(kind).is_some());
    names.extend(has_page.then(|| PAGE.to_owned()));
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
    if let Some(report) = report.as_ref().filter(|_| has_page) {
        let curves = report_page::curves(coordinator, &chosen).await?;
        report_page::write(&id_and_name(job_set), report, &folder.file("oof.csv"), &curves, None, &folder.file(PAGE))?;
    }
    for (name, tables) in &arrays {
        write_array(coordinator, tables, &args.out, &folder.file(name)).await?;
    }
    for (name, model) in &models {
        download(coordinator, model, &folder.file(name)).await?;
    }
    notify_of_gaps(&chosen, args);
    let mut written: Vec<PathBuf> = names.iter().map(|name| folder.file(name)).collect();
    if let Some(folder) = &args.tensorboard {
        let mut history = EpochHistory::default();
        epoch_metrics::update(&mut history, coordinator, job_set).await?;
        written.push(tensorboard::update(folder, job_set, &history)?);
    }
    print_results(&chosen, &written, report.as_ref(), format)
}

fn print_results(
    ChosenResults { job_set, is_partial, .. }: &ChosenResults,
    written: &[PathBuf],
    report: Option<&Report>,
    format: OutputFormat,
) -> anyhow::Result<()> {
    match format {
        OutputFormat::Json => print_json(&json!({
            "id": job_set.id,
            "state": word(job_set_state_from_wire(job_set.state)),
            "partial": is_partial,
            "files": written,
            "report": report,
        })),
        OutputFormat::Text => {
            let summary = report.map_or(String::new(), report_summary);
            let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            print(&format!("{summary}\nFiles: {}\n", written.join(", ")))
        }
    }
}

/// The models, by the names of their files.
fn models(folds: &[FitFold]) -> Vec<(String, &Artifact)> {
    folds
        .iter()
        .filter_map(|fold| Some((format!("fold-{}.safetensors", fold.fold), fold.checkpoint.as_ref()?)))
        .collect()
}

/// Says on stderr what is missing and what will follow.
fn notify_of_gaps(chosen: &ChosenResults, args: &ResultsArgs) {
    let ChosenResults { job_set, is_partial, .. } = chosen;
    let (id, is_partial) = (&job_set.id, *is_partial);
    if let Ok(state @ (JobSetState::Training | JobSetState::Predicting)) = job_set_state_from_wire(job_set.state) {
        notify(&format!("{id} is still {state}; more results will follow"));
    }
    match chosen.source {
        Source::BeforeItEnded(number) => {
            let state = word(job_set_state_from_wire(job_set.state));
            notify(&format!(
                "{id} was {state} while folds were trained again; these are the results of before, fit {number}"
            ));
        }
        Source::TrainedFolds => {
            let whole = job_set.fits.iter().rposition(|fit| fit.folds.len() > trained_folds(job_set));
            if let Some(place) = whole {
                notify(&format!(
                    "an earlier fit has more folds: `fivefold results {id} --fit {}` downloads it",
                    place + 1
                ));
            }
        }
        Source::Present | Source::Asked => {}
    }
    let all = job_set.spec.as_ref().map_or(0, |spec| spec.folds.len());
    let number = args.submission.map_or(job_set.submissions.len(), |number| number as usize);
    let used = job_set.submissions.get(number.wrapping_sub(1)).filter(|_| args.fit.is_none() && !is_partial);
    if let Some(used) = used.filter(|used| used.folds.len() < all) {
        let folds: Vec<String> = used.folds.iter().map(u32::to_string).collect();
        notify(&format!("submission {number} is predicted by the folds {} of {all}", folds.join(", ")));
    }
}

/// The result files among `results`, in the order in which they are made.
fn wanted_files(results: &[Artifact]) -> Vec<(ArtifactKind, &'static str, &Artifact)> {
    let mut wanted = Vec::new();
    for (kind, name) in FILES {
        wanted.extend(results.iter().find(|artifact| is_of_kind(artifact, kind)).map(|found| (kind, name, found)));
    }
    wanted
}

/// Reads a downloaded report.
pub(super) fn read_report(path: &Path) -> anyhow::Result<Report> {
    let name = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    serde_json::from_slice(&text).with_context(|| format!("{name} is not a report that this version can read"))
}

/// An array to be made, and the score tables in it with their folds.
type Array<'a> = (&'static str, Vec<(u32, &'a Artifact)>);

/// The arrays that can be made: the out-of-fold rows in the order of oof.csv and, of the present fit, the predictions fold by
/// fold.
fn arrays(chosen: &ChosenResults) -> Vec<Array<'_>> {
    let oof = chosen.folds.iter().filter_map(|fold| Some((fold.fold, fold.table.as_ref()?))).collect();
    let predictions = match chosen.source {
        Source::Present | Source::TrainedFolds => predictions(&chosen.job_set),
        Source::Asked | Source::BeforeItEnded(_) => Vec::new(),
    };
    let arrays = [("oof.npy", oof), ("predictions.npy", predictions)];
    arrays.into_iter().filter(|(_, tables)| !tables.is_empty()).collect()
}

/// The predictions of the test list, by fold.
fn predictions(job_set: &JobSet) -> Vec<(u32, &Artifact)> {
    let mut found = Vec::new();
    for job in &job_set.jobs {
        let of_job = job.results.iter().filter(|artifact| is_of_kind(artifact, ArtifactKind::Predictions));
        found.extend(of_job.map(|artifact| (job.fold, artifact)));
    }
    found.sort_by_key(|(fold, _)| *fold);
    found
}

/// Downloads score tables and writes them as one array to `path`, in the folder `out`.
async fn write_array(
    coordinator: &Connection,
    tables: &[(u32, &Artifact)],
    out: &Path,
    path: &Path,
) -> anyhow::Result<()> {
    let downloads = tempfile::tempdir_in(out).with_context(|| format!("cannot write into {}", out.display()))?;
    let mut all: Option<ScoreTable> = None;
    for (fold, artifact) in tables {
        let path = downloads.path().join("scores.csv");
        download(coordinator, artifact, &path).await?;
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let table = ScoreTable::read_csv(&format!("the scores of fold {fold}"), file)?;
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
