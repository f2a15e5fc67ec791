//! Columns to domain types and back.

use std::str::FromStr;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Attempt, Digest, Fold, JobSetId};
use fivefold_common::progress::Phase;
use fivefold_common::spec::JobSetSpec;

use crate::error::Error;

fn wrong(problem: impl ToString) -> Error {
    Error::Stored(problem.to_string())
}

/// A word or an id.
pub(super) fn parsed<T: FromStr<Err: ToString>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(wrong)
}

pub(super) fn job_set_id(text: &str) -> Result<JobSetId, Error> {
    parsed(text)
}

pub(super) fn digest(text: &str) -> Result<Digest, Error> {
    parsed(text)
}

pub(super) fn optional_digest(text: Option<&str>) -> Result<Option<Digest>, Error> {
    text.map(digest).transpose()
}

/// An artifact whose row was joined; both columns are set or none.
pub(super) fn optional_artifact(
    kind: ArtifactKind,
    digest_column: Option<&str>,
    size_bytes: Option<i64>,
) -> Result<Option<Artifact>, Error> {
    let Some((digest, size_bytes)) = optional_digest(digest_column)?.zip(size_bytes) else { return Ok(None) };
    Ok(Some(Artifact { kind, digest, size_bytes: size(size_bytes)? }))
}

pub(super) fn size(size_bytes: i64) -> Result<u64, Error> {
    u64::try_from(size_bytes).map_err(|_| wrong(format!("a size of {size_bytes} bytes")))
}

pub(super) fn size_column(size_bytes: u64) -> Result<i64, Error> {
    i64::try_from(size_bytes).map_err(|_| wrong(format!("a size of {size_bytes} bytes")))
}

pub(super) fn fold(number: i64) -> Result<Fold, Error> {
    u32::try_from(number).ok().and_then(Fold::new).ok_or_else(|| wrong(format!("fold {number}")))
}

/// Folds as a JSON array.
pub(super) fn folds(json: &str) -> Result<FoldSet, Error> {
    serde_json::from_str(json).map_err(|error| wrong(format!("the folds {json:?}: {error}")))
}

pub(super) fn optional_folds(json: Option<&str>) -> Result<Option<FoldSet>, Error> {
    json.map(folds).transpose()
}

pub(super) fn folds_column(folds: FoldSet) -> String {
    serde_json::json!(folds).to_string()
}

/// A number that counts something.
pub(super) fn count(number: i64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| wrong(format!("the number {number}, where a count is expected")))
}

/// `None` before the first lease.
pub(super) fn attempt(number: i64) -> Result<Option<Attempt>, Error> {
    let number = count(number)?;
    Ok((number > 0).then_some(Attempt(number)))
}

/// The number that a phase has in the column `jobs.phase`; 0 stands for no progress.
pub(super) fn phase_column(phase: Phase) -> i64 {
    match phase {
        Phase::Preparing => 1,
        Phase::Training => 2,
        Phase::Validation => 3,
        Phase::Scoring => 4,
        Phase::Uploading => 5,
    }
}

pub(super) fn phase(number: i64) -> Result<Option<Phase>, Error> {
    if number == 0 {
        return Ok(None);
    }
    let phase = Phase::ALL.iter().find(|&&phase| phase_column(phase) == number);
    phase.copied().map(Some).ok_or_else(|| wrong(format!("phase {number}")))
}

pub(super) fn spec(json: &str) -> Result<JobSetSpec, Error> {
    JobSetSpec::from_stored_json(json).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_round_trip() {
        for &of in Phase::ALL {
            assert_eq!(phase(phase_column(of)).unwrap(), Some(of));
        }
        assert_eq!(phase(0).unwrap(), None);
        assert!(phase(6).is_err());
    }
}
