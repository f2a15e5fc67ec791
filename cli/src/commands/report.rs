//! `fivefold report`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::report::Report;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::{required, spec_from_wire};
use serde_json::json;
use tempfile::TempDir;

use crate::chosen_results::{ChosenResults, Wanted, is_of_kind};
use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::commands::results::read_report;
use crate::console::{OutputFormat, print, print_json};
use crate::job_set_name::JobSetName;
use crate::render::job_set::id_and_name;
use crate::report_page::{self, Pictures};
use crate::transfer::download_as;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Output file; an old one is replaced
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Folder of the images: the worst mistakes are shown with their pictures
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of an earlier fit, counted from 1 [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..))]
    fit: Option<u32>,
}

/// Writes the report of the trained folds as one HTML file.
pub(crate) async fn run(args: &ReportArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let job_set = get_job_set(coordinator, &args.id.resolve(coordinator).await?).await?;
    let spec = spec_from_wire(required("job_set.spec", job_set.spec.clone())?)?;
    let pictures = args.data.as_deref().map(|folder| Pictures::open(folder, &spec)).transpose()?;
    let wanted = args.fit.map_or(Wanted::Newest, Wanted::Fit);
    let chosen = ChosenResults::find(job_set, wanted, coordinator).await?;
    let files = ReportFiles::download(&chosen, coordinator).await?;
    let curves = report_page::curves(coordinator, &chosen).await?;
    let title = id_and_name(&chosen.job_set);
    report_page::write(&title, &files.report()?, &files.table(), &curves, pictures.as_ref(), &args.out)?;
    match format {
        OutputFormat::Json => {
            print_json(&json!({ "id": chosen.job_set.id, "partial": chosen.is_partial, "file": args.out }))
        }
        OutputFormat::Text => print(&format!("Report: {}\n", args.out.display())),
    }
}

/// A report and its out-of-fold table in a temporary folder.
pub(super) struct ReportFiles {
    folder: TempDir,
}

impl ReportFiles {
    pub(super) async fn download(chosen: &ChosenResults, coordinator: &Connection) -> anyhow::Result<Self> {
        let files = Self { folder: tempfile::tempdir().context("cannot create a temporary folder")? };
        for (kind, path, name) in [
            (ArtifactKind::Oof, files.table(), "the out-of-fold table"),
            (ArtifactKind::Report, files.report_file(), "the report"),
        ] {
            let artifact = chosen.artifacts.iter().find(|artifact| is_of_kind(artifact, kind));
            let artifact = artifact.with_context(|| format!("the coordinator did not name {name}"))?;
            download_as(coordinator, artifact, &path, name).await?;
        }
        Ok(files)
    }

    pub(super) fn report(&self) -> anyhow::Result<Report> {
        read_report(&self.report_file())
    }

    pub(super) fn table(&self) -> PathBuf {
        self.folder.path().join("oof.csv")
    }

    fn report_file(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }
}
