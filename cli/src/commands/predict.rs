//! `fivefold predict`.

use std::path::PathBuf;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_proto::convert::required;
use fivefold_proto::v1::PredictJobSetRequest;

use crate::commands::submit::{print_id, upload_list};
use crate::console::OutputFormat;
use crate::image_list::ImageList;

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Job set
    #[arg(value_name = "ID")]
    id: JobSetId,
    /// Test list (`Id` or `Id,Predicted`)
    #[arg(long, alias = "test_csv", value_name = "FILE")]
    test_csv: PathBuf,
}

/// Uploads the test list, queues its prediction and prints the job set's id.
pub(crate) async fn run(args: PredictArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let id = args.id;
    let test = ImageList::read_test(&args.test_csv)?;
    let rows = test.manifest.rows.len();
    let request =
        PredictJobSetRequest { job_set_id: id.to_string(), test_digest: upload_list(coordinator, test.file).await? };
    let answer = coordinator.call(request, async |c, r| c.job_sets().predict_job_set(r).await).await?;
    let job_set = required("job_set", answer.job_set)?;
    eprintln!("Queued the prediction of {rows} images. Follow the job set with `fivefold watch {id}`.");
    print_id(&job_set, format)
}
