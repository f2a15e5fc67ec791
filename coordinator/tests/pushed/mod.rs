//! Pushed images of lists. Their segments have any bytes: the coordinator does not read them.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of this module")]

use fivefold_common::ids::Digest;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::ImageLayout;
use fivefold_pack::{ImageIndex, ImageKey, IndexedSegment};

/// An index and the bytes of its segments.
pub(crate) struct Pushed {
    pub(crate) index: ImageIndex,
    pub(crate) segments: Vec<Vec<u8>>,
}

impl Pushed {
    /// The images of lists (CSV), in one segment for each list. `content` tells the segments of two data sets apart.
    pub(crate) fn of(spec: &JobSetSpec, content: &str, lists: &[(Source, &str)]) -> Pushed {
        let segment =
            |(source, csv): &(Source, &str)| format!("{content}: images of {source}, {}", csv.len()).into_bytes();
        let mut segments: Vec<Vec<u8>> = lists.iter().map(segment).collect();
        let mut indexed: Vec<IndexedSegment> = lists
            .iter()
            .zip(&segments)
            .map(|((source, csv), bytes)| IndexedSegment {
                digest: Digest::of(bytes),
                bytes: bytes.len() as u64,
                images: ids(csv).map(|id| ImageKey::new(source.to_string(), id)).collect(),
            })
            .collect();
        indexed.sort_by_key(|segment| segment.digest);
        segments.sort_by_key(|bytes| Digest::of(bytes));
        let identity = ImageLayout::of(spec).unwrap().identity();
        Pushed { index: ImageIndex { identity, segments: indexed }, segments }
    }

    pub(crate) fn index_json(&self) -> Vec<u8> {
        self.index.to_json().unwrap()
    }

    pub(crate) fn index_digest(&self) -> Digest {
        Digest::of(&self.index_json())
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.index.segments.iter().map(|segment| segment.digest).collect()
    }
}

/// The ids in the first column.
fn ids(csv: &str) -> impl Iterator<Item = &str> {
    csv.lines().skip(1).filter_map(|line| line.split(',').next())
}
