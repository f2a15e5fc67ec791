//! `fivefold datasets`: the pushed data sets.

use std::io::{IsTerminal as _, stdin};
use std::time::SystemTime;

use anyhow::bail;
use clap::{Args, Subcommand};
use fivefold_client::Connection;
use fivefold_common::data_set_name::DataSetName;
use fivefold_proto::v1::{DeleteDataSetRequest, ListDataSetsRequest};
use serde_json::json;

use crate::commands::completions::data_set_names;
use crate::console::{OutputFormat, ask, print, print_json};
use crate::described_dataset::{data_set_error, get_data_set};
use crate::render::data_set::{data_set_json, data_set_table};

#[derive(Debug, Args)]
pub(crate) struct DatasetsArgs {
    #[command(subcommand)]
    command: Option<DatasetsCommand>,
}

#[derive(Debug, Subcommand)]
enum DatasetsCommand {
    /// Delete pushed data sets. Job sets that were submitted with them keep their lists and images
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Names of the data sets
    #[arg(value_name = "NAME", required = true, add = data_set_names())]
    names: Vec<DataSetName>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &DatasetsArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    match &args.command {
        None => list(coordinator, format).await,
        Some(DatasetsCommand::Delete(args)) => delete(args, coordinator, format).await,
    }
}

async fn list(coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let call = coordinator.call(ListDataSetsRequest {}, async |c, r| c.data_sets().list_data_sets(r).await);
    let data_sets = call.await?.data_sets;
    match format {
        OutputFormat::Json => {
            print_json(&json!({ "data_sets": data_sets.iter().map(data_set_json).collect::<Vec<_>>() }))
        }
        OutputFormat::Text if data_sets.is_empty() => {
            print("No data set was pushed yet. See `fivefold push --help`.\n")
        }
        OutputFormat::Text => print(&data_set_table(&data_sets, SystemTime::now())),
    }
}

async fn delete(args: &DeleteArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    // An unknown name is an error before anything is deleted.
    let mut data_sets = Vec::new();
    for name in &args.names {
        data_sets.push(get_data_set(name, coordinator).await?);
    }
    if !args.yes && stdin().is_terminal() {
        ask(&data_set_table(&data_sets, SystemTime::now()));
        ask("delete these data sets? Job sets that were submitted with them keep their lists and images. [y/N]");
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing was deleted");
        }
    }
    for name in &args.names {
        let request = DeleteDataSetRequest { name: name.to_string() };
        let deleted = coordinator.call(request, async |c, r| c.data_sets().delete_data_set(r).await).await;
        deleted.map_err(|error| data_set_error(error, ""))?;
        match format {
            OutputFormat::Json => print_json(&json!({"deleted": name.as_str()}))?,
            OutputFormat::Text => print(&format!("{name} is deleted\n"))?,
        }
    }
    Ok(())
}
