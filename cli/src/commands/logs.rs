//! `fivefold logs`.

use std::time::Duration;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::{job_kind_from_wire, job_set_state_from_wire};
use fivefold_proto::v1::{ListLogLinesRequest, StoredLogLine};
use serde_json::{Value, json};

use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::console::{OutputFormat, notify, page, print, print_json};
use crate::job_set_name::JobSetName;
use crate::render::log_line::{level, log_line};
use crate::render::text::word;

/// How often a followed log is asked for new lines.
const PAUSE: Duration = Duration::from_secs(1);
/// The lines of one call.
const PAGE: u32 = 1000;

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Only this fold, counted from 0
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(0..=99))]
    fold: Option<u32>,
    /// Print new lines as they come, until the job set ends
    #[arg(short, long)]
    follow: bool,
}

/// Prints what workers said, in the order in which it came.
pub(crate) async fn run(args: &LogsArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let id = args.id.resolve(coordinator).await?;
    let mut request =
        ListLogLinesRequest { job_set_id: id.to_string(), fold: args.fold, after_cursor: 0, page_size: PAGE };
    let mut is_empty = true;
    loop {
        // Asked before the lines: those of a job set that has ended are all there, or come within seconds.
        let has_ended = !args.follow || has_ended(coordinator, &id).await?;
        loop {
            let answer = coordinator.call(request.clone(), async |c, r| c.logs().list_log_lines(r).await).await?;
            print_lines(&answer.lines, format)?;
            is_empty &= answer.lines.is_empty();
            request.after_cursor = answer.lines.last().map_or(request.after_cursor, |line| line.cursor);
            if answer.lines.len() < PAGE as usize {
                break;
            }
        }
        if has_ended {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if is_empty {
        notify("no worker has said anything yet: the log begins with the first attempt");
    }
    Ok(())
}

async fn has_ended(coordinator: &Connection, id: &JobSetId) -> anyhow::Result<bool> {
    let job_set = get_job_set(coordinator, id).await?;
    Ok(job_set_state_from_wire(job_set.state).is_ok_and(|state| state.has_ended()))
}

fn print_lines(lines: &[StoredLogLine], format: OutputFormat) -> anyhow::Result<()> {
    let page = page();
    for line in lines {
        match format {
            OutputFormat::Json => print_json(&json_line(line))?,
            OutputFormat::Text => print(&log_line(line, &page))?,
        }
    }
    Ok(())
}

fn json_line(stored: &StoredLogLine) -> Value {
    let line = stored.line.clone().unwrap_or_default();
    json!({
        "time": line.time.map(|time| time.to_string()),
        "level": level(&line).map(|level| level.word()),
        "kind": word(job_kind_from_wire(stored.kind)),
        "fold": stored.fold,
        "attempt": stored.attempt,
        "worker": stored.worker_name,
        "number": line.number,
        "message": line.message,
    })
}
