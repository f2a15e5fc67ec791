//! The subcommands, one file each; related ones share a file.

pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod curves;
pub(crate) mod dataset;
pub(crate) mod datasets;
pub(crate) mod delete;
pub(crate) mod disk;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod extend;
pub(crate) mod folds;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod pack;
pub(crate) mod predict;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod synth;
pub(crate) mod threshold;
pub(crate) mod watch;
pub(crate) mod workers;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_proto::convert::required;
use fivefold_proto::v1::{GetJobSetRequest, JobSet};

use crate::command_line::{Command, CommandLine};
use crate::commands::completions::job_set_ids;
use crate::console::{OutputFormat, notify, set_verbosity};
use crate::exit_status::ExitStatus;
use crate::job_set_name::JobSetName;

/// The arguments of a command on one job set.
#[derive(Debug, Args)]
pub(crate) struct JobSetArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    pub(crate) id: JobSetName,
}

pub(crate) async fn run(line: CommandLine) -> anyhow::Result<ExitStatus> {
    let format = if line.json { OutputFormat::Json } else { OutputFormat::Text };
    set_verbosity(line.verbosity());
    let connect = || line.connection.connect();
    match line.command {
        Command::Submit(args) => submit::run(*args, &connect()?, format).await?,
        Command::Predict(args) => predict::run(args, &connect()?, format).await?,
        Command::Status(args) => status::run(&args, &connect()?, format).await?,
        Command::Watch(args) => return watch::run(&args, &connect()?, format).await,
        Command::Logs(args) => logs::run(&args, &connect()?, format).await?,
        Command::Curves(args) => curves::run(&args, &connect()?, format).await?,
        Command::Finish(args) => control::finish(&args, &connect()?, format).await?,
        Command::Cancel(args) => control::cancel(&args, &connect()?, format).await?,
        Command::Pause(args) => control::pause(&args, &connect()?, format).await?,
        Command::Resume(args) => control::resume(&args, &connect()?, format).await?,
        Command::Retry(args) => control::retry(&args, &connect()?, format).await?,
        Command::Retrain(args) => control::retrain(&args, &connect()?, format).await?,
        Command::Extend(args) => extend::run(args, &connect()?, format).await?,
        Command::Delete(args) => delete::run(&args, &connect()?, format).await?,
        Command::Results(args) => results::run(&args, &connect()?, format).await?,
        Command::Report(args) => report::run(&args, &connect()?, format).await?,
        Command::Compare(args) => compare::run(&args, &connect()?, format).await?,
        Command::Export(args) => export::run(&args, &connect()?, format).await?,
        Command::Push(args) => return push::run(args, &connect()?, format).await,
        Command::Datasets(args) => datasets::run(&args, &connect()?, format).await?,
        Command::Disk => disk::run(&connect()?, format).await?,
        Command::Workers => workers::list(&connect()?, format).await?,
        Command::Drain(args) => workers::drain(&args, &connect()?, format).await?,
        Command::Doctor(args) => return doctor::run(&args, connect(), format).await,
        Command::Dataset(args) => return dataset::run(&args, format),
        Command::Pack(args) => return pack::run(*args, format).await,
        Command::Folds(args) => folds::run(&args, format)?,
        Command::Threshold(args) => threshold::run(&args, format)?,
        Command::Synth(args) => synth::run(&args, format)?,
        Command::Man(args) => man::run(&args, format)?,
        Command::Completions(args) => completions::run(&args)?,
    }
    Ok(ExitStatus::Succeeded)
}

pub(crate) async fn get_job_set(coordinator: &Connection, id: &JobSetId) -> anyhow::Result<JobSet> {
    let request = GetJobSetRequest { job_set_id: id.to_string() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().get_job_set(r).await).await?;
    Ok(required("job_set", answer.job_set)?)
}

/// Prints what the coordinator warns of.
fn warn(warnings: &[String]) {
    for warning in warnings {
        notify(&format!("warning: {warning}"));
    }
}
