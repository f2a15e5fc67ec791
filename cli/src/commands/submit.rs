//! `fivefold submit`. Lists are checked before they are uploaded.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_client::{CallError, Connection, Source, random_id};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::SubmitJobSetRequest;
use fivefold_proto::convert::{required, spec_to_wire};
use fivefold_proto::v1::{JobSet, Manifests};

use crate::commands::warn;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::image_list::{FoldsFile, ImageList, ListFile, check_lists, check_split, split_warnings};
use crate::missing_workers::missing_workers;
use crate::render::json;
use crate::spec_flags::{HpaList, Inputs, SpecFlags};
use crate::submission_warnings::submission_warnings;
use crate::transfer::upload;
use crate::weights_file::check_weights;

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Training list (`Id,Target`, and a column of groups if there are any)
    #[arg(long, alias = "train_csv", value_name = "FILE", help_heading = "Lists and files")]
    train_csv: PathBuf,
    /// HPA list, with the columns of the training list
    #[arg(long, alias = "hpa_csv", value_name = "FILE", help_heading = "Lists and files")]
    hpa_csv: Option<PathBuf>,
    /// Test list (`Id` or `Id,Predicted`), for a submission
    #[arg(long, alias = "test_csv", value_name = "FILE", help_heading = "Lists and files")]
    test_csv: Option<PathBuf>,
    /// Folds made elsewhere (`Id,Fold`, each image of the training and HPA list once), in place of a split
    #[arg(long, alias = "folds_csv", value_name = "FILE", help_heading = "Lists and files")]
    folds_csv: Option<PathBuf>,
    /// Initial weights under torchvision's names, such as ImageNet's [default: random]
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Lists and files")]
    weights: Option<PathBuf>,
    /// Settings as TOML or JSON, under the names of the flags below, which take precedence
    #[arg(long, value_name = "FILE", help_heading = "Lists and files")]
    spec: Option<PathBuf>,
    /// Id of this submission, 1 to 64 characters; repeating it returns the same job set [default: random]
    #[arg(long, alias = "request_id", value_name = "ID", value_parser = checked_request_id)]
    request_id: Option<String>,
    #[command(flatten)]
    flags: SpecFlags,
}

fn checked_request_id(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 ASCII characters without spaces".to_owned())
    }
}

/// The checked files of a submission.
struct Files {
    train: ImageList,
    hpa: Option<ImageList>,
    test: Option<ImageList>,
    folds: Option<FoldsFile>,
    weights: Option<PathBuf>,
}

/// Submits a job set and prints its id.
pub(crate) async fn run(args: SubmitArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let hpa_list = if args.hpa_csv.is_some() { HpaList::Given } else { HpaList::Absent };
    let folds = args.folds_csv.as_deref().map(FoldsFile::read).transpose()?;
    let given_folds = folds.as_ref().map(|file| file.folds.fold_count());
    let spec = args.flags.spec(args.spec.as_deref(), Inputs { hpa_list, given_folds })?;
    let labelled = |path| ImageList::read_labelled(path, &spec.group_column);
    let files = Files {
        train: labelled(&args.train_csv)?,
        hpa: args.hpa_csv.as_deref().map(labelled).transpose()?,
        test: args.test_csv.as_deref().map(ImageList::read_test).transpose()?,
        folds,
        weights: args.weights,
    };
    check_lists(&spec, &files.train, files.hpa.as_ref())?;
    let split = check_split(&spec, &files.train, files.hpa.as_ref(), files.folds.as_ref())?;
    for warning in submission_warnings(&spec, &files.train, files.hpa.as_ref(), files.test.as_ref()) {
        notify(&format!("warning: {warning}"));
    }
    for warning in split.iter().flat_map(|split| split_warnings(&spec, &files.train.manifest, split)) {
        notify(&format!("warning: {warning}"));
    }
    if let Some(path) = &files.weights {
        check_weights(path, &spec)?;
    }
    let request_id = match args.request_id {
        Some(id) => id,
        None => random_id().context("the system has no random numbers")?,
    };
    let job_set = submit(coordinator, &spec, files, request_id).await?;
    let folds = spec.trained_folds().len();
    let has_test_list = job_set.manifests.as_ref().is_some_and(|lists| !lists.test_digest.is_empty());
    let prediction = if has_test_list { ", then the prediction of the test list" } else { "" };
    let split = split.map_or(String::new(), |split| format!(", {split}"));
    eprintln!(
        "Submitted {folds} of {} folds{split}{prediction}. Follow the job set with `fivefold watch {}`.",
        spec.folds, job_set.id
    );
    if let Some(missing) = missing_workers(coordinator, &job_set).await {
        notify(&missing);
    }
    print_id(&job_set, format)
}

/// Uploads the files and submits the job set.
async fn submit(
    coordinator: &Connection,
    spec: &JobSetSpec,
    files: Files,
    request_id: String,
) -> anyhow::Result<JobSet> {
    let mut manifests =
        Manifests { train_digest: upload_list(coordinator, files.train.file).await?, ..Manifests::default() };
    if let Some(list) = files.hpa {
        manifests.hpa_digest = upload_list(coordinator, list.file).await?;
    }
    if let Some(list) = files.test {
        manifests.test_digest = upload_list(coordinator, list.file).await?;
    }
    if let Some(folds) = files.folds {
        manifests.folds_digest = upload_list(coordinator, folds.file).await?;
    }
    if let Some(path) = files.weights {
        let name = path.display().to_string();
        manifests.weights_digest = upload(coordinator, &name, ArtifactKind::Weights, path.into()).await?;
    }
    let request = SubmitJobSetRequest::new(&*request_id, &spec_to_wire(spec), &manifests);
    let answer = coordinator.call(request, async |c, r| c.job_sets().submit_job_set(r).await).await;
    let answer = answer.map_err(|error| match error {
        CallError::Unreachable(_) => anyhow::Error::from(error)
            .context(format!("the job set may have been submitted; repeat the command with --request-id {request_id}")),
        _ => error.into(),
    })?;
    warn(&answer.warnings);
    Ok(required("job_set", answer.job_set)?)
}

pub(super) fn print_id(job_set: &JobSet, format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Text => print(&format!("{}\n", job_set.id)),
        OutputFormat::Json => print_json(&json::job_set(job_set)),
    }
}

/// Uploads a list or a folds file and returns its digest.
pub(super) async fn upload_list(coordinator: &Connection, file: ListFile) -> anyhow::Result<String> {
    upload(coordinator, &file.name(), ArtifactKind::Manifest, Source::from(file.bytes)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_checked() {
        let id = random_id().unwrap();
        assert_eq!(checked_request_id(&id), Ok(id));
        assert!(checked_request_id("").is_err());
        assert!(checked_request_id("a b").is_err());
        assert!(checked_request_id(&"x".repeat(65)).is_err());
    }
}
