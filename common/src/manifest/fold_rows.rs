//! The training and validation rows of one fold.

use super::{FoldTable, Manifest};
use crate::ids::Fold;
use crate::labels::Labels;
use crate::scores::Source;
use crate::spec::JobSetSpec;

/// An image of a training or HPA list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelledRow {
    /// The image.
    pub id: String,
    /// The list it is from.
    pub source: Source,
    /// Its labels.
    pub labels: Labels,
}

/// The rows of one fold: those of the training list, then those of the HPA list, each in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldRows {
    /// The rows to train on.
    pub train: Vec<LabelledRow>,
    /// The rows to validate on, which are also those of the out-of-fold table.
    pub valid: Vec<LabelledRow>,
}

/// Lists and a fold table that do not belong together, or a fold without rows.
#[derive(Debug, thiserror::Error)]
pub enum FoldRowsError {
    /// Different numbers of rows.
    #[error("the fold table has {found} rows, the lists have {expected}: they do not belong together")]
    RowCount {
        /// Rows of the lists.
        expected: usize,
        /// Rows of the fold table.
        found: usize,
    },
    /// Different rows.
    #[error("row {row} of the fold table is {found}, that of the lists is {expected}: they do not belong together")]
    Row {
        /// The row, counted from 1.
        row: usize,
        /// The row of the lists.
        expected: String,
        /// The row of the fold table.
        found: String,
    },
    /// A fold without rows.
    #[error("fold {fold} has no {part} rows")]
    Empty {
        /// The fold.
        fold: Fold,
        /// Which rows: `training` or `validation`.
        part: &'static str,
    },
}

impl FoldRows {
    /// The rows of `fold`. HPA rows take part as the spec says.
    ///
    /// # Errors
    /// If the lists and the fold table do not belong together, or there are no rows to train or to validate on.
    pub fn of(
        spec: &JobSetSpec,
        fold: Fold,
        train: &Manifest,
        hpa: Option<&Manifest>,
        folds: &FoldTable,
    ) -> Result<FoldRows, FoldRowsError> {
        let hpa_rows = hpa.map_or(&[][..], |manifest| &manifest.rows);
        let expected = train.rows.len() + hpa_rows.len();
        if folds.rows.len() != expected {
            return Err(FoldRowsError::RowCount { expected, found: folds.rows.len() });
        }
        let listed = train.rows.iter().map(|row| (Source::Train, row));
        let listed = listed.chain(hpa_rows.iter().map(|row| (Source::Hpa, row)));
        let mut rows = FoldRows { train: Vec::new(), valid: Vec::new() };
        for (place, ((source, row), split)) in listed.zip(&folds.rows).enumerate() {
            if split.source != source || split.id != row.id {
                let (expected, found) = (format!("{source}/{}", row.id), format!("{}/{}", split.source, split.id));
                return Err(FoldRowsError::Row { row: place + 1, expected, found });
            }
            let (part, wanted) = match (split.fold == fold, source) {
                (true, Source::Hpa) => (&mut rows.valid, spec.valid_with_hpa),
                (false, Source::Hpa) => (&mut rows.train, spec.train_with_hpa),
                (true, _) => (&mut rows.valid, true),
                (false, _) => (&mut rows.train, true),
            };
            if wanted {
                part.push(LabelledRow { id: row.id.clone(), source, labels: row.labels.clone() });
            }
        }
        for (part, rows) in [("training", &rows.train), ("validation", &rows.valid)] {
            if rows.is_empty() {
                return Err(FoldRowsError::Empty { fold, part });
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ManifestRow;

    #[test]
    fn a_fold_has_the_rows_that_the_spec_wants() {
        let list = |prefix: &str| {
            let rows = (0..20)
                .map(|i| ManifestRow { id: format!("{prefix}{i}"), labels: Labels::from_indices([i % 3]).unwrap() });
            Manifest { rows: rows.collect(), groups: None }
        };
        let (train, hpa) = (list("t"), list("h"));
        let mut spec = JobSetSpec::default();
        let table = FoldTable::split(&spec, &train, Some(&hpa)).unwrap();
        let mut csv = Vec::new();
        table.write_csv(&mut csv).unwrap();
        assert_eq!(FoldTable::read_csv("folds.csv", csv.as_slice()).unwrap(), table);

        let rows = FoldRows::of(&spec, Fold(1), &train, Some(&hpa), &table).unwrap();
        assert_eq!(rows.train.len() + rows.valid.len(), 40);
        spec.valid_with_hpa = false;
        let rows = FoldRows::of(&spec, Fold(1), &train, Some(&hpa), &table).unwrap();
        assert!(rows.valid.iter().all(|row| row.source == Source::Train));
        assert!(FoldRows::of(&spec, Fold(1), &train, None, &table).is_err());
    }
}
