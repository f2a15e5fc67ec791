//! The segments of one identity in a folder, and where each image is.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fivefold_common::ids::Digest;

use crate::identity::{Identity, ImageKey};
use crate::segment::{Segment, SegmentError, digest_in_name};
use crate::stamp::{self, SourceStamp};

/// A folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the pack {}: {error}", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// The system's error.
    pub error: io::Error,
}

/// Where an image is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its segment.
    pub segment: Arc<Segment>,
    /// Its place in there.
    pub place: usize,
    /// Its source when it was decoded; `None` where that is not known.
    pub stamp: Option<SourceStamp>,
}

/// What a folder held when it was last looked at.
#[derive(Debug)]
pub struct Pack {
    folder: PathBuf,
    identity: Identity,
    segments: HashMap<Digest, Arc<Segment>>,
    places: HashMap<ImageKey, Vec<Place>>,
    /// Segments that are not opened again: of another identity, damaged, or forgotten.
    ignored: HashSet<Digest>,
}

impl Pack {
    /// Opens the pack of `identity` in `folder`, and returns it with the segments that cannot be used.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: &Path, identity: &Identity) -> Result<(Self, Vec<SegmentError>), FolderError> {
        let mut pack = Self {
            folder: folder.to_owned(),
            identity: identity.clone(),
            segments: HashMap::new(),
            places: HashMap::new(),
            ignored: HashSet::new(),
        };
        let unusable = pack.refresh()?;
        Ok((pack, unusable))
    }

    /// Takes in the segments that were added since, and returns those of them that cannot be used.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn refresh(&mut self) -> Result<Vec<SegmentError>, FolderError> {
        let mut unusable = Vec::new();
        for path in segment_paths(&self.folder)? {
            let Some(digest) = digest_in_name(&path) else { continue };
            if self.segments.contains_key(&digest) || self.ignored.contains(&digest) {
                continue;
            }
            match Segment::open(&path) {
                Ok(segment) if segment.index().identity == self.identity => self.add(segment),
                // Deleted since the folder was listed.
                Err(error) if error.problem.is_absence() => {}
                opened => {
                    self.ignored.insert(digest);
                    unusable.extend(opened.err());
                }
            }
        }
        Ok(unusable)
    }

    /// Adds a sealed segment of this pack's identity.
    pub(crate) fn add(&mut self, segment: Segment) {
        // An equal one, whose stamps are of today.
        if let Some(old) = self.segments.get(&segment.digest()).cloned() {
            self.forget(&old);
        }
        let segment = Arc::new(segment);
        let stamps = stamp::read(segment.path(), segment.index().records.len());
        for (place, record) in segment.index().records.iter().enumerate() {
            let stamp = stamps.as_ref().map(|stamps| stamps[place]);
            let place = Place { segment: segment.clone(), place, stamp };
            self.places.entry(record.key.clone()).or_default().push(place);
        }
        self.ignored.remove(&segment.digest());
        self.segments.insert(segment.digest(), segment);
    }

    /// Forgets a segment, unless an equal one has taken its place. Whether it was known.
    pub(crate) fn forget(&mut self, segment: &Arc<Segment>) -> bool {
        let digest = segment.digest();
        if !self.segments.get(&digest).is_some_and(|known| Arc::ptr_eq(known, segment)) {
            return false;
        }
        self.segments.remove(&digest);
        for record in &segment.index().records {
            if let Some(places) = self.places.get_mut(&record.key) {
                places.retain(|place| place.segment.digest() != digest);
            }
        }
        self.ignored.insert(digest);
        true
    }

    /// The records of an image: more than one after its source was changed.
    pub fn places(&self, key: &ImageKey) -> &[Place] {
        self.places.get(key).map_or(&[], Vec::as_slice)
    }

    /// The record of an image whose source has `stamp`.
    pub fn find(&self, key: &ImageKey, stamp: &SourceStamp) -> Option<&Place> {
        self.places(key).iter().find(|place| place.stamp.as_ref() == Some(stamp))
    }

    /// The segments, in no order.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its images have in common.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// The files in a folder that are called like segments, in the order of their names.
pub(crate) fn segment_paths(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |error| FolderError { path: folder.to_owned(), error };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if digest_in_name(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
