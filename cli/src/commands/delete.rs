//! `fivefold delete`: deletes job sets that have ended.

use std::io::{IsTerminal as _, stdin};

use anyhow::bail;
use clap::Args;
use fivefold_client::Connection;
use fivefold_proto::v1::{DeleteJobSetRequest, JobSet};
use serde_json::json;

use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::console::{OutputFormat, ask, print, print_json};
use crate::job_set_name::JobSetName;
use crate::render::job_set::{headline, id_and_name};

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Job sets: their ids or the beginnings of them, their names, or @ for the newest
    #[arg(value_name = "ID", required = true, add = job_set_ids())]
    ids: Vec<JobSetName>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &DeleteArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    // An unknown id is an error before anything is deleted.
    let mut job_sets = Vec::new();
    for id in &args.ids {
        job_sets.push(get_job_set(coordinator, &id.resolve(coordinator).await?).await?);
    }
    let is_terminal = stdin().is_terminal();
    if !args.yes && is_terminal && !is_confirmed(&job_sets)? {
        bail!("nothing was deleted");
    }
    // Another one may be the newest by now, and nobody is asked.
    if let Some(place) = args.ids.iter().position(JobSetName::is_newest).filter(|_| !args.yes && !is_terminal) {
        bail!(
            "the newest job set is {}; --yes deletes it without a question",
            job_sets.get(place).map(id_and_name).unwrap_or_default()
        );
    }
    for JobSet { id, .. } in &job_sets {
        let request = DeleteJobSetRequest { job_set_id: id.clone() };
        coordinator.call(request, async |c, r| c.job_sets().delete_job_set(r).await).await?;
        match format {
            OutputFormat::Json => print_json(&json!({"deleted": id}))?,
            OutputFormat::Text => print(&format!("{id} is deleted\n"))?,
        }
    }
    Ok(())
}

fn is_confirmed(job_sets: &[JobSet]) -> anyhow::Result<bool> {
    for job_set in job_sets {
        ask(&headline(job_set));
    }
    let names: Vec<String> = job_sets.iter().map(id_and_name).collect();
    ask(&format!("delete {} with all models and results? [y/N]", names.join(", ")));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
