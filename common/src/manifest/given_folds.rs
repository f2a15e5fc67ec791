//! Splits that were made elsewhere.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::csv_rows::{find_column, read_rows, wrong_header};
use super::fold_table::fold_of;
use super::list::UniqueIds;
use super::{FoldRow, FoldTable, Manifest, ManifestError};
use crate::ids::Fold;
use crate::scores::Source;
use crate::spec::JobSetSpec;

/// A split that was made elsewhere: the fold of each image, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenFolds {
    fold_of_id: HashMap<String, Fold>,
    fold_count: u32,
}

/// A split that does not fit the lists.
#[derive(Debug, thiserror::Error)]
pub enum GivenFoldsError {
    /// An invalid file.
    #[error(transparent)]
    File(#[from] ManifestError),
    /// One fold only.
    #[error("{file}: all rows are in fold 0, but at least 2 folds are needed")]
    OneFold {
        /// The name of the file.
        file: String,
    },
    /// A fold without rows below the largest one.
    #[error("{file}: no row is in fold {fold}, but one is in fold {largest}: number the folds from 0 without a gap")]
    Gap {
        /// The name of the file.
        file: String,
        /// The first fold without rows.
        fold: Fold,
        /// The largest fold.
        largest: Fold,
    },
    /// Images without a fold.
    #[error("the folds file lacks {count} of {row_count} images of the {list} list, the first of them {id:?}")]
    Missing {
        /// The list.
        list: Source,
        /// How many are missing.
        count: usize,
        /// The number of rows of the list.
        row_count: usize,
        /// The first one.
        id: String,
    },
    /// A fold of an image that no list has.
    #[error("the folds file has {count} images that are in no list, such as {id:?}: remove them, or add their list")]
    Extra {
        /// How many there are.
        count: usize,
        /// One of them: the first in the order of their ids.
        id: String,
    },
    /// A number of folds that is not the spec's.
    #[error("the folds file has {found} folds, but folds = {expected}")]
    FoldCount {
        /// Folds of the spec.
        expected: u32,
        /// Folds of the file.
        found: u32,
    },
}

impl GivenFolds {
    /// Reads a file with the columns `Id` and `Fold`; others are ignored. `file` is its name in errors.
    ///
    /// # Errors
    /// The first invalid line; fewer than two folds, or a fold without rows below the largest one.
    pub fn read_csv(file: &str, input: impl Read) -> Result<GivenFolds, GivenFoldsError> {
        let mut ids = UniqueIds::default();
        let mut fold_of_id = HashMap::new();
        let columns = |header: &[&str]| match (find_column(header, "Id")?, find_column(header, "Fold")?) {
            (Some(id), Some(fold)) => Ok((id, fold)),
            _ => Err(wrong_header("Id,Fold", header, String::new())),
        };
        read_rows(file, input, columns, |&(id, fold), line, record| {
            let id = ids.add(record.get(id).unwrap_or_default(), line)?;
            fold_of_id.insert(id, fold_of(record.get(fold).unwrap_or_default())?);
            Ok(())
        })?;
        let mut has_rows = [false; Fold::COUNT_LIMIT as usize];
        for fold in fold_of_id.values() {
            has_rows[usize::from(fold.0)] = true;
        }
        let largest = fold_of_id.values().max().copied().unwrap_or(Fold(0));
        if let Some(fold) = (0..largest.0).find(|&fold| !has_rows[usize::from(fold)]) {
            return Err(GivenFoldsError::Gap { file: file.to_owned(), fold: Fold(fold), largest });
        }
        if largest == Fold(0) {
            return Err(GivenFoldsError::OneFold { file: file.to_owned() });
        }
        Ok(GivenFolds { fold_of_id, fold_count: u32::from(largest.0) + 1 })
    }

    /// The number of folds, 2 to 100.
    pub fn fold_count(&self) -> u32 {
        self.fold_count
    }

    /// The folds of the rows of a job set's lists.
    ///
    /// # Errors
    /// If a row of a list has no fold, the file has an image that is in no list, or the spec has another number of folds.
    pub fn table(
        &self,
        spec: &JobSetSpec,
        train: &Manifest,
        hpa: Option<&Manifest>,
    ) -> Result<FoldTable, GivenFoldsError> {
        if self.fold_count != spec.folds {
            return Err(GivenFoldsError::FoldCount { expected: spec.folds, found: self.fold_count });
        }
        let mut rows = Vec::with_capacity(self.fold_of_id.len());
        for (source, manifest) in [(Source::Train, Some(train)), (Source::Hpa, hpa)] {
            let Some(manifest) = manifest else { continue };
            let mut missing = manifest.rows.iter().filter(|row| !self.fold_of_id.contains_key(&row.id));
            if let Some(first) = missing.next() {
                let (id, count) = (first.id.clone(), 1 + missing.count());
                return Err(GivenFoldsError::Missing { list: source, count, row_count: manifest.rows.len(), id });
            }
            let fold = |id: &String| self.fold_of_id.get(id).map(|&fold| FoldRow { id: id.clone(), source, fold });
            rows.extend(manifest.rows.iter().filter_map(|row| fold(&row.id)));
        }
        self.check_extra(&rows)?;
        Ok(FoldTable { rows })
    }

    /// Refuses images that are in none of the lists, whose rows are `rows`.
    fn check_extra(&self, rows: &[FoldRow]) -> Result<(), GivenFoldsError> {
        if self.fold_of_id.len() == rows.len() {
            return Ok(());
        }
        let listed: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let extra = || self.fold_of_id.keys().filter(|id| !listed.contains(id.as_str()));
        match extra().min() {
            None => Ok(()),
            Some(id) => Err(GivenFoldsError::Extra { count: extra().count(), id: id.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[&str]) -> Manifest {
        let text = format!("Id,Target\n{},\n", ids.join(",\n"));
        Manifest::read_labelled_csv("list.csv", &JobSetSpec::default(), text.as_bytes()).unwrap()
    }

    fn table(csv: &str, train: &[&str], hpa: Option<&[&str]>) -> Result<FoldTable, String> {
        let spec = JobSetSpec { folds: 2, ..JobSetSpec::default() };
        let folds = GivenFolds::read_csv("folds.csv", csv.as_bytes()).map_err(|error| error.to_string())?;
        folds.table(&spec, &list(train), hpa.map(list).as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_get_the_folds_of_the_file_in_the_order_of_the_lists() {
        let csv = "Id,Fold\nh,0\nb,1\na,0\n";
        let found = table(csv, &["a", "b"], Some(&["h"])).unwrap();
        let mut written = Vec::new();
        found.write_csv(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "Id,Source,Fold\na,train,0\nb,train,1\nh,hpa,0\n");
        // A folds file as competitors share it, with the labels in it.
        assert!(table("Fold,Target,Id\n0,7 3,a\n1,,b\n", &["a", "b"], None).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (csv, wanted) in [
            ("Id\na\n", "line 1: the header should be Id,Fold, not \"Id\""),
            ("Id,Fold\na,0\na,1\n", "folds.csv, line 3: the id \"a\" is already on line 2"),
            ("Id,Fold\na,0\nb,-1\n", "folds.csv, line 3: Fold \"-1\" should be a number from 0 to 99"),
            ("Id,Fold\na,0\nb,1.0\n", "line 3: Fold \"1.0\""),
            ("Id,Fold\na,0\nb,100\n", "line 3: Fold \"100\""),
            ("Id,Fold\na,0\nb,0\n", "folds.csv: all rows are in fold 0"),
            ("Id,Fold\na,0\nb,2\n", "folds.csv: no row is in fold 1, but one is in fold 2"),
            ("Id,Fold\na,0\nc,1\n", "lacks 1 of 2 images of the train list, the first of them \"b\""),
            ("Id,Fold\na,0\nb,1\nd,1\nc,1\n", "has 2 images that are in no list, such as \"c\""),
            ("Id,Fold\na,0\nb,1\nc,2\n", "has 3 folds, but folds = 2"),
        ] {
            let message = table(csv, &["a", "b"], None).unwrap_err();
            assert!(message.contains(wanted), "{csv:?}: {message}");
        }
        let message = table("Id,Fold\na,0\nb,1\n", &["a", "b"], Some(&["h", "i"])).unwrap_err();
        assert!(message.contains("lacks 2 of 2 images of the hpa list, the first of them \"h\""), "{message}");
    }
}
