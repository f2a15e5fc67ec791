//! Ids and numbers as types of their own, so that they cannot be confused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A job set's id: `js-` and eight letters or digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobSetId(String);

impl JobSetId {
    /// The id whose eight random characters are made of the low 40 bits of `entropy`.
    pub fn from_entropy(mut entropy: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut id = String::from("js-");
        for _ in 0..8 {
            id.push(char::from(ALPHABET[(entropy % 32) as usize]));
            entropy /= 32;
        }
        Self(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobSetId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let random = text.strip_prefix("js-").unwrap_or_default();
        if random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { what: "job set id", form: "`js-` and eight letters or digits", text: shortened(text) })
        }
    }
}

/// A job's id, assigned by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

/// The number of a lease of a job, from 1. Only the current attempt of a job may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

/// One lease of one job. Every write of a worker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseRef {
    /// The job.
    pub job: JobId,
    /// The attempt, which is the fence.
    pub attempt: Attempt,
}

impl fmt::Display for LeaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of job {}", self.attempt, self.job)
    }
}

/// The number of a fold, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fold(pub u8);

impl Fold {
    /// Folds are numbered from 0 to one less than this.
    pub const COUNT_LIMIT: u8 = 100;

    /// The fold of that number, if it is below the limit.
    pub fn new(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|&number| number < Self::COUNT_LIMIT).map(Self)
    }
}

/// A BLAKE3 digest: the name of an artifact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { what: "digest", form: "64 lower-case hex digits", text: shortened(text) };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(error());
        }
        blake3::Hash::from_hex(text).map(Self::from).map_err(|_| error())
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

macro_rules! display_as_inner {
    ($($id:ty),+) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}
display_as_inner!(JobSetId, JobId, Attempt, Fold);

/// Text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: expected {form}")]
pub struct IdError {
    what: &'static str,
    form: &'static str,
    text: String,
}

/// At most 80 characters of `text`: it may be from outside, and errors are logged.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_other_text_is_refused() {
        let id = JobSetId::from_entropy(u64::MAX);
        assert_eq!(id.as_str().parse::<JobSetId>(), Ok(id.clone()));
        for text in ["", "js-", "js-ABCDEFGH", "js-../../..", "xx-abcdefgh"] {
            assert!(text.parse::<JobSetId>().is_err(), "{text}");
        }
        let digest = Digest::of(b"fivefold");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("abc".parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    }
}
