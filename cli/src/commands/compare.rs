//! `fivefold compare`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_client::Connection;
use fivefold_common::durable_file;
use fivefold_common::ids::JobSetId;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{required, spec_from_wire};
use fivefold_report::{Comparison, Side, comparison_html};
use serde_json::Value;

use crate::chosen_results::{ChosenResults, Wanted};
use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::commands::report::ReportFiles;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::error::UsageError;
use crate::job_set_name::JobSetName;
use crate::render::comparison::{comparison_json, comparison_text};
use crate::render::job_set::id_and_name;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Job sets: their ids or the beginnings of them, their names, or @ for the newest; the others are compared with the first
    #[arg(value_name = "ID", required = true, num_args = 2.., add = job_set_ids())]
    ids: Vec<JobSetName>,
    /// Also write the comparison as an HTML page
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints the figures of job sets beside each other, the settings that differ, and whether the difference can be an accident.
pub(crate) async fn run(args: &CompareArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let mut ids: Vec<JobSetId> = Vec::new();
    for name in &args.ids {
        let id = name.resolve(coordinator).await?;
        if ids.contains(&id) {
            return Err(UsageError(format!("{id} is named twice")).into());
        }
        ids.push(id);
    }
    let mut sides = Vec::new();
    for id in &ids {
        sides.push(side(id, coordinator).await?);
    }
    let comparison = Comparison::new(sides);
    if let Some(path) = &args.out {
        durable_file::write(path, |output| output.write_all(comparison_html(&comparison).as_bytes()))?;
        notify(&format!("comparison: {}", path.display()));
    }
    match format {
        OutputFormat::Json => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            print_json(&comparison_json(&comparison, &ids))
        }
        OutputFormat::Text => print(&comparison_text(&comparison)),
    }
}

async fn side(id: &JobSetId, coordinator: &Connection) -> anyhow::Result<Side> {
    let job_set = get_job_set(coordinator, id).await?;
    let spec = spec_from_wire(required("job_set.spec", job_set.spec.clone())?)?;
    let chosen = ChosenResults::find(job_set, Wanted::Newest, coordinator).await?;
    let files = ReportFiles::download(&chosen, coordinator).await?;
    let name = format!("the out-of-fold table of {id}");
    let table = File::open(files.table()).with_context(|| format!("cannot read {name}"))?;
    Ok(Side {
        name: id_and_name(&chosen.job_set),
        settings: settings(&spec)?,
        report: files.report()?,
        table: ScoreTable::read_csv(&name, BufReader::new(table))?,
    })
}

/// The settings by key; the name of the job set is none.
fn settings(spec: &JobSetSpec) -> anyhow::Result<Vec<(String, String)>> {
    let Value::Object(keys) = serde_json::to_value(spec)? else { return Ok(Vec::new()) };
    let text = |value: Value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    Ok(keys.into_iter().filter(|(key, _)| key != "name").map(|(key, value)| (key, text(value))).collect())
}
