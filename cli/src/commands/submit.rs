//! `fivefold submit`. Lists are checked before they are uploaded.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use fivefold_client::{CallError, Connection, Source, random_id};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::JobSetId;
use fivefold_common::spec::{JobSetSpec, SplitMethod};
use fivefold_proto::SubmitJobSetRequest;
use fivefold_proto::convert::{required, spec_to_wire};
use fivefold_proto::v1::{JobSet, Manifests};

use crate::commands::completions::job_set_ids;
use crate::commands::warn;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::described_dataset::{DatasetSource, DescribedDataset};
use crate::error::UsageError;
use crate::image_list::{FoldsFile, ImageList, ListFile, check_ids, check_lists, check_split, split_warnings};
use crate::job_set_name::JobSetName;
use crate::like::Like;
use crate::list_source::ListSource;
use crate::missing_workers::missing_workers;
use crate::render::json;
use crate::spec_flags::{Folds, HpaList, Inputs, SpecFlags};
use crate::submission_warnings::submission_warnings;
use crate::transfer::upload;
use crate::weights_file::check_weights;

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Training list (`Id,Target` or as the settings on classes say, and a column of groups if there are any)
    #[arg(long, alias = "train_csv", value_name = "FILE", help_heading = "Lists and files")]
    train_csv: Option<PathBuf>,
    /// Description of a data set (TOML): its classes, lists and images; or the name of a pushed one, whose images workers fetch
    /// from the coordinator. What has a `/` or the ending .toml is a file. The flags below take precedence
    #[arg(long, value_name = "FILE|NAME", help_heading = "Lists and files")]
    dataset: Option<DatasetSource>,
    /// HPA list, or another one of further images, with the columns of the training list
    #[arg(long, alias = "hpa_csv", value_name = "FILE", help_heading = "Lists and files")]
    hpa_csv: Option<PathBuf>,
    /// Test list (`Id`, or the columns of a submission), for a submission
    #[arg(long, alias = "test_csv", value_name = "FILE", help_heading = "Lists and files")]
    test_csv: Option<PathBuf>,
    /// Folds made elsewhere (`Id,Fold`, each image of the training and HPA list once), in place of a split
    #[arg(long, alias = "folds_csv", value_name = "FILE", help_heading = "Lists and files")]
    folds_csv: Option<PathBuf>,
    /// Take settings, lists and initial weights from this job set, where no other flag gives them. Its name is not taken
    #[arg(long, value_name = "ID", help_heading = "Lists and files", add = job_set_ids())]
    like: Option<JobSetName>,
    /// Initial weights under torchvision's names, such as ImageNet's [default: random]
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Lists and files")]
    weights: Option<PathBuf>,
    /// Begin each fold from the model of the same fold of this job set, which has to have the same split and network; `none`
    /// leaves out the models that the job set of --like begins from
    #[arg(long, alias = "warm_start", value_name = "ID", help_heading = "Lists and files", conflicts_with = "weights", add = job_set_ids())]
    warm_start: Option<WarmStart>,
    /// Settings as TOML or JSON, under the names of the flags below, which take precedence; also a report.json or what
    /// `fivefold status ID --json` prints
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

/// The models that folds begin from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WarmStart {
    /// Not those that the job set of `--like` begins from.
    None,
    Of(JobSetName),
}

impl FromStr for WarmStart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Of) }
    }
}

/// The lists of a submission as they were read.
struct Lists {
    train: ListFile,
    hpa: Option<ListFile>,
    test: Option<ListFile>,
}

impl Lists {
    /// Reads the files that are given, and takes the other lists of the job set that the new one is like.
    async fn read(
        args: &SubmitArgs,
        dataset: &DescribedDataset,
        like: Option<&Like>,
        coordinator: &Connection,
    ) -> anyhow::Result<Lists> {
        let mut train = given(args.train_csv.as_ref(), dataset.train.as_ref(), coordinator).await?;
        let mut hpa = given(args.hpa_csv.as_ref(), dataset.extra.as_ref(), coordinator).await?;
        let mut test = given(args.test_csv.as_ref(), dataset.test.as_ref(), coordinator).await?;
        if let Some(like) = like {
            if train.is_none() {
                train = Some(like.train_list(coordinator).await?);
            }
            if hpa.is_none() {
                hpa = like.hpa_list(coordinator).await?;
            }
            if test.is_none() {
                test = like.test_list(coordinator).await?;
            }
        }
        let train = train.ok_or_else(|| {
            UsageError(match &args.dataset {
                Some(DatasetSource::File(file)) => format!(
                    "{} has no training list: name it as train in its [lists], or with --train-csv FILE",
                    file.display()
                ),
                Some(DatasetSource::Pushed(name)) => {
                    format!("the data set {name} was pushed without a training list: name one with --train-csv FILE")
                }
                None => "there is nothing to train on: describe a data set with --dataset FILE, name its training list with \
                         --train-csv FILE, or repeat a job set with --like ID"
                    .to_owned(),
            })
        })?;
        Ok(Lists { train, hpa, test })
    }
}

/// The file of a flag, or the list of the data set.
async fn given(
    flag: Option<&PathBuf>,
    listed: Option<&ListSource>,
    coordinator: &Connection,
) -> anyhow::Result<Option<ListFile>> {
    match (flag, listed) {
        (Some(path), _) => ListFile::read(path).map(Some),
        (None, Some(listed)) => listed.read(coordinator).await.map(Some),
        (None, None) => Ok(None),
    }
}

/// The settings that flags and file change: the defaults, or those of another job set. If that has no HPA list and this one
/// has, its rows take part as by default.
fn base_spec(like: Option<&Like>, hpa_is_new: bool) -> JobSetSpec {
    let Some(like) = like else { return JobSetSpec::default() };
    let mut spec = like.spec.clone();
    if hpa_is_new && like.manifests.hpa_digest.is_empty() {
        let JobSetSpec { train_with_hpa, valid_with_hpa, .. } = JobSetSpec::default();
        (spec.train_with_hpa, spec.valid_with_hpa) = (train_with_hpa, valid_with_hpa);
    }
    spec
}

/// The checked files of a submission.
struct Files {
    train: ImageList,
    hpa: Option<ImageList>,
    test: Option<ImageList>,
    folds: Option<FoldsFile>,
    /// The index of pushed images; empty where each worker has the images in a folder.
    images_digest: String,
    weights: Weights,
}

/// The initial weights of a submission.
enum Weights {
    Random,
    File(PathBuf),
    /// The folds' models of a job set.
    WarmStart(JobSetId),
    /// Held by the coordinator for another job set.
    Like(Box<Like>),
}

/// Reads the settings and the files, and checks each of them by itself.
async fn read(args: &SubmitArgs, coordinator: &Connection) -> anyhow::Result<(JobSetSpec, Files)> {
    let like = match &args.like {
        Some(name) => Some(Like::find(name, coordinator).await?),
        None => None,
    };
    let dataset = match &args.dataset {
        Some(source) => DescribedDataset::read(source, coordinator).await?,
        None => DescribedDataset::default(),
    };
    let Lists { train, hpa, test } = Lists::read(args, &dataset, like.as_ref(), coordinator).await?;
    let given_folds = given(args.folds_csv.as_ref(), dataset.folds.as_ref(), coordinator).await?;
    let given_folds = given_folds.map(FoldsFile::of).transpose()?;
    let hpa_is_new = args.hpa_csv.is_some() || dataset.extra.is_some();
    let images_digest = match (&args.dataset, &like) {
        (None, Some(like)) => like.manifests.images_digest.clone(),
        _ => dataset.images_digest,
    };
    let inputs = Inputs {
        base: base_spec(like.as_ref(), hpa_is_new),
        dataset: dataset.overrides,
        hpa_list: if hpa.is_some() { HpaList::Given } else { HpaList::Absent },
        folds: match (&given_folds, &like) {
            (Some(file), _) => Folds::File { count: file.folds.fold_count() },
            (None, Some(_)) => Folds::Like,
            (None, None) => Folds::None,
        },
    };
    let spec = args.flags.clone().spec(args.spec.as_deref(), inputs)?;
    let folds = match (given_folds, &like) {
        (None, Some(like)) if spec.split_method == SplitMethod::Given => {
            Some(FoldsFile::of(like.folds(coordinator).await?)?)
        }
        (given, _) => given,
    };
    let labelled = |file| ImageList::labelled(file, &spec);
    let files = Files {
        train: labelled(train)?,
        hpa: hpa.map(labelled).transpose()?,
        test: test.map(|file| ImageList::test(file, &spec)).transpose()?,
        folds,
        images_digest,
        weights: match (&args.weights, &args.warm_start, like) {
            (Some(path), ..) => Weights::File(path.clone()),
            (None, Some(WarmStart::Of(name)), _) => Weights::WarmStart(name.resolve(coordinator).await?),
            (None, None, Some(like)) => Weights::Like(Box::new(like)),
            (None, Some(WarmStart::None), Some(like)) => Weights::Like(Box::new(like.without_warm_start())),
            (None, None | Some(WarmStart::None), None) => Weights::Random,
        },
    };
    if let Weights::File(path) = &files.weights {
        check_weights(path, &spec)?;
    }
    Ok((spec, files))
}

/// Submits a job set and prints its id.
pub(crate) async fn run(args: SubmitArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let (spec, files) = read(&args, coordinator).await?;
    check_lists(&spec, &files.train, files.hpa.as_ref())?;
    let lists = [Some(&files.train), files.hpa.as_ref(), files.test.as_ref()];
    lists.into_iter().flatten().try_for_each(|list| check_ids(&spec, list))?;
    let split = check_split(&spec, &files.train, files.hpa.as_ref(), files.folds.as_ref())?;
    for warning in submission_warnings(&spec, &files.train, files.hpa.as_ref(), files.test.as_ref()) {
        notify(&format!("warning: {warning}"));
    }
    for warning in split.iter().flat_map(|split| split_warnings(&spec, &files.train.manifest, split)) {
        notify(&format!("warning: {warning}"));
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
    let mut manifests = Manifests {
        train_digest: upload_list(coordinator, files.train.file).await?,
        images_digest: files.images_digest,
        ..Manifests::default()
    };
    if let Some(list) = files.hpa {
        manifests.hpa_digest = upload_list(coordinator, list.file).await?;
    }
    if let Some(list) = files.test {
        manifests.test_digest = upload_list(coordinator, list.file).await?;
    }
    if let Some(folds) = files.folds {
        manifests.folds_digest = upload_list(coordinator, folds.file).await?;
    }
    match files.weights {
        Weights::Random => {}
        Weights::File(path) => {
            let name = path.display().to_string();
            manifests.weights_digest = upload(coordinator, &name, ArtifactKind::Weights, path.into()).await?;
        }
        Weights::WarmStart(id) => manifests.warm_start_job_set_id = id.to_string(),
        Weights::Like(like) => {
            manifests.weights_digest = like.weights(coordinator).await?;
            manifests.warm_start_job_set_id = like.manifests.warm_start_job_set_id;
        }
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
    fn a_warm_start_may_be_left_out() {
        assert_eq!("none".parse(), Ok(WarmStart::None));
        assert_eq!("@".parse(), Ok(WarmStart::Of("@".parse().unwrap())));
    }

    #[test]
    fn request_ids_are_checked() {
        let id = random_id().unwrap();
        assert_eq!(checked_request_id(&id), Ok(id));
        assert!(checked_request_id("").is_err());
        assert!(checked_request_id("a b").is_err());
        assert!(checked_request_id(&"x".repeat(65)).is_err());
    }
}
