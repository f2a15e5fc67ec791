//! The index at the end of a segment: its identity, and the place and checksum of each image.
//!
//! It is JSON: `{"identity": {"image_size": 512, "channels": 3, "decoding": "..."}, "images": [{"list": "train", "id":
//! "a", "bytes": 346112, "blake3": "..."}]}`. The images follow each other without gaps, so their places are sums.

use std::collections::HashSet;

use fivefold_common::ids::Digest;
use serde::{Deserialize, Serialize};

use crate::codec::most_compressed_bytes;
use crate::identity::{Identity, ImageKey};

/// The index of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// How its images were decoded.
    pub identity: Identity,
    /// Its images, in the order of their records.
    pub records: Vec<Record>,
}

/// The compressed bytes of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The image.
    pub key: ImageKey,
    /// Where the record begins, in bytes after the beginning of the first one.
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The digest of these bytes.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIndex {
    identity: Identity,
    images: Vec<StoredRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRecord {
    list: String,
    id: String,
    bytes: u64,
    blake3: Digest,
}

impl Index {
    /// Reads an index as it is stored. `records_bytes` is the size of all records of the segment.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn parse(json: &[u8], records_bytes: u64) -> Result<Self, String> {
        let stored: StoredIndex = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        stored.identity.check().map_err(|error| error.to_string())?;
        let most_bytes = most_compressed_bytes(stored.identity.image_bytes()) as u64;
        let mut offset: u64 = 0;
        let mut records = Vec::with_capacity(stored.images.len());
        for StoredRecord { list, id, bytes, blake3 } in stored.images {
            let key = ImageKey { list, id };
            if !(1..=most_bytes).contains(&bytes) {
                return Err(format!("image {key} has {bytes} bytes, not 1 to {most_bytes}"));
            }
            records.push(Record { key, offset, bytes, digest: blake3 });
            offset = offset.saturating_add(bytes);
        }
        if offset != records_bytes {
            return Err(format!("its images have {offset} bytes, but the segment has {records_bytes}"));
        }
        let mut keys = HashSet::new();
        if let Some(twice) = records.iter().find(|record| !keys.insert(&record.key)) {
            return Err(format!("image {} is in it twice", twice.key));
        }
        Ok(Self { identity: stored.identity, records })
    }

    /// The index as it is stored.
    ///
    /// # Errors
    /// When serialisation fails, which it does not.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let stored = |Record { key, bytes, digest, .. }: &Record| StoredRecord {
            list: key.list.clone(),
            id: key.id.clone(),
            bytes: *bytes,
            blake3: *digest,
        };
        let images = self.records.iter().map(stored).collect();
        serde_json::to_vec(&StoredIndex { identity: self.identity.clone(), images })
    }

    /// The size of all records in bytes.
    pub fn records_bytes(&self) -> u64 {
        self.records.last().map_or(0, |last| last.offset + last.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let identity = Identity { image_size: 8, channels: 3, decoding: "exact".to_owned() };
        let record = |id: &str, offset, bytes| {
            let key = ImageKey::new("train", id);
            Record { key, offset, bytes, digest: Digest::of(id.as_bytes()) }
        };
        Index { identity, records: vec![record("a", 0, 10), record("b \"ü\"", 10, 5)] }
    }

    #[test]
    fn an_index_comes_back_as_it_was() {
        let index = index();
        assert_eq!(Index::parse(&index.to_json().unwrap(), 15), Ok(index.clone()));
        assert_eq!(index.records_bytes(), 15);
        let empty = Index { records: Vec::new(), ..index };
        assert_eq!(Index::parse(&empty.to_json().unwrap(), 0), Ok(empty));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let json = String::from_utf8(index().to_json().unwrap()).unwrap();
        let problem = |text: &str| Index::parse(text.as_bytes(), 15).unwrap_err();
        assert!(Index::parse(json.as_bytes(), 16).unwrap_err().contains("15 bytes, but the segment has 16"));
        assert!(problem(&json.replace("\"bytes\":5", "\"bytes\":0")).contains("has 0 bytes"));
        let huge = problem(&json.replace("\"bytes\":5", &format!("\"bytes\":{}", u64::MAX)));
        assert!(huge.contains("image train/b"), "{huge}");
        assert!(problem(&json.replace("b \\\"ü\\\"", "a")).contains("image train/a is in it twice"));
        assert!(problem(&json.replace(":8,", ":0,")).contains("cannot be packed"));
        assert!(problem(&json.replace(":8,", ":9000,")).contains("cannot be packed"));
        for end in 0..json.len() {
            if json.is_char_boundary(end) {
                problem(&json[..end]);
            }
        }
    }
}
