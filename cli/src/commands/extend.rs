//! `fivefold extend`.

use clap::Args;
use fivefold_client::Connection;
use fivefold_program::number::whole_number;
use fivefold_proto::v1::ExtendJobSetRequest;

use crate::commands::completions::job_set_ids;
use crate::commands::control::{notify_of_earlier_fit, print_changed};
use crate::console::{OutputFormat, notify};
use crate::job_set_name::JobSetName;

#[derive(Debug, Args)]
pub(crate) struct ExtendArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Number of epochs from the start
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..))]
    epochs: u32,
    /// Only these folds, counted from 0, such as 0,2 [default: all]
    #[arg(long, value_name = "FOLDS", value_delimiter = ',', value_parser = whole_number::<u32>(0..=99))]
    fold: Vec<u32>,
}

/// Queues trained folds for more epochs, and says which ones stay as they are.
pub(crate) async fn run(args: ExtendArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let job_set_id = args.id.resolve(coordinator).await?.to_string();
    let request = ExtendJobSetRequest { job_set_id, epochs: args.epochs, folds: args.fold };
    let answer = coordinator.call(request, async |c, r| c.job_sets().extend_job_set(r).await).await?;
    for fold in answer.stopped_early_folds {
        notify(&format!(
            "fold {fold} stopped early and stays as it is: with more epochs it would have ended there too"
        ));
    }
    notify_of_earlier_fit(answer.job_set.as_ref());
    print_changed(answer.job_set, format)
}
