//! The lists of a job set, read from the store and checked.

use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{
    FoldRows, FoldTable, GivenFolds, LabelledRow, Manifest, ManifestError, SplitReport, shared_id,
};
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
    /// Reads and checks both lists, as the spec describes them.
    ///
    /// # Errors
    /// When one cannot be used (list, line, reason), or an id is in both.
    pub(super) async fn read(
        blobs: &dyn Blobs,
        spec: &JobSetSpec,
        train: Digest,
        hpa: Option<Digest>,
    ) -> Result<Lists, Error> {
        let labelled = |name: &'static str, digest| {
            let spec = spec.clone();
            read_list(blobs, digest, move |bytes| Manifest::read_labelled_csv(name, &spec, bytes))
        };
        let train = labelled("train list", train).await?;
        let hpa = match hpa {
            Some(digest) => Some(labelled("HPA list", digest).await?),
            None => None,
        };
        if let Some(id) = hpa.as_ref().and_then(|hpa| shared_id(&train, hpa)) {
            return Err(Error::BadContent(format!("the id {id:?} is in the train list and in the HPA list")));
        }
        Ok(Lists { train, hpa })
    }

    /// Each list with its source, and a test list.
    pub(super) fn with_sources(self, test: Option<Manifest>) -> Vec<(Source, Manifest)> {
        let hpa = self.hpa.map(|hpa| (Source::Hpa, hpa));
        let test = test.map(|test| (Source::Test, test));
        std::iter::once((Source::Train, self.train)).chain(hpa).chain(test).collect()
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

    /// The fold of every row, from a file of folds that a user uploaded.
    ///
    /// # Errors
    /// When the file cannot be used, or does not have exactly the rows of the lists.
    pub(super) async fn given_folds(
        &self,
        blobs: &dyn Blobs,
        spec: &JobSetSpec,
        file: Digest,
    ) -> Result<FoldTable, Error> {
        let bytes = blobs.read(file).await?;
        let (lists, spec) = (self.clone(), spec.clone());
        blocking(move || {
            GivenFolds::read_csv("folds file", bytes.as_ref())
                .and_then(|given| given.table(&spec, &lists.train, lists.hpa.as_ref()))
                .map_err(|error| Error::BadContent(error.to_string()))
        })
        .await
    }

    /// The split in figures, if there is more to say than that it is the default one.
    pub(super) fn split_report(&self, spec: &JobSetSpec, folds: &FoldTable) -> Option<SplitReport> {
        let report = SplitReport::of(spec, &self.train, self.hpa.as_ref(), folds);
        (report.groups.is_some() || spec.split_method != JobSetSpec::default().split_method).then_some(report)
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

async fn read_list(
    blobs: &dyn Blobs,
    digest: Digest,
    read: impl FnOnce(&[u8]) -> Result<Manifest, ManifestError> + Send + 'static,
) -> Result<Manifest, Error> {
    let bytes = blobs.read(digest).await?;
    blocking(move || read(bytes.as_ref()).map_err(|error| Error::BadContent(error.to_string()))).await
}

/// Reads and checks a test list.
///
/// # Errors
/// When it cannot be used.
pub(super) async fn read_test_list(blobs: &dyn Blobs, spec: &JobSetSpec, digest: Digest) -> Result<Manifest, Error> {
    let spec = spec.clone();
    read_list(blobs, digest, move |bytes| Manifest::read_test_csv("test list", &spec, bytes)).await
}

/// The rows of a test list.
///
/// # Errors
/// When it cannot be used.
pub(super) async fn read_test_rows(
    blobs: &dyn Blobs,
    spec: &JobSetSpec,
    digest: Digest,
) -> Result<Vec<LabelledRow>, Error> {
    let manifest = read_test_list(blobs, spec, digest).await?;
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
