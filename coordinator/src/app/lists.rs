//! The lists of a job set, read from the store and checked.

use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest, ManifestKind, shared_id};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;

use super::blocking;
use crate::blobs::Blobs;
use crate::error::Error;

/// What a job set's folds are made of.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    /// The Kaggle rows.
    pub(super) train: Manifest,
    /// The HPA rows.
    pub(super) hpa: Option<Manifest>,
}

impl Lists {
    /// Reads and checks both lists.
    ///
    /// # Errors
    /// When one cannot be used (list, line, reason), or an id is in both.
    pub(super) async fn read(blobs: &dyn Blobs, train: Digest, hpa: Option<Digest>) -> Result<Lists, Error> {
        let train = read_manifest(blobs, "train list", ManifestKind::Labelled, train).await?;
        let hpa = match hpa {
            Some(digest) => Some(read_manifest(blobs, "HPA list", ManifestKind::Labelled, digest).await?),
            None => None,
        };
        if let Some(id) = hpa.as_ref().and_then(|hpa| shared_id(&train, hpa)) {
            return Err(Error::BadContent(format!("the id {id:?} is in the train list and in the HPA list")));
        }
        Ok(Lists { train, hpa })
    }

    /// The fold of every row.
    ///
    /// # Errors
    /// When a list cannot be split.
    pub(super) async fn split(&self, spec: &JobSetSpec) -> Result<FoldTable, Error> {
        let (lists, spec) = (self.clone(), spec.clone());
        blocking(move || {
            FoldTable::split(&spec, &lists.train, lists.hpa.as_ref())
                .map_err(|error| Error::BadContent(error.to_string()))
        })
        .await
    }

    /// The rows of one fold.
    ///
    /// # Errors
    /// When lists and folds do not belong together.
    pub(super) fn fold_rows(&self, spec: &JobSetSpec, fold: Fold, folds: &FoldTable) -> Result<FoldRows, Error> {
        let rows = FoldRows::of(spec, fold, &self.train, self.hpa.as_ref(), folds);
        rows.map_err(|error| Error::BadContent(error.to_string()))
    }
}

/// Reads and checks one list; `name` stands for it in errors.
///
/// # Errors
/// When it cannot be used.
pub(super) async fn read_manifest(
    blobs: &dyn Blobs,
    name: &'static str,
    kind: ManifestKind,
    digest: Digest,
) -> Result<Manifest, Error> {
    let bytes = blobs.read(digest).await?;
    blocking(move || {
        Manifest::read_csv(name, kind, bytes.as_ref()).map_err(|error| Error::BadContent(error.to_string()))
    })
    .await
}

/// The rows of a test list.
///
/// # Errors
/// When it cannot be used.
pub(super) async fn read_test_rows(blobs: &dyn Blobs, digest: Digest) -> Result<Vec<LabelledRow>, Error> {
    let manifest = read_manifest(blobs, "test list", ManifestKind::Test, digest).await?;
    let row = |row: fivefold_common::manifest::ManifestRow| LabelledRow {
        id: row.id,
        source: Source::Test,
        labels: row.labels,
    };
    Ok(manifest.rows.into_iter().map(row).collect())
}

/// Reads a fold table.
///
/// # Errors
/// When it is not one.
pub(super) async fn read_folds(blobs: &dyn Blobs, digest: Digest) -> Result<FoldTable, Error> {
    let bytes = blobs.read(digest).await?;
    blocking(move || FoldTable::read_csv("folds", bytes.as_ref()).map_err(|error| Error::Stored(error.to_string())))
        .await
}
