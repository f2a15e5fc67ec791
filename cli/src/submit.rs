//! `fivefold submit` and `fivefold predict`: lists are checked here, uploaded, and become jobs.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use fivefold_proto::convert::{job_set_id_from_wire, required, spec_to_wire};
use fivefold_proto::v1::{ArtifactKind, JobSet, Manifests, PredictJobSetRequest, SubmitJobSetRequest};

use crate::artifacts::{Content, check_safetensors, upload};
use crate::connection::Coordinator;
use crate::failure::Usage;
use crate::json::job_set_json;
use crate::lists::{List, check_together};
use crate::output::{OutputFormat, print, print_json};
use crate::spec_flags::{HpaList, SpecFlags};

/// Arguments of `fivefold submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The training list (`Id,Target`)
    #[arg(long, alias = "train_csv", value_name = "FILE", help_heading = "Lists and files")]
    train_csv: PathBuf,
    /// The HPA list (`Id,Target`)
    #[arg(long, alias = "hpa_csv", value_name = "FILE", help_heading = "Lists and files")]
    hpa_csv: Option<PathBuf>,
    /// The test list (`Id` or `Id,Predicted`); with it the job set ends in a submission
    #[arg(long, alias = "test_csv", value_name = "FILE", help_heading = "Lists and files")]
    test_csv: Option<PathBuf>,
    /// Initial weights with torchvision's parameter names, such as ImageNet's
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Lists and files")]
    weights: Option<PathBuf>,
    /// The settings below as TOML, under the same names; flags override it
    #[arg(long, value_name = "FILE.toml", help_heading = "Lists and files")]
    spec: Option<PathBuf>,
    /// Names this submission, 1 to 64 characters: submitting again under the same one changes nothing [default: random]
    #[arg(long, alias = "request_id", value_name = "ID", value_parser = checked_request_id)]
    request_id: Option<String>,
    #[command(flatten)]
    flags: SpecFlags,
}

/// Arguments of `fivefold predict`.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The job set
    #[arg(value_name = "ID")]
    id: String,
    /// The test list (`Id` or `Id,Predicted`)
    #[arg(long, alias = "test_csv", value_name = "FILE")]
    test_csv: PathBuf,
}

fn checked_request_id(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("it should be 1 to 64 ASCII characters without spaces".to_owned())
    }
}

/// Submits a job set and prints its id.
pub(crate) async fn submit(args: SubmitArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let hpa_list = if args.hpa_csv.is_some() { HpaList::Given } else { HpaList::Absent };
    let spec = args.flags.spec(args.spec.as_deref(), hpa_list)?;
    let train = List::labelled(&args.train_csv)?;
    let hpa = args.hpa_csv.as_deref().map(List::labelled).transpose()?;
    let test = args.test_csv.as_deref().map(List::test).transpose()?;
    check_together(&spec, &train, hpa.as_ref())?;
    if let Some(path) = &args.weights {
        check_safetensors(path)?;
    }

    let request_id = args.request_id.unwrap_or_else(random_request_id);
    let submission = async {
        let mut manifests = Manifests { train_digest: upload_list(coordinator, train).await?, ..Manifests::default() };
        if let Some(list) = hpa {
            manifests.hpa_digest = upload_list(coordinator, list).await?;
        }
        if let Some(list) = test {
            manifests.test_digest = upload_list(coordinator, list).await?;
        }
        if let Some(path) = args.weights {
            manifests.weights_digest = upload_weights(coordinator, path).await?;
        }
        let request = SubmitJobSetRequest {
            request_id: request_id.clone(),
            spec: Some(spec_to_wire(&spec)),
            manifests: Some(manifests),
        };
        let answer = coordinator.call(async || coordinator.job_sets().submit_job_set(request.clone()).await).await?;
        anyhow::Ok(required("job_set", answer.job_set)?)
    };
    let job_set = submission.await.with_context(|| format!("not known to be submitted (request id {request_id})"))?;
    let folds = spec.trained_folds().len();
    let then = if job_set.manifests.as_ref().is_some_and(|lists| !lists.test_digest.is_empty()) {
        ", then the test list's prediction"
    } else {
        ""
    };
    eprintln!("Submitted: {folds} of {} folds{then}. `fivefold watch {}` follows it.", spec.folds, job_set.id);
    print_id(&job_set, format)
}

/// Asks for the prediction of a test list and prints the job set's id.
pub(crate) async fn predict(args: PredictArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<()> {
    let id = job_set_id_from_wire(&args.id).map_err(|error| Usage(error.problem))?;
    let test = List::test(&args.test_csv)?;
    let rows = test.manifest.rows.len();
    let request =
        PredictJobSetRequest { job_set_id: id.to_string(), test_digest: upload_list(coordinator, test).await? };
    let answer = coordinator.call(async || coordinator.job_sets().predict_job_set(request.clone()).await).await?;
    let job_set = required("job_set", answer.job_set)?;
    eprintln!("Queued: the prediction of {rows} images. `fivefold watch {id}` follows it.");
    print_id(&job_set, format)
}

fn print_id(job_set: &JobSet, format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Text => print(&format!("{}\n", job_set.id)),
        OutputFormat::Json => print_json(&job_set_json(job_set)),
    }
}

async fn upload_list(coordinator: &Coordinator, list: List) -> anyhow::Result<String> {
    upload(coordinator, &file_name(&list.path), ArtifactKind::Manifest, Content::Memory(list.bytes)).await
}

async fn upload_weights(coordinator: &Coordinator, path: PathBuf) -> anyhow::Result<String> {
    upload(coordinator, &file_name(&path), ArtifactKind::Weights, Content::File(path)).await
}

fn file_name(path: &Path) -> String {
    path.display().to_string()
}

/// 32 hex digits that nobody else has: the standard library keys each `RandomState` from the system's randomness, and
/// time and process make up for what two keys of one process share.
fn random_request_id() -> String {
    let half = |salt: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(salt);
        hasher.write_u32(std::process::id());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        hasher.write_u128(now.as_nanos());
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ_and_are_checked() {
        assert_ne!(random_request_id(), random_request_id());
        assert!(checked_request_id(&random_request_id()).is_ok());
        assert!(checked_request_id("").is_err());
        assert!(checked_request_id("a b").is_err());
        assert!(checked_request_id(&"x".repeat(65)).is_err());
    }
}
