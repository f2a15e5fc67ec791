//! `fivefold doctor`: checks of a machine, each with its remedy.

mod coordinator;
mod machine;
mod program;
mod state;
mod worker;

use std::path::PathBuf;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::finding::{Finding, Rating};
use fivefold_common::one_line::one_line;
use fivefold_program::number::whole_number;
use serde_json::json;

use crate::console::{OutputFormat, print, print_json};
use crate::exit_status::ExitStatus;

use self::worker::WorkerProgram;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Image folder, for a machine that trains
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    images: ImageArgs,
    /// Scratch folder of the worker [default: the system's temporary folder]
    #[arg(long, env = "FIVEFOLD_SCRATCH", value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// State folder of the coordinator, for the machine that runs it
    #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Worker program [default: beside this program, or on the PATH]
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
}

/// What the images in `--data` are for.
#[derive(Debug, Default, Args)]
struct ImageArgs {
    /// Training list that is going to be submitted [default: without any list, every image in --data is checked]
    #[arg(long, value_name = "FILE", requires = "data")]
    train_csv: Option<PathBuf>,
    /// List of external HPA images
    #[arg(long, value_name = "FILE", requires = "data")]
    hpa_csv: Option<PathBuf>,
    /// Test list
    #[arg(long, value_name = "FILE", requires = "data")]
    test_csv: Option<PathBuf>,
    /// Description of the data set (TOML), whose lists are checked
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "spec")]
    dataset: Option<PathBuf>,
    /// Settings that are going to be submitted (TOML): the columns of the lists, the files and the size of the images
    #[arg(long, value_name = "FILE", requires = "data")]
    spec: Option<PathBuf>,
    /// Column of the lists with the groups [default: as in --spec or --dataset, or Group]
    #[arg(long, value_name = "COLUMN", requires = "data")]
    group_column: Option<String>,
    /// Side of the images in pixels, as `fivefold submit` will get it [default: as in --spec or --dataset, or 512]
    #[arg(long, value_name = "PIXELS", requires = "data", value_parser = whole_number::<u32>(16..=4096))]
    image_size: Option<u32>,
}

/// Checks the machine and prints the findings. The status is `Failed` if one of them is bad.
pub(crate) async fn run(
    args: &DoctorArgs,
    coordinator: anyhow::Result<Connection>,
    format: OutputFormat,
) -> anyhow::Result<ExitStatus> {
    let mut findings = match coordinator {
        Ok(coordinator) => coordinator::check(&coordinator, args.data.is_some()).await,
        Err(error) => vec![Finding::bad(one_line(&format!("{error:#}")))],
    };
    let worker = WorkerProgram::find(args.worker.as_deref());
    findings.extend(worker.check());
    if let Some(data) = &args.data {
        findings.extend(worker.check_images(data, &args.images));
    }
    findings.push(machine::scratch(args.scratch.as_deref()));
    findings.extend(args.state.as_deref().map(state::check).unwrap_or_default());
    findings.push(machine::open_files());
    match format {
        OutputFormat::Json => {
            let list: Vec<_> = findings
                .iter()
                .map(|finding| json!({ "verdict": finding.rating.word(), "what": finding.message }))
                .collect();
            print_json(&json!({ "findings": list }))?;
        }
        OutputFormat::Text => {
            let lines: Vec<String> = findings.iter().map(|finding| format!("{finding}\n")).collect();
            print(&lines.concat())?;
        }
    }
    let is_bad = findings.iter().any(|finding| finding.rating == Rating::Bad);
    Ok(if is_bad { ExitStatus::Failed } else { ExitStatus::Succeeded })
}
