//! The index of pushed images: which segment has each image of a data set.
//!
//! It is JSON: `{"identity": {"image_size": 512, "channels": 3, "decoding": "..."}, "segments": [{"blake3": "...",
//! "bytes": 67108864, "images": [["train", "a"], ["train", "b"]]}]}`. The segments are in the order of their digests, and
//! the images of each in the order of its records, so that the same images have the same index. A segment may have further
//! records that are not in the index.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fs;

use fivefold_common::ids::Digest;
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, ImageKey};
use crate::pack::Pack;
use crate::segment::{Segment, SegmentError, SegmentProblem};
use crate::stamp::SourceStamp;

/// The largest segment that can be pushed, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// Which segment has each image of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// How the images were decoded.
    pub identity: Identity,
    /// The segments, in ascending order of their digests.
    pub segments: Vec<IndexedSegment>,
}

/// A segment and its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedSegment {
    /// The digest of the whole file, which is its name.
    pub digest: Digest,
    /// The size of the whole file in bytes.
    pub bytes: u64,
    /// Its images, in the order of its records.
    pub images: Vec<ImageKey>,
}

/// Images of which no index can be made.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// An image is not packed as it is now.
    #[error("the image {0} is not in the pack as it is now: pack it again")]
    NotPacked(ImageKey),
    /// The size of a segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIndex {
    identity: Identity,
    segments: Vec<StoredSegment>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSegment {
    blake3: Digest,
    bytes: u64,
    images: Vec<(String, String)>,
}

impl ImageIndex {
    /// The index of `images` of a pack, each with the stamp of its source.
    ///
    /// # Errors
    /// When an image is not packed, or a segment is gone.
    pub fn of_pack(pack: &Pack, images: impl IntoIterator<Item = (ImageKey, SourceStamp)>) -> Result<Self, IndexError> {
        let mut found: BTreeMap<Digest, (u64, BTreeMap<usize, ImageKey>)> = BTreeMap::new();
        for (key, stamp) in images {
            let Some(place) = pack.find(&key, &stamp) else { return Err(IndexError::NotPacked(key)) };
            let (_, images) = match found.entry(place.segment.digest()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert((file_bytes(&place.segment)?, BTreeMap::new())),
            };
            images.insert(place.place, key);
        }
        let segments = found.into_iter().map(|(digest, (bytes, images))| IndexedSegment {
            digest,
            bytes,
            images: images.into_values().collect(),
        });
        Ok(Self { identity: pack.identity().clone(), segments: segments.collect() })
    }

    /// Reads an index as it is stored.
    ///
    /// # Errors
    /// With the first thing that is wrong: another form, an impossible identity, no images, an image or a segment that is
    /// there twice, a segment without images or of an impossible size, another order.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let StoredIndex { identity, segments } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        identity.check().map_err(|error| error.to_string())?;
        let segments: Vec<IndexedSegment> = segments.into_iter().map(StoredSegment::into_indexed).collect();
        if segments.is_empty() {
            return Err("it has no images".to_owned());
        }
        for IndexedSegment { digest, bytes, images } in &segments {
            if !(1..=MAX_SEGMENT_BYTES).contains(bytes) {
                return Err(format!("segment {digest} has {bytes} bytes, not 1 to {MAX_SEGMENT_BYTES}"));
            }
            if images.is_empty() {
                return Err(format!("segment {digest} has no images"));
            }
        }
        for pair in segments.windows(2) {
            let [before, after] = [pair[0].digest, pair[1].digest];
            if before == after {
                return Err(format!("segment {after} is in it twice"));
            }
            if before > after {
                return Err(format!("segment {after} is not in the order of the digests"));
            }
        }
        let mut keys = HashSet::new();
        let mut images = segments.iter().flat_map(|segment| &segment.images);
        if let Some(twice) = images.find(|key| !keys.insert(*key)) {
            return Err(format!("image {twice} is in it twice"));
        }
        Ok(Self { identity, segments })
    }

    /// The index as it is stored.
    ///
    /// # Errors
    /// When serialisation fails, which it does not.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let stored = |IndexedSegment { digest, bytes, images }: &IndexedSegment| StoredSegment {
            blake3: *digest,
            bytes: *bytes,
            images: images.iter().map(|ImageKey { list, id }| (list.clone(), id.clone())).collect(),
        };
        let segments = self.segments.iter().map(stored).collect();
        serde_json::to_vec(&StoredIndex { identity: self.identity.clone(), segments })
    }

    /// The images of all segments.
    pub fn images(&self) -> impl Iterator<Item = &ImageKey> {
        self.segments.iter().flat_map(|segment| &segment.images)
    }

    /// The size of all segments in bytes.
    pub fn images_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

fn file_bytes(segment: &Segment) -> Result<u64, SegmentError> {
    let failed = |error| {
        let problem = SegmentProblem::Unreadable(error);
        SegmentError { segment: segment.path().to_owned(), image: None, problem }
    };
    Ok(fs::metadata(segment.path()).map_err(failed)?.len())
}

impl StoredSegment {
    fn into_indexed(self) -> IndexedSegment {
        let images = self.images.into_iter().map(|(list, id)| ImageKey { list, id }).collect();
        IndexedSegment { digest: self.blake3, bytes: self.bytes, images }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn index() -> ImageIndex {
        let identity = Identity { image_size: 8, channels: 3, decoding: "exact".to_owned() };
        let segment = |digit, bytes, ids: &[&str]| IndexedSegment {
            digest: digest(digit),
            bytes,
            images: ids.iter().map(|id| ImageKey::new("train", *id)).collect(),
        };
        ImageIndex { identity, segments: vec![segment('a', 100, &["y", "x \"ü\""]), segment('b', 50, &["z"])] }
    }

    #[test]
    fn an_index_comes_back_as_it_was() {
        let index = index();
        assert_eq!(ImageIndex::parse(&index.to_json().unwrap()), Ok(index.clone()));
        assert_eq!((index.images().count(), index.images_bytes()), (3, 150));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let json = String::from_utf8(index().to_json().unwrap()).unwrap();
        let (a, b) = (digest('a').to_string(), digest('b').to_string());
        let changed = |from: &str, to: &str| {
            assert!(json.contains(from), "{json} without {from}");
            ImageIndex::parse(json.replace(from, to).as_bytes()).unwrap_err()
        };
        assert!(changed("\"bytes\":50", "\"bytes\":0").contains("has 0 bytes, not 1 to 1073741824"));
        assert!(changed("\"bytes\":50", "\"bytes\":1073741825").contains("has 1073741825 bytes"));
        assert!(changed("\"bytes\":50", "\"bytes\":-1").contains("invalid value"));
        assert_eq!(changed("\"z\"", "\"y\""), "image train/y is in it twice");
        assert_eq!(changed(&a, &b), format!("segment {b} is in it twice"));
        assert_eq!(changed(&a, &"c".repeat(64)), format!("segment {b} is not in the order of the digests"));
        assert_eq!(changed("[[\"train\",\"z\"]]", "[]"), format!("segment {b} has no images"));
        assert!(changed(":8,", ":0,").contains("cannot be packed"));
        assert!(changed("\"bytes\":50", "\"bytes\":50,\"new\":1").contains("unknown field `new`"));
        assert!(changed(&a, "short").contains("short"));
        let empty = ImageIndex { segments: Vec::new(), ..index() };
        assert_eq!(ImageIndex::parse(&empty.to_json().unwrap()), Err("it has no images".to_owned()));
        for end in 0..json.len() {
            if json.is_char_boundary(end) {
                ImageIndex::parse(&json.as_bytes()[..end]).unwrap_err();
            }
        }
    }
}
