//! Submission of job sets.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::manifest::ManifestKind;
use fivefold_common::spec::JobSetSpec;

use super::Coordinator;
use super::artifacts::{put, require_artifact};
use super::lists::{Lists, read_manifest};
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
}

/// Stores a job set and queues a train job for each fold. A repeated request gives the same job set.
///
/// # Errors
/// If a list cannot be used or split; [`Error::RequestIdReused`].
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
    let Submission { request_id, request_digest, mut spec, train, hpa, test, weights } = submission;
    for (list, digest) in [("train", Some(train)), ("hpa", hpa), ("test", test), ("weights", weights)] {
        if let Some(digest) = digest {
            require_artifact(coordinator, &format!("manifests.{list}_digest"), digest).await?;
        }
    }
    if hpa.is_none() {
        // There are no rows that could join.
        (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
    }
    let blobs = &*coordinator.blobs;
    let lists = Lists::read(blobs, train, hpa).await?;
    if let Some(test) = test {
        read_manifest(blobs, "test list", ManifestKind::Test, test).await?;
    }
    let folds = lists.split(&spec).await?;
    for fold in spec.trained_folds() {
        lists.fold_rows(&spec, fold, &folds)?;
    }
    let mut folds_csv = Vec::new();
    folds.write_csv(&mut folds_csv).map_err(|error| Error::file("folds.csv", error))?;
    let folds = put(coordinator, ArtifactKind::Folds, folds_csv).await?.digest;

    let entropy = Digest::of(format!("{request_id}/{request_digest}/{}", coordinator.now().0).as_bytes());
    let entropy = entropy.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let message = format!("submitted with {} folds", spec.trained_folds().len());
    Ok(NewJobSet {
        id: JobSetId::from_entropy(entropy),
        request_id,
        request_digest,
        spec,
        inputs: Inputs { train, hpa, test, weights, folds },
        event: NewEvent { name: EventName::Submitted, job: None, message },
    })
}
