//! `fivefold results`: fetches a job set's files and says what they are worth.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_common::durable_file;
use fivefold_common::report::Report;
use fivefold_common::scores::ScoreTable;
use fivefold_proto::v1::{Artifact, ArtifactKind, Job, JobSet, job_set};
use serde_json::json;

use crate::artifacts::download;
use crate::connection::Coordinator;
use crate::job_sets::{checked_id, get, headline};
use crate::json::job_set_state;
use crate::output::{OutputFormat, print, print_json};
use crate::summary::summary;

/// Arguments of `fivefold results`.
#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// The job set
    #[arg(value_name = "ID")]
    id: String,
    /// The folder that gets the files; it is made where it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The N-th fit instead of the newest: a fold that was trained again (`fivefold retrain`) led to another one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["npy", "checkpoints"])]
    fit: Option<u32>,
    /// Also write oof.npy and, once the test list is predicted, predictions.npy (a row per image and fold), for numpy, pandas and polars
    #[arg(long)]
    npy: bool,
    /// Also fetch the model of each fold that is trained: fold-0.safetensors and so on, with torchvision's names
    #[arg(long)]
    checkpoints: bool,
}

/// The files, in the order in which they come to be.
const FILES: [(ArtifactKind, &str); 3] = [
    (ArtifactKind::Oof, "oof.csv"),
    (ArtifactKind::Report, "report.json"),
    (ArtifactKind::Submission, "submission.csv"),
];

/// Fetches what there is. What is not there yet is said; when nothing is, that is an error.
pub(crate) async fn run(args: &ResultsArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let id = checked_id(&args.id)?;
    let job_set = get(coordinator, &id).await?;
    let results = match args.fit {
        None => &job_set.results,
        Some(number) => match job_set.fits.get(number as usize - 1) {
            Some(fit) => &fit.results,
            None => bail!("{id} has {} fits, so there is no fit {number}", job_set.fits.len()),
        },
    };
    let wanted: Vec<_> = FILES
        .into_iter()
        .filter_map(|(kind, name)| {
            let artifact = results.iter().find(|artifact| artifact.kind() == kind)?;
            Some((kind, name, artifact))
        })
        .collect();
    if wanted.is_empty() {
        if !job_set.fits.is_empty() {
            bail!(
                "a fold is being trained again ({}); `fivefold watch {id}` waits for the new fit, --fit {} fetches the last one",
                headline(&job_set),
                job_set.fits.len()
            );
        }
        bail!("there are no results yet ({}); `fivefold watch {id}` waits for them", headline(&job_set));
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let mut report = None;
    let mut written = Vec::new();
    for (kind, name, artifact) in wanted {
        let path = args.out.join(name);
        download(coordinator, artifact, &path).await?;
        if kind == ArtifactKind::Report {
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let parsed: Report = serde_json::from_slice(&text)
                .with_context(|| format!("{} is not a report that this version knows", path.display()))?;
            report = Some(parsed);
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
    if matches!(job_set.state(), job_set::State::Training | job_set::State::Predicting) {
        eprintln!("fivefold: {id} is still {}; more will come", job_set_state(job_set.state()));
    }
    match format {
        OutputFormat::Json => print_json(&json!({
            "id": id,
            "state": job_set_state(job_set.state()),
            "files": written,
            "report": report,
        })),
        OutputFormat::Text => {
            let mut text = report.as_ref().map_or(String::new(), summary);
            let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            text += &format!("\nFiles: {}\n", written.join(", "));
            print(&text)
        }
    }
}

/// The artifacts of that kind that the job set's jobs made, by fold.
fn job_results(job_set: &JobSet, kind: ArtifactKind) -> Vec<(&Job, &Artifact)> {
    let mut found = Vec::new();
    for job in &job_set.jobs {
        found.extend(job.results.iter().filter(|artifact| artifact.kind() == kind).map(|artifact| (job, artifact)));
    }
    found.sort_by_key(|(job, _)| job.fold);
    found
}

/// Writes the score tables as arrays: the out-of-fold rows in the order of oof.csv, the predictions fold after fold.
async fn write_npy(coordinator: &Coordinator, job_set: &JobSet, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
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
