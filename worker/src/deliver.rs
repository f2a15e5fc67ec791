//! The delivery of a job's result.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use fivefold_common::progress::{Phase, Progress};
use fivefold_proto::convert::{artifact_to_wire, checkpoint_to_wire, lease_to_wire};
use fivefold_proto::v1;
use fivefold_train::torch::device;

use crate::attempt::Attempt;
use crate::failure::AttemptError;
use crate::prepare::blocking;
use crate::run::JobResult;

/// Uploads the scores and completes the job.
///
/// # Errors
/// When the scores cannot be written, or the coordinator does not accept them.
pub(crate) async fn deliver(attempt: &Attempt<'_>, result: JobResult) -> Result<(), AttemptError> {
    attempt.reporter.progress(Progress::start_of(Phase::Uploading));
    let JobResult { scores, kind, checkpoint } = result;
    let path = attempt.folder.join("scores.csv");
    let written = path.clone();
    blocking(move || {
        let mut output = BufWriter::new(File::create(&written).with_context(|| written.display().to_string())?);
        scores.write_csv(&mut output).and_then(|()| output.flush()).with_context(|| written.display().to_string())
    })
    .await?;
    let artifact = attempt.transfers().upload(kind, path.into()).await?;
    attempt.all_reports_stored().await?;
    let made_by = serde_json::json!({
        "fivefold": env!("CARGO_PKG_VERSION"),
        "libtorch": device::LIBTORCH_VERSION,
        "device": device::describe(attempt.worker.device),
    });
    let request = v1::CompleteJobRequest {
        lease: Some(lease_to_wire(attempt.lease)),
        result: Some(artifact_to_wire(artifact)),
        checkpoint: checkpoint.as_ref().map(checkpoint_to_wire),
        made_by_json: made_by.to_string(),
    };
    attempt.connection.call(request, async |c, r| c.workers().complete_job(r).await).await?;
    Ok(())
}
