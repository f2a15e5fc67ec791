//! `fivefold status`.

use clap::Args;
use fivefold_client::Connection;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::required;
use fivefold_proto::v1::{GetJobSetRequest, JobSet, ListJobSetsRequest};
use serde_json::json;

use crate::chosen_results::earlier_fit;
use crate::commands::completions::job_set_ids;
use crate::commands::warn;
use crate::console::{OutputFormat, full_page, notify, print, print_json};
use crate::epoch_metrics;
use crate::job_set_name::JobSetName;
use crate::missing_workers::missing_workers;
use crate::render::epoch_history::EpochHistory;
use crate::render::fold_table::{fold_tables, notes};
use crate::render::job_set::{headline, job_set_table};
use crate::render::json;
use crate::render::page::Page;
use crate::render::view::View;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest [default: list the newest ones]
    #[arg(value_name = "ID", add = job_set_ids())]
    id: Option<JobSetName>,
    /// Number of job sets in the list
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "id", value_parser = whole_number::<u32>(1..))]
    limit: u32,
}

/// Job sets per page, the coordinator's limit.
const PAGE_SIZE: usize = 100;

pub(crate) async fn run(args: &StatusArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    match &args.id {
        Some(id) => {
            let job_set_id = id.resolve(coordinator).await?.to_string();
            let request = GetJobSetRequest { job_set_id };
            let answer = coordinator.call(request, async |c, r| c.job_sets().get_job_set(r).await).await?;
            let job_set = required("job_set", answer.job_set)?;
            warn(&answer.warnings);
            let mut history = EpochHistory::default();
            epoch_metrics::update(&mut history, coordinator, &job_set).await?;
            let view = View::new(&job_set, &history);
            match format {
                OutputFormat::Json => print_json(&json::job_set_view(&view)),
                OutputFormat::Text => print(&status_text(&view, &full_page())),
            }?;
            if let Some(missing) = missing_workers(coordinator, &job_set).await {
                notify(&missing);
            }
            Ok(())
        }
        None => {
            let job_sets = newest_job_sets(coordinator, args.limit as usize).await?;
            match format {
                OutputFormat::Json => {
                    print_json(&json!({ "job_sets": job_sets.iter().map(json::job_set).collect::<Vec<_>>() }))
                }
                OutputFormat::Text if job_sets.is_empty() => {
                    print("There are no job sets yet. See `fivefold submit --help`.\n")
                }
                OutputFormat::Text => print(&job_set_table(&job_sets, &full_page())),
            }
        }
    }
}

/// What a job set does, its folds, and why some do not run.
fn status_text(view: &View<'_>, page: &Page) -> String {
    let mut text = format!("{}\n", headline(view.set));
    if let Some(summary) = view.summary(&page.now) {
        text += &format!("{summary}\n");
    }
    if let Some(earlier) = earlier_fit(view.set) {
        text += &format!("{earlier}\n");
    }
    text += &format!("\n{}", fold_tables(view, page));
    let notes = notes(view, page);
    if !notes.is_empty() {
        text += &format!("\n{notes}");
    }
    text
}

async fn newest_job_sets(coordinator: &Connection, limit: usize) -> anyhow::Result<Vec<JobSet>> {
    let mut job_sets = Vec::new();
    let mut page_token = String::new();
    while job_sets.len() < limit {
        let page_size = (limit - job_sets.len()).min(PAGE_SIZE) as u32;
        let request = ListJobSetsRequest { page_size, page_token };
        let page = coordinator.call(request, async |c, r| c.job_sets().list_job_sets(r).await).await?;
        if job_sets.is_empty() {
            warn(&page.warnings);
        }
        job_sets.extend(page.job_sets);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(job_sets)
}
