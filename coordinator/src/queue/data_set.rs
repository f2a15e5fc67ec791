//! Data sets as the queue holds them.

use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::Digest;

use crate::clock::Timestamp;

/// A pushed data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    pub name: DataSetName,
    /// The text of its `dataset.toml`.
    pub dataset_toml: String,
    pub lists: DataSetLists,
    /// The index of its images.
    pub images: Digest,
    /// Images of all lists.
    pub image_count: u64,
    /// Of all segments of its images.
    pub size_bytes: u64,
    pub created: Timestamp,
}

/// The lists of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSetLists {
    pub train: Digest,
    pub hpa: Option<Digest>,
    pub test: Option<Digest>,
    /// Folds that were made elsewhere.
    pub folds: Option<Digest>,
}

/// A data set to be stored. All of its artifacts are held.
#[derive(Debug, Clone)]
pub struct NewDataSet {
    pub name: DataSetName,
    pub dataset_toml: String,
    pub lists: DataSetLists,
    pub images: Digest,
    /// Those of the images.
    pub segments: Vec<Digest>,
    pub image_count: u64,
    pub size_bytes: u64,
}
