//! Pushed data sets: stored under a name, looked up and deleted. Artifacts that nothing needs any more go with the next cleaning.

use fivefold_common::data_set_name::DataSetName;
use fivefold_common::dataset_file::DatasetFile;
use fivefold_common::ids::Digest;
use fivefold_common::spec::JobSetSpec;

use super::artifacts::require_artifact;
use super::lists::{Lists, read_test_list};
use super::{Coordinator, pushed_images};
use crate::error::Error;
use crate::queue::{DataSet, DataSetLists, NewDataSet};

/// What a user pushes.
#[derive(Debug, Clone)]
pub struct PushedDataSet {
    pub name: DataSetName,
    /// The text of its `dataset.toml`.
    pub dataset_toml: String,
    pub lists: DataSetLists,
    /// The index of its images.
    pub images: Digest,
}

/// Stores a data set under its name, in place of an earlier one. Job sets that were submitted with that keep what they have.
///
/// # Errors
/// If the description, a list or the images cannot be used, or an artifact is not held.
pub async fn put_data_set(coordinator: &Coordinator, pushed: PushedDataSet) -> Result<DataSet, Error> {
    let PushedDataSet { name, dataset_toml, lists, images } = pushed;
    require_files(coordinator, &lists, images).await?;
    let spec = described_spec(&dataset_toml, &lists)?;
    let blobs = &*coordinator.blobs;
    let read = Lists::read(blobs, &spec, lists.train, lists.hpa).await?;
    let test = match lists.test {
        Some(test) => Some(read_test_list(blobs, &spec, test).await?),
        None => None,
    };
    let index = pushed_images::check(coordinator, &spec, images, read.with_sources(test)).await?;
    let new = NewDataSet {
        name: name.clone(),
        dataset_toml,
        lists,
        images,
        segments: index.segments.iter().map(|segment| segment.digest).collect(),
        image_count: index.images().count() as u64,
        size_bytes: index.images_bytes(),
    };
    coordinator.queue.put_data_set(coordinator.now(), new).await?;
    tracing::info!("data set {name} was pushed");
    coordinator.queue.data_set(&name).await
}

/// Refuses a data set whose lists or index are not held, and keeps them for a while from now on.
async fn require_files(coordinator: &Coordinator, lists: &DataSetLists, images: Digest) -> Result<(), Error> {
    let DataSetLists { train, hpa, test, folds } = *lists;
    for (file, digest) in
        [("train", Some(train)), ("hpa", hpa), ("test", test), ("folds", folds), ("images", Some(images))]
    {
        if let Some(digest) = digest {
            require_artifact(coordinator, &format!("data_set.manifests.{file}_digest"), digest).await?;
        }
    }
    Ok(())
}

/// The settings that a `dataset.toml` describes.
fn described_spec(dataset_toml: &str, lists: &DataSetLists) -> Result<JobSetSpec, Error> {
    let refuse = |problem: &dyn ToString| Error::bad_field("data_set.dataset_toml", problem.to_string());
    let file = DatasetFile::parse(dataset_toml).map_err(|error| refuse(&error))?;
    let mut spec = JobSetSpec::default();
    file.overrides.apply_to(&mut spec);
    if lists.hpa.is_none() {
        // There are no rows that could join.
        (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
    }
    spec.check().map_err(|error| refuse(&error))?;
    Ok(spec)
}

/// The data set of a name.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn data_set(coordinator: &Coordinator, name: &DataSetName) -> Result<DataSet, Error> {
    coordinator.queue.data_set(name).await
}

/// All data sets by name.
///
/// # Errors
/// If the database fails.
pub async fn data_sets(coordinator: &Coordinator) -> Result<Vec<DataSet>, Error> {
    coordinator.queue.data_sets().await
}

/// Deletes a data set. Job sets that were submitted with it keep its lists and images.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn delete_data_set(coordinator: &Coordinator, name: &DataSetName) -> Result<(), Error> {
    coordinator.queue.delete_data_set(coordinator.now(), name).await?;
    tracing::info!("data set {name} is deleted");
    Ok(())
}
