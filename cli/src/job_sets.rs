//! `fivefold status`, `pause`, `resume`, `cancel` and `retry`: job sets as they are, and the verbs that change them.

use clap::Args;
use fivefold_proto::convert::{job_set_id_from_wire, required};
use fivefold_proto::v1::{
    CancelJobSetRequest, GetJobSetRequest, Job, JobSet, ListJobSetsRequest, PauseJobSetRequest, ResumeJobSetRequest,
    RetrainFoldRequest, RetryJobSetRequest, job,
};
use serde_json::json;

use crate::connection::Coordinator;
use crate::failure::{Usage, one_line};
use crate::json::{job_kind, job_set_json, job_set_state, job_state, phase};
use crate::output::{OutputFormat, print, print_json};
use crate::table::{NOTHING, number, table};

/// Arguments of `fivefold status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The job set; without it, the newest ones are listed
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// How many job sets are listed
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "id")]
    limit: usize,
}

/// Arguments of a command on one job set.
#[derive(Debug, Args)]
pub(crate) struct JobSetArgs {
    /// The job set
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// The id in `text`, checked before anybody is asked for it.
pub(crate) fn checked_id(text: &str) -> anyhow::Result<String> {
    let id = job_set_id_from_wire(text).map_err(|error| Usage(error.problem))?;
    Ok(id.to_string())
}

/// The job set as it is now.
pub(crate) async fn get(coordinator: &Coordinator, id: &str) -> anyhow::Result<JobSet> {
    let request = GetJobSetRequest { job_set_id: id.to_owned() };
    let answer = coordinator.call(async || coordinator.job_sets().get_job_set(request.clone()).await).await?;
    Ok(required("job_set", answer.job_set)?)
}

/// Prints one job set, or a list of them.
pub(crate) async fn status(args: &StatusArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let Some(id) = &args.id else { return list(args.limit, coordinator, format).await };
    let job_set = get(coordinator, &checked_id(id)?).await?;
    match format {
        OutputFormat::Json => print_json(&job_set_json(&job_set)),
        OutputFormat::Text => print(&format!("{}\n{}", headline(&job_set), job_table(&job_set.jobs))),
    }
}

async fn list(limit: usize, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let mut job_sets = Vec::new();
    let mut page_token = String::new();
    while job_sets.len() < limit {
        let page_size = (limit - job_sets.len()).min(100) as u32;
        let request = ListJobSetsRequest { page_size, page_token };
        let page = coordinator.call(async || coordinator.job_sets().list_job_sets(request.clone()).await).await?;
        job_sets.extend(page.job_sets);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if format == OutputFormat::Json {
        return print_json(&json!({ "job_sets": job_sets.iter().map(job_set_json).collect::<Vec<_>>() }));
    }
    if job_sets.is_empty() {
        return print("There are no job sets yet. `fivefold submit --help` shows how to make one.\n");
    }
    let rows: Vec<[String; 7]> = job_sets.iter().map(list_row).collect();
    print(&table(["ID", "STATE", "JOBS DONE", "MACRO F1", "SUBMITTED", "NAME", "REASON"], &rows))
}

fn list_row(set: &JobSet) -> [String; 7] {
    let done = set.jobs.iter().filter(|job| job.state() == job::State::Succeeded).count();
    // A list may come without its jobs.
    let done = if set.jobs.is_empty() { NOTHING.to_owned() } else { format!("{done}/{}", set.jobs.len()) };
    let name = set.spec.as_ref().map_or(String::new(), |spec| one_line(&spec.name));
    [
        one_line(&set.id),
        state_word(set).to_owned(),
        done,
        number(set.macro_f1, 4),
        set.create_time.map_or(NOTHING.to_owned(), |time| to_seconds(&time.to_string())),
        if name.is_empty() { NOTHING.to_owned() } else { name },
        one_line(&set.state_reason),
    ]
}

/// An RFC 3339 time without fractions of a second.
pub(crate) fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn state_word(set: &JobSet) -> &'static str {
    if set.paused { "paused" } else { job_set_state(set.state()) }
}

/// The job set in one line: id, name, state, score, reason.
pub(crate) fn headline(set: &JobSet) -> String {
    let mut line = format!("{}: {}", one_line(&set.id), state_word(set));
    if let Some(spec) = set.spec.as_ref().filter(|spec| !spec.name.is_empty()) {
        line = format!("{} ({}): {}", one_line(&set.id), one_line(&spec.name), state_word(set));
    }
    if let (Some(macro_f1), Some(threshold)) = (set.macro_f1, set.threshold) {
        line += &format!(", macro F1 {macro_f1:.4} at threshold {threshold:.4}");
    }
    if !set.state_reason.is_empty() {
        line += &format!(": {}", one_line(&set.state_reason));
    }
    line
}

fn job_table(jobs: &[Job]) -> String {
    let rows: Vec<[String; 11]> = jobs.iter().map(job_row).collect();
    let header = ["JOB", "FOLD", "STATE", "ATTEMPT", "WORKER", "PHASE", "EPOCH", "STEP", "LOSS", "F1", "REASON"];
    table(header, &rows)
}

fn job_row(job: &Job) -> [String; 11] {
    let cell = |text: &str| if text.is_empty() { NOTHING.to_owned() } else { one_line(text) };
    let progress = job.progress;
    let leased = progress.filter(|_| job.state() == job::State::Leased);
    let reason = match job.stalled_since_time {
        Some(since) => format!("has stood still since {}", to_seconds(&since.to_string())),
        None => one_line(&job.state_reason),
    };
    let epoch = progress.map(|progress| progress.epoch).or(job.last_epoch.map(|epoch| epoch.epoch));
    [
        job_kind(job.kind()).to_owned(),
        job.fold.to_string(),
        job_state(job.state()).to_owned(),
        job.attempt.to_string(),
        cell(&job.worker_name),
        leased.map_or(NOTHING.to_owned(), |progress| phase(progress.phase()).to_owned()),
        epoch.map_or(NOTHING.to_owned(), |epoch| (epoch + 1).to_string()),
        leased.map_or(NOTHING.to_owned(), |progress| format!("{}/{}", progress.step, progress.step_count)),
        number(loss(job), 4),
        number(f1(job), 4),
        reason,
    ]
}

/// The newest training loss.
pub(crate) fn loss(job: &Job) -> Option<f64> {
    job.progress.and_then(|progress| progress.loss).or(job.last_epoch.map(|epoch| epoch.train_loss))
}

/// The best validation macro F1 so far.
pub(crate) fn f1(job: &Job) -> Option<f64> {
    job.best_macro_f1.or(job.last_epoch.map(|epoch| epoch.valid_macro_f1))
}

/// Cancels a job set.
pub(crate) async fn cancel(args: &JobSetArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = CancelJobSetRequest { job_set_id: checked_id(&args.id)? };
    let answer = coordinator.call(async || coordinator.job_sets().cancel_job_set(request.clone()).await).await?;
    print_changed(&required("job_set", answer.job_set)?, format)
}

/// Stops a job set's jobs from being leased.
pub(crate) async fn pause(args: &JobSetArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = PauseJobSetRequest { job_set_id: checked_id(&args.id)? };
    let answer = coordinator.call(async || coordinator.job_sets().pause_job_set(request.clone()).await).await?;
    print_changed(&required("job_set", answer.job_set)?, format)
}

/// Lets a job set's jobs be leased again.
pub(crate) async fn resume(args: &JobSetArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = ResumeJobSetRequest { job_set_id: checked_id(&args.id)? };
    let answer = coordinator.call(async || coordinator.job_sets().resume_job_set(request.clone()).await).await?;
    print_changed(&required("job_set", answer.job_set)?, format)
}

/// Arguments of `fivefold retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The job set
    #[arg(value_name = "ID")]
    id: String,
    /// Only this fold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..100))]
    fold: Option<u32>,
}

/// Queues failed and cancelled jobs again.
pub(crate) async fn retry(args: &RetryArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = RetryJobSetRequest { job_set_id: checked_id(&args.id)?, fold: args.fold };
    let answer = coordinator.call(async || coordinator.job_sets().retry_job_set(request.clone()).await).await?;
    print_changed(&required("job_set", answer.job_set)?, format)
}

/// Arguments of `fivefold retrain`.
#[derive(Debug, Args)]
pub(crate) struct RetrainArgs {
    /// The job set
    #[arg(value_name = "ID")]
    id: String,
    /// The fold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..100))]
    fold: u32,
}

/// Queues a trained fold for another training.
pub(crate) async fn retrain(args: &RetrainArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let request = RetrainFoldRequest { job_set_id: checked_id(&args.id)?, fold: args.fold };
    let answer = coordinator.call(async || coordinator.job_sets().retrain_fold(request.clone()).await).await?;
    print_changed(&required("job_set", answer.job_set)?, format)
}

fn print_changed(job_set: &JobSet, format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Json => print_json(&job_set_json(job_set)),
        OutputFormat::Text => print(&format!("{}\n", headline(job_set))),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{JobKind, Phase, Progress, job_set};

    use super::*;

    #[test]
    fn a_job_set_reads_well() {
        let progress = Progress {
            phase: Phase::Training.into(),
            epoch: 2,
            step: 5,
            step_count: 800,
            loss: Some(0.25),
            ..Progress::default()
        };
        let leased = Job {
            id: 1,
            kind: JobKind::Train.into(),
            fold: 3,
            state: job::State::Leased.into(),
            attempt: 2,
            worker_name: "gpu1/cuda:0\u{1b}[2J".into(),
            progress: Some(progress),
            best_macro_f1: Some(0.5),
            ..Job::default()
        };
        let waiting = Job {
            kind: JobKind::Predict.into(),
            state: job::State::Queued.into(),
            state_reason: "lost\nagain".into(),
            ..Job::default()
        };
        let text = job_table(&[leased, waiting]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["train", "3", "leased", "2", "gpu1/cuda:0", "[2J", "training", "3", "5/800", "0.2500", "0.5000"]
        );
        assert_eq!(lines[2], ["predict", "0", "queued", "0", "-", "-", "-", "-", "-", "-", "lost", "again"]);
        let set = JobSet {
            id: "js-abcdefgh".into(),
            state: job_set::State::Predicting.into(),
            macro_f1: Some(0.5),
            threshold: Some(0.25),
            ..JobSet::default()
        };
        assert_eq!(headline(&set), "js-abcdefgh: predicting, macro F1 0.5000 at threshold 0.2500");
    }

    #[test]
    fn times_lose_their_fractions() {
        assert_eq!(to_seconds("2025-01-02T03:04:05.678Z"), "2025-01-02T03:04:05Z");
        assert_eq!(to_seconds("2025-01-02T03:04:05Z"), "2025-01-02T03:04:05Z");
    }
}
