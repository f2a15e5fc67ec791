//! Submission of job sets.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::spec::{JobSetSpec, SplitMethod};

use super::Coordinator;
use super::artifacts::{put, require_artifact};
use super::disk::require_room;
use super::lists::{Lists, read_test_list};
use crate::error::Error;
use crate::queue::{EarlierRequest, Inputs, NewEvent, NewJobSet, Submitted};

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

/// Checks the lists and splits them.
async fn prepare(coordinator: &Coordinator, submission: Submission) -> Result<NewJobSet, Error> {
    let Submission { request_id, request_digest, mut spec, train, hpa, test, weights, folds: given } = submission;
    for (list, digest) in [("train", Some(train)), ("hpa", hpa), ("test", test), ("weights", weights), ("folds", given)]
    {
        if let Some(digest) = digest {
            require_artifact(coordinator, &format!("manifests.{list}_digest"), digest).await?;
        }
    }
    if hpa.is_none() {
        // There are no rows that could join.
        (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
    }
    let blobs = &*coordinator.blobs;
    let lists = Lists::read(blobs, &spec, train, hpa).await?;
    require_room(coordinator, &spec).await?;
    if let Some(test) = test {
        read_test_list(blobs, test).await?;
    }
    let folds = match (spec.split_method, given) {
        (SplitMethod::Given, Some(given)) => lists.given_folds(blobs, &spec, given).await?,
        (method, Some(_)) => {
            let problem = format!("it is there, but split_method = {method} makes its own folds");
            return Err(Error::bad_field("manifests.folds_digest", problem));
        }
        (_, None) => lists.split(&spec).await?,
    };
    for fold in spec.trained_folds() {
        lists.fold_rows(&spec, fold, &folds)?;
    }
    let split_report = lists.split_report(&spec, &folds);
    let mut folds_csv = Vec::new();
    folds.write_csv(&mut folds_csv).map_err(|error| Error::file("folds.csv", error))?;
    let folds = put(coordinator, ArtifactKind::Folds, folds_csv).await?.digest;

    let entropy = Digest::of(format!("{request_id}/{request_digest}/{}", coordinator.now().0).as_bytes());
    let entropy = entropy.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut message = format!("submitted with {} folds", spec.trained_folds().len());
    if let Some(report) = split_report {
        message += &format!(", {report}");
    }
    Ok(NewJobSet {
        id: JobSetId::from_entropy(entropy),
        request_id,
        request_digest,
        spec,
        inputs: Inputs { train, hpa, test, weights, folds },
        event: NewEvent { name: EventName::Submitted, job: None, message },
    })
}
