//! The use of the coordinator's disk, and whether enough of it is free.

use std::collections::{BTreeMap, BTreeSet};

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job_set::JobSetState;
use fivefold_common::network::{Network, TensorKind};
use fivefold_common::size::size_text;
use fivefold_common::spec::JobSetSpec;

use super::Coordinator;
pub use crate::blobs::DiskSpace;
use crate::error::Error;
use crate::queue::DataSet;

/// Job sets that are read at a time.
const PAGE_SIZE: u32 = 100;
/// Bytes per parameter of a checkpoint: the parameter and Adam's two moments, fp32 each.
const PARAMETER_BYTES: u64 = 12;
/// Below this part of the disk, free space is worth a warning.
const LOW_PART: u64 = 10;

/// The use of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUsage {
    pub disk: DiskSpace,
    /// Newest first.
    pub job_sets: Vec<JobSetUsage>,
    /// By name.
    pub data_sets: Vec<DataSetUsage>,
    /// Artifacts that neither a job set nor a data set refers to. They are deleted within the hour, segments of an interrupted
    /// push within a day.
    pub unreferenced_bytes: u64,
    /// Uploads that are not complete.
    pub upload_bytes: u64,
}

/// The artifacts of a job set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSetUsage {
    pub id: JobSetId,
    pub name: String,
    pub state: JobSetState,
    /// Bytes by kind, of all that it refers to.
    pub bytes: BTreeMap<ArtifactKind, u64>,
    /// Bytes that nothing else refers to, which would be free if it were deleted.
    pub own_bytes: u64,
}

/// The artifacts of a pushed data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSetUsage {
    pub name: DataSetName,
    /// Bytes by kind, of all that it refers to.
    pub bytes: BTreeMap<ArtifactKind, u64>,
    /// Bytes that nothing else refers to, which would be free if it were deleted.
    pub own_bytes: u64,
}

/// The space of the disk of the state folder.
///
/// # Errors
/// If the disk cannot be looked at.
pub async fn disk_space(coordinator: &Coordinator) -> Result<DiskSpace, Error> {
    coordinator.blobs.disk_space().await
}

/// The use of the disk, by job set, data set and kind.
///
/// # Errors
/// If the database or the disk fails.
pub async fn disk_usage(coordinator: &Coordinator) -> Result<DiskUsage, Error> {
    let mut job_sets = all_job_sets(coordinator).await?;
    let without_size = |data_set: DataSet| DataSetUsage { name: data_set.name, bytes: BTreeMap::new(), own_bytes: 0 };
    let mut data_sets: Vec<_> = coordinator.queue.data_sets().await?.into_iter().map(without_size).collect();
    let artifacts = coordinator.queue.artifacts().await?;
    let mut references = Vec::with_capacity(job_sets.len() + data_sets.len());
    for job_set in &job_sets {
        references.push(coordinator.queue.references(&job_set.id).await?);
    }
    for data_set in &data_sets {
        references.push(coordinator.queue.data_set_references(&data_set.name).await?);
    }
    let of_job_sets = job_sets.iter_mut().map(|usage| (&mut usage.bytes, &mut usage.own_bytes));
    let of_data_sets = data_sets.iter_mut().map(|usage| (&mut usage.bytes, &mut usage.own_bytes));
    let unreferenced_bytes = add_up(&mut of_job_sets.chain(of_data_sets).collect::<Vec<_>>(), references, &artifacts);
    let disk = coordinator.blobs.disk_space().await?;
    let upload_bytes = coordinator.blobs.all_held_bytes().await?;
    Ok(DiskUsage { disk, job_sets, data_sets, unreferenced_bytes, upload_bytes })
}

/// All job sets, newest first, without their sizes.
async fn all_job_sets(coordinator: &Coordinator) -> Result<Vec<JobSetUsage>, Error> {
    let mut job_sets = Vec::new();
    let mut before = None;
    loop {
        let page = coordinator.queue.job_sets(before, PAGE_SIZE).await?;
        before = page.last().map(|job_set| job_set.number);
        if before.is_none() {
            return Ok(job_sets);
        }
        job_sets.extend(page.into_iter().map(|job_set| JobSetUsage {
            id: job_set.id,
            name: job_set.spec.name,
            state: job_set.state,
            bytes: BTreeMap::new(),
            own_bytes: 0,
        }));
    }
}

/// Adds each artifact to the owners that refer to it; `references` are theirs, in the same order. Returns the bytes of the
/// artifacts without an owner.
fn add_up(
    owners: &mut [(&mut BTreeMap<ArtifactKind, u64>, &mut u64)],
    references: Vec<BTreeSet<Digest>>,
    artifacts: &[Artifact],
) -> u64 {
    let mut places: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
    for (place, digests) in references.into_iter().enumerate() {
        for digest in digests {
            places.entry(digest).or_default().push(place);
        }
    }
    let mut unreferenced_bytes = 0;
    for artifact in artifacts {
        let places = places.get(&artifact.digest).map_or(&[][..], Vec::as_slice);
        for &place in places {
            *owners[place].0.entry(artifact.kind).or_default() += artifact.size_bytes;
        }
        match places {
            [] => unreferenced_bytes += artifact.size_bytes,
            &[place] => *owners[place].1 += artifact.size_bytes,
            _ => {}
        }
    }
    unreferenced_bytes
}

/// What a user should know of the coordinator.
pub async fn warnings(coordinator: &Coordinator) -> Vec<String> {
    match coordinator.blobs.disk_space().await {
        Ok(disk) => low_disk(disk).into_iter().collect(),
        Err(error) => vec![format!("the coordinator cannot read the free space of its disk: {error}")],
    }
}

/// A warning if less than a tenth of the disk is free.
pub(super) fn low_disk(disk: DiskSpace) -> Option<String> {
    (disk.free_bytes < disk.total_bytes / LOW_PART).then(|| {
        format!(
            "the coordinator's disk is nearly full: {} of {} are free; `fivefold disk` shows what uses it and what can \
             be freed",
            size_text(disk.free_bytes),
            size_text(disk.total_bytes)
        )
    })
}

/// Refuses a job set for which there is no room beside the folds in training. Those need room for all checkpoints that
/// they keep and one upload; one fold of the new job set likewise.
///
/// # Errors
/// [`Error::Exhausted`].
pub(super) async fn require_room(coordinator: &Coordinator, spec: &JobSetSpec) -> Result<(), Error> {
    let free_bytes = coordinator.blobs.disk_space().await?.free_bytes;
    let mut running_bytes = 0;
    for fold in coordinator.queue.folds_in_training().await? {
        running_bytes += fold_bytes(&fold.spec).saturating_sub(fold.checkpoint_bytes);
    }
    let new_bytes = fold_bytes(spec);
    if free_bytes >= running_bytes + new_bytes {
        return Ok(());
    }
    let running = match running_bytes {
        0 => String::new(),
        bytes => format!(" beside {} for the folds in training", size_text(bytes)),
    };
    Err(Error::Exhausted(format!(
        "the coordinator's disk has {} free, but a fold of this job set needs {}{running}: free some space, then submit \
         again; `fivefold disk` shows what can be freed",
        size_text(free_bytes),
        size_text(new_bytes)
    )))
}

/// The most bytes that a fold in training needs: its kept checkpoints and one that is uploaded.
fn fold_bytes(spec: &JobSetSpec) -> u64 {
    let tensors = Network::of(spec).tensors();
    let parameters = tensors.iter().filter(|tensor| tensor.kind == TensorKind::Parameter);
    let count: u64 =
        parameters.map(|tensor| tensor.shape.iter().map(|&length| u64::from(length)).product::<u64>()).sum();
    count * PARAMETER_BYTES * u64::from(spec.keep_last + spec.keep_best + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_below_a_tenth() {
        let disk = |free_bytes| DiskSpace { free_bytes, total_bytes: 1_000_000_000 };
        assert_eq!(low_disk(disk(100_000_000)), None);
        let warning = low_disk(disk(99_999_999)).unwrap();
        assert!(warning.contains("100 MB of 1.0 GB are free"), "{warning}");
    }

    #[test]
    fn a_checkpoint_of_the_default_network_has_295_megabytes() {
        let spec = JobSetSpec { keep_last: 0, keep_best: 0, ..JobSetSpec::default() };
        let bytes = fold_bytes(&spec);
        assert!((290_000_000..300_000_000).contains(&bytes), "{bytes}");
    }
}
