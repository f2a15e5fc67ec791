//! What is in a folder of segments, and whether all of it can be read.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::build::{BuildError, delete};
use crate::codec::Decoder;
use crate::identity::Identity;
use crate::in_order::in_order;
use crate::pack::{FolderError, segment_paths};
use crate::segment::{Segment, SegmentError};

/// What a folder has of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How the images were decoded.
    pub identity: Identity,
    /// The number of segments.
    pub segments: u64,
    /// The records of each list.
    pub lists: BTreeMap<String, u64>,
    /// The size of the segments' files in bytes.
    pub stored_bytes: u64,
}

impl Summary {
    /// The number of records.
    pub fn images(&self) -> u64 {
        self.lists.values().sum()
    }

    /// The size of all decoded images in bytes.
    pub fn decoded_bytes(&self) -> u64 {
        self.images() * self.identity.image_bytes() as u64
    }

    /// How many times smaller the segments are than the decoded images.
    pub fn ratio(&self) -> f64 {
        self.decoded_bytes() as f64 / self.stored_bytes.max(1) as f64
    }
}

/// What is in `folder`, by identity, and the segments whose index cannot be read. Images are not read.
///
/// # Errors
/// When the folder cannot be read.
pub fn summarise(folder: &Path) -> Result<(Vec<Summary>, Vec<SegmentError>), FolderError> {
    let mut summaries: BTreeMap<_, Summary> = BTreeMap::new();
    let mut unusable = Vec::new();
    for path in segment_paths(folder)? {
        let segment = match Segment::open(&path) {
            Ok(segment) => segment,
            Err(error) => {
                unusable.push(error);
                continue;
            }
        };
        let identity = &segment.index().identity;
        let none = || Summary { identity: identity.clone(), segments: 0, lists: BTreeMap::new(), stored_bytes: 0 };
        let order = (identity.image_size, identity.channels, identity.decoding.clone());
        let summary = summaries.entry(order).or_insert_with(none);
        summary.segments += 1;
        summary.stored_bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
        for record in &segment.index().records {
            *summary.lists.entry(record.key.list.clone()).or_default() += 1;
        }
    }
    Ok((summaries.into_values().collect(), unusable))
}

/// What a check of all segments found.
#[derive(Debug, Default)]
pub struct Verified {
    /// The segments that were read.
    pub segments: u64,
    /// The images in them.
    pub images: u64,
    /// Whether the check was stopped before its end.
    pub is_stopped: bool,
    /// All that is wrong.
    pub errors: Vec<SegmentError>,
}

/// Reads and decompresses everything in `folder` with `threads` threads. `progress` gets the segments that were read
/// and their number after each of them; `stop` ends the check after the segments in work.
///
/// # Errors
/// When the folder cannot be read.
pub fn verify(
    folder: &Path,
    threads: usize,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, FolderError> {
    let paths = segment_paths(folder)?;
    let mut verified = Verified::default();
    let work = |decoder: &mut Decoder, path: &std::path::PathBuf| match Segment::open(path) {
        Ok(segment) => (segment.index().records.len() as u64, segment.verify(decoder)),
        Err(error) => (0, vec![error]),
    };
    let ended = in_order(&paths, threads, Decoder::default, work, |_, (images, errors)| {
        verified.segments += 1;
        verified.images += images;
        verified.errors.extend(errors);
        progress(verified.segments, paths.len() as u64);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    verified.is_stopped = ended.is_break() && verified.segments < paths.len() as u64;
    Ok(verified)
}

/// Checks as [`verify`] does, deletes the segments with damage, and returns the first error of each of them. A build
/// decodes their images again.
///
/// # Errors
/// When the folder cannot be read, or a segment cannot be deleted.
pub fn remove_damaged(
    folder: &Path,
    threads: usize,
    stop: &AtomicBool,
    progress: impl FnMut(u64, u64),
) -> Result<Vec<SegmentError>, BuildError> {
    let mut damaged = verify(folder, threads, stop, progress)?.errors;
    damaged.retain(|error| error.problem.is_damage());
    damaged.dedup_by(|next, first| next.segment == first.segment);
    for error in &damaged {
        delete(&error.segment)?;
    }
    Ok(damaged)
}
