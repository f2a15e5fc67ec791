//! `fivefold finish`, `cancel`, `pause`, `resume`, `retry` and `retrain`: commands that change a job set and print it.

use clap::Args;
use fivefold_client::Connection;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::required;
use fivefold_proto::v1::{
    CancelJobSetRequest, FinishJobSetRequest, JobSet, PauseJobSetRequest, ResumeJobSetRequest, RetrainFoldRequest,
    RetryJobSetRequest,
};

use crate::chosen_results::earlier_fit;
use crate::commands::JobSetArgs;
use crate::commands::completions::job_set_ids;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::job_set_name::JobSetName;
use crate::render::job_set::headline;
use crate::render::json;
use crate::time_of_day::TimeOfDay;

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Pause it at this local time of day, today or tomorrow [default: now]
    #[arg(long, value_name = "HH:MM")]
    at: Option<TimeOfDay>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Only this fold, counted from 0
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(0..=99))]
    fold: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct RetrainArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Fold, counted from 0
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(0..=99))]
    fold: u32,
}

pub(crate) async fn finish(args: &JobSetArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = FinishJobSetRequest { job_set_id: args.id.resolve(coordinator).await?.to_string() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().finish_job_set(r).await).await?;
    print_changed(answer.job_set, format)
}

pub(crate) async fn cancel(args: &JobSetArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = CancelJobSetRequest { job_set_id: args.id.resolve(coordinator).await?.to_string() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().cancel_job_set(r).await).await?;
    notify_of_earlier_fit(answer.job_set.as_ref());
    print_changed(answer.job_set, format)
}

pub(crate) async fn pause(args: &PauseArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let at_time = args.at.map(TimeOfDay::upcoming).transpose()?;
    let request = PauseJobSetRequest { job_set_id: args.id.resolve(coordinator).await?.to_string(), at_time };
    let answer = coordinator.call(request, async |c, r| c.job_sets().pause_job_set(r).await).await?;
    print_changed(answer.job_set, format)
}

pub(crate) async fn resume(args: &JobSetArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = ResumeJobSetRequest { job_set_id: args.id.resolve(coordinator).await?.to_string() };
    let answer = coordinator.call(request, async |c, r| c.job_sets().resume_job_set(r).await).await?;
    print_changed(answer.job_set, format)
}

pub(crate) async fn retry(args: &RetryArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = RetryJobSetRequest { job_set_id: args.id.resolve(coordinator).await?.to_string(), fold: args.fold };
    let answer = coordinator.call(request, async |c, r| c.job_sets().retry_job_set(r).await).await?;
    notify_of_earlier_fit(answer.job_set.as_ref());
    print_changed(answer.job_set, format)
}

pub(crate) async fn retrain(args: &RetrainArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = RetrainFoldRequest { job_set_id: args.id.resolve(coordinator).await?.to_string(), fold: args.fold };
    let answer = coordinator.call(request, async |c, r| c.job_sets().retrain_fold(r).await).await?;
    notify_of_earlier_fit(answer.job_set.as_ref());
    print_changed(answer.job_set, format)
}

/// Says on stderr how to get the fit that a job set had before its folds were queued again.
pub(super) fn notify_of_earlier_fit(job_set: Option<&JobSet>) {
    if let Some(earlier) = job_set.and_then(earlier_fit) {
        notify(&earlier);
    }
}

pub(super) fn print_changed(job_set: Option<JobSet>, format: OutputFormat) -> anyhow::Result<()> {
    let job_set = required("job_set", job_set)?;
    match format {
        OutputFormat::Json => print_json(&json::job_set(&job_set)),
        OutputFormat::Text => print(&format!("{}\n", headline(&job_set))),
    }
}
