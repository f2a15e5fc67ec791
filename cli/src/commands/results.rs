//! `fivefold results`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::durable_file;
use fivefold_common::ids::JobSetId;
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::Report;
use fivefold_common::scores::ScoreTable;
use fivefold_proto::convert::{artifact_kind_from_wire, job_set_state_from_wire};
use fivefold_proto::v1::{Artifact, Job, JobSet};
use serde_json::json;

use crate::commands::get_job_set;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::render::job_set::headline;
use crate::render::report::report_summary;
use crate::render::text::word;
use crate::transfer::download;

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// Job set
    #[arg(value_name = "ID")]
    id: JobSetId,
    /// Output folder, created if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of an earlier fit, counted from 1; each `fivefold retrain` adds a fit [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["npy", "checkpoints"])]
    fit: Option<u32>,
    /// Also write oof.npy and, after the prediction, predictions.npy (one row per image and fold), for numpy, pandas and polars
    #[arg(long)]
    npy: bool,
    /// Also download the model of each trained fold: fold-0.safetensors and so on, with torchvision's names
    #[arg(long)]
    checkpoints: bool,
}

/// The result files, in the order in which they are made.
const FILES: [(ArtifactKind, &str); 3] = [
    (ArtifactKind::Oof, "oof.csv"),
    (ArtifactKind::Report, "report.json"),
    (ArtifactKind::Submission, "submission.csv"),
];

/// Downloads the results that exist so far, and prints a summary of the report. Without any result, that is an error.
pub(crate) async fn run(args: &ResultsArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let job_set = get_job_set(coordinator, &args.id).await?;
    let wanted = wanted_files(&job_set, args.fit)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let mut report = None;
    let mut written = Vec::new();
    for (kind, name, artifact) in wanted {
        let path = args.out.join(name);
        download(coordinator, artifact, &path).await?;
        if kind == ArtifactKind::Report {
            report = Some(read_report(&path)?);
        }
        written.push(path);
    }
    if args.npy {
        written.extend(write_npy(coordinator, &job_set, &args.out).await?);
    }
    if args.checkpoints {
        for (job, artifact) in job_results(&job_set, ArtifactKind::Checkpoint) {
            let path = args.out.join(format!("fold-{}.safetensors", job.fold));
            download(coordinator, artifact, &path).await?;
            written.push(path);
        }
    }
    let state = job_set_state_from_wire(job_set.state);
    if let Ok(state @ (JobSetState::Training | JobSetState::Predicting)) = state {
        notify(&format!("{} is still {state}; more results will follow", args.id));
    }
    match format {
        OutputFormat::Json => {
            print_json(&json!({ "id": args.id, "state": word(state), "files": written, "report": report }))
        }
        OutputFormat::Text => {
            let summary = report.as_ref().map_or(String::new(), report_summary);
            let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            print(&format!("{summary}\nFiles: {}\n", written.join(", ")))
        }
    }
}

/// The result files of a job set, or of one of its earlier fits. An error explains why there are none.
fn wanted_files(job_set: &JobSet, fit: Option<u32>) -> anyhow::Result<Vec<(ArtifactKind, &'static str, &Artifact)>> {
    let (id, fits) = (&job_set.id, job_set.fits.len());
    let results = match fit {
        None => &job_set.results,
        Some(number) => match job_set.fits.get(number as usize - 1) {
            Some(fit) => &fit.results,
            None => bail!("there is no fit {number}: {id} has {fits}"),
        },
    };
    let mut wanted = Vec::new();
    for (kind, name) in FILES {
        wanted.extend(results.iter().find(|artifact| is_of_kind(artifact, kind)).map(|found| (kind, name, found)));
    }
    if !wanted.is_empty() {
        return Ok(wanted);
    }
    let headline = headline(job_set);
    if fits > 0 {
        bail!(
            "a fold is being retrained ({headline}); wait for the new fit with `fivefold watch {id}`, or download the \
             last one with --fit {fits}"
        );
    }
    if job_set_state_from_wire(job_set.state).is_ok_and(JobSetState::has_ended) {
        bail!("there are no results ({headline}); `fivefold retry {id}` queues the failed and cancelled jobs again");
    }
    bail!("there are no results yet ({headline}); wait for them with `fivefold watch {id}`")
}

fn read_report(path: &Path) -> anyhow::Result<Report> {
    let name = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    serde_json::from_slice(&text).with_context(|| format!("{name} is not a report that this version can read"))
}

/// The results of one kind of all jobs, by fold.
fn job_results(job_set: &JobSet, kind: ArtifactKind) -> Vec<(&Job, &Artifact)> {
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

/// Writes the score tables as arrays: the out-of-fold rows in the order of oof.csv, the predictions fold by fold.
async fn write_npy(coordinator: &Connection, job_set: &JobSet, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let downloads = tempfile::tempdir_in(out).with_context(|| format!("cannot write into {}", out.display()))?;
    for (kind, name) in [(ArtifactKind::Oof, "oof.npy"), (ArtifactKind::Predictions, "predictions.npy")] {
        let mut table = ScoreTable::default();
        for (job, artifact) in job_results(job_set, kind) {
            let path = downloads.path().join("scores.csv");
            download(coordinator, artifact, &path).await?;
            let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            table.rows.extend(ScoreTable::read_csv(&format!("the scores of fold {}", job.fold), file)?.rows);
        }
        if !table.rows.is_empty() {
            let path = out.join(name);
            durable_file::write(&path, |output| table.write_npy(output))?;
            written.push(path);
        }
    }
    Ok(written)
}
