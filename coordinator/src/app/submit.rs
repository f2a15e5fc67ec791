//! Submission of job sets.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::manifest::FoldTable;
use fivefold_common::spec::{JobSetSpec, SplitMethod};

use super::artifacts::{put, require_artifact};
use super::disk::require_room;
use super::lists::{Lists, read_test_list};
use super::resolve::check_name;
use super::warm_start::warm_start;
use super::{Coordinator, Count, pushed_images};
use crate::error::Error;
use crate::queue::{EarlierRequest, Inputs, NewEvent, NewJobSet, Submitted, WarmStart};

/// What a user submits.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Chosen by the caller; the same in repeats of a request.
    pub request_id: String,
    /// Tells a repeated request from another one with the same id.
    pub request_digest: Digest,
    pub spec: JobSetSpec,
    pub train: Digest,
    pub hpa: Option<Digest>,
    pub test: Option<Digest>,
    pub weights: Option<Digest>,
    /// The folds, if they were made elsewhere.
    pub folds: Option<Digest>,
    /// The index of pushed images; `None` where each worker has the images in a folder.
    pub images: Option<Digest>,
    /// The job set whose models the folds begin from, in place of weights.
    pub warm_start_of: Option<JobSetId>,
}

/// Stores a job set and queues a train job for each fold. A repeated request gives the same job set.
///
/// # Errors
/// If a list cannot be used or split; [`Error::RequestIdReused`]; [`Error::Exhausted`] if the disk has no room for it.
pub async fn submit(coordinator: &Coordinator, submission: Submission) -> Result<JobSetId, Error> {
    if let Some(earlier) = coordinator.queue.submitted(&submission.request_id).await? {
        return same_request(&submission, earlier);
    }
    let new = prepare(coordinator, submission.clone()).await?;
    let id = new.id.clone();
    // Another call with this request may have been faster.
    match coordinator.queue.submit(coordinator.now(), new).await? {
        Submitted::Stored => {
            tracing::info!("job set {id} was submitted");
            coordinator.counts.add(Count::SubmittedJobSets, 1);
            Ok(id)
        }
        Submitted::Earlier(earlier) => same_request(&submission, earlier),
    }
}

fn same_request(submission: &Submission, earlier: EarlierRequest) -> Result<JobSetId, Error> {
    if earlier.digest == submission.request_digest {
        return Ok(earlier.job_set);
    }
    Err(Error::RequestIdReused(submission.request_id.clone()))
}

/// Refuses a submission whose files are not held, and keeps them for a while from now on.
async fn require_files(coordinator: &Coordinator, submission: &Submission) -> Result<(), Error> {
    let &Submission { train, hpa, test, weights, folds, images, ref warm_start_of, .. } = submission;
    for (file, digest) in [
        ("train", Some(train)),
        ("hpa", hpa),
        ("test", test),
        ("weights", weights),
        ("folds", folds),
        ("images", images),
    ] {
        if let Some(digest) = digest {
            require_artifact(coordinator, &format!("manifests.{file}_digest"), digest).await?;
        }
    }
    if weights.is_some() && warm_start_of.is_some() {
        let problem = "it is set, and so is manifests.weights_digest: folds begin from one of them";
        return Err(Error::bad_field("manifests.warm_start_job_set_id", problem));
    }
    Ok(())
}

/// Checks the lists and splits them.
async fn prepare(coordinator: &Coordinator, submission: Submission) -> Result<NewJobSet, Error> {
    check_name(coordinator, &submission.spec.name).await?;
    require_files(coordinator, &submission).await?;
    let Submission { request_id, request_digest, mut spec, train, hpa, test, weights, images, .. } = submission;
    if hpa.is_none() {
        // There are no rows that could join.
        (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
    }
    let blobs = &*coordinator.blobs;
    let lists = Lists::read(blobs, &spec, train, hpa).await?;
    require_room(coordinator, &spec).await?;
    let test_list = match test {
        Some(test) => Some(read_test_list(blobs, &spec, test).await?),
        None => None,
    };
    let folds = fold_table(coordinator, &spec, &lists, submission.folds).await?;
    let mut segments = Vec::new();
    if let Some(images) = images {
        let listed = lists.clone().with_sources(test_list);
        let index = pushed_images::check(coordinator, &spec, images, listed).await?;
        segments.extend(index.segments.iter().map(|segment| segment.digest));
    }
    let split_report = lists.split_report(&spec, &folds);
    let mut folds_csv = Vec::new();
    folds.write_csv(&mut folds_csv).map_err(|error| Error::file("folds.csv", error))?;
    let folds = put(coordinator, ArtifactKind::Folds, folds_csv).await?.digest;
    let warm_start = match submission.warm_start_of {
        Some(of) => Some(warm_start(coordinator, of, &spec, folds).await?),
        None => None,
    };

    let entropy = Digest::of(format!("{request_id}/{request_digest}/{}", coordinator.now().0).as_bytes());
    let entropy = entropy.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut message = format!("submitted with {} folds", spec.trained_folds().len());
    if let Some(report) = split_report {
        message += &format!(", {report}");
    }
    if let Some(WarmStart { of, .. }) = &warm_start {
        message += &format!(", which begin from the models of {of}");
    }
    Ok(NewJobSet {
        id: JobSetId::from_entropy(entropy),
        request_id,
        request_digest,
        spec,
        inputs: Inputs { train, hpa, test, weights, folds, images },
        segments,
        warm_start,
        event: NewEvent { name: EventName::Submitted, job: None, message },
    })
}

/// The fold of every row: the split of the lists, or the folds of a file. Every fold has rows to train and to validate on.
async fn fold_table(
    coordinator: &Coordinator,
    spec: &JobSetSpec,
    lists: &Lists,
    given: Option<Digest>,
) -> Result<FoldTable, Error> {
    let folds = match (spec.split_method, given) {
        (SplitMethod::Given, Some(given)) => lists.given_folds(&*coordinator.blobs, spec, given).await?,
        (method, Some(_)) => {
            let problem = format!("it is there, but split_method = {method} makes its own folds");
            return Err(Error::bad_field("manifests.folds_digest", problem));
        }
        (_, None) => lists.split(spec).await?,
    };
    for fold in spec.trained_folds() {
        lists.fold_rows(spec, fold, &folds)?;
    }
    Ok(folds)
}
