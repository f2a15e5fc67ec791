//! Specs as they are stored: in the database, in the headers of checkpoints, in reports.
//!
//! A stored spec outlives the version that wrote it. It is therefore written with every key, so that a later change of a
//! default does not change it, and read leniently: a key that this version does not know is ignored, and a key that the
//! writer did not know gets its first default.

use super::JobSetSpec;

/// A stored spec that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("stored spec: {0}")]
pub struct StoredSpecError(#[from] serde_json::Error);

impl JobSetSpec {
    /// The spec as one line of JSON with every key, in the order of the table.
    pub fn to_stored_json(&self) -> String {
        serde_json::to_string(self).expect("a spec has string keys and no maps, which is what JSON can fail on")
    }

    /// Reads a stored spec of this version, an older or a newer one. Limits are not checked: they were checked before the
    /// spec was stored, and may have been others.
    ///
    /// # Errors
    /// If the text is no JSON object, or a known key has a value of the wrong type or a word that this version does not
    /// know.
    pub fn from_stored_json(text: &str) -> Result<Self, StoredSpecError> {
        Ok(serde_json::from_str(text)?)
    }
}
