//! Folds: which part of the rows each row belongs to, so that every fold has its share of every label.
//!
//! Equal, ties and all, to `MultilabelStratifiedKFold` of the Python package iterative-stratification 0.1.9, which
//! follows Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (2011): the rarest label first,
//! each of its rows into the fold that lacks that label most. Being equal includes the order of the random draws.
//!
//! The package counts down, in float64, how many rows each fold still wants: its share at first, one less with each row.
//! All shares are equal here, so the folds that want most are those that took fewest, and we count up in whole numbers.

use crate::labels::{LABEL_COUNT, Labels};
use crate::random_state::RandomState;

/// The most folds there can be: a fold's number is a `u8`.
const MOST_FOLDS: usize = 256;

/// The order in which the rows are dealt out to the folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowOrder {
    /// As they stand in the list; the seed decides ties only.
    AsGiven,
    /// In an order drawn from the seed first; ties are then decided by the same generator.
    Shuffled,
}

/// Why a list cannot be split into folds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldsError {
    /// One fold or none leaves nothing to train on.
    #[error("{fold_count} folds are too few: ask for at least 2")]
    TooFewFolds {
        /// The number asked for.
        fold_count: usize,
    },
    /// A fold's number would not fit.
    #[error("{fold_count} folds are too many: ask for at most 256")]
    TooManyFolds {
        /// The number asked for.
        fold_count: usize,
    },
    /// Some fold would have no row.
    #[error("{fold_count} folds need at least as many rows, but the list has {row_count}: ask for fewer folds")]
    MoreFoldsThanRows {
        /// The number of folds asked for.
        fold_count: usize,
        /// The rows of the list.
        row_count: usize,
    },
    /// More rows than a permutation can number.
    #[error("{row_count} rows are too many to split: at most 4294967295 can be")]
    TooManyRows {
        /// The rows of the list.
        row_count: usize,
    },
    /// A number of labels that cannot be stratified by.
    #[error("{label_count} is no number of labels to stratify by: it must be from 2 to 28")]
    LabelCount {
        /// The number given.
        label_count: usize,
    },
    /// A row with a label that the list should not have.
    #[error("row {row} (the first is 0) has label {label}, but only labels below {label_count} are to be stratified")]
    LabelOutside {
        /// The row's place in the list, from 0.
        row: usize,
        /// Its label.
        label: u8,
        /// The number of labels given.
        label_count: usize,
    },
}

/// Deals `rows` out to `fold_count` folds; returns the fold of each row, `0..fold_count`, in the order of `rows`.
///
/// `label_count` (2 to 28) is the number of labels that rows may have; a label that nobody has changes nothing, and rows
/// without labels come last, to the smallest folds. Equals `MultilabelStratifiedKFold(fold_count, shuffle,
/// random_state=seed)` of iterative-stratification 0.1.9, row for row.
///
/// Fails on a fold count below 2, above 256 or above the number of rows, and on labels outside `label_count`.
pub fn multilabel_stratified_folds(
    rows: &[Labels],
    label_count: usize,
    fold_count: usize,
    seed: u32,
    order: RowOrder,
) -> Result<Vec<u8>, FoldsError> {
    let row_count = check(rows, label_count, fold_count)?;
    let mut random = RandomState::new(seed);
    match order {
        RowOrder::AsGiven => Ok(stratify(rows, fold_count, &mut random)),
        RowOrder::Shuffled => {
            let permutation = random.permutation(row_count);
            let shuffled: Vec<Labels> = permutation.iter().map(|&row| rows[row as usize]).collect();
            let mut folds = vec![0; rows.len()];
            for (&row, fold) in permutation.iter().zip(stratify(&shuffled, fold_count, &mut random)) {
                folds[row as usize] = fold;
            }
            Ok(folds)
        }
    }
}

/// Refuses what cannot be split; returns the number of rows.
fn check(rows: &[Labels], label_count: usize, fold_count: usize) -> Result<u32, FoldsError> {
    if fold_count < 2 {
        return Err(FoldsError::TooFewFolds { fold_count });
    }
    if fold_count > MOST_FOLDS {
        return Err(FoldsError::TooManyFolds { fold_count });
    }
    if fold_count > rows.len() {
        return Err(FoldsError::MoreFoldsThanRows { fold_count, row_count: rows.len() });
    }
    if !(2..=LABEL_COUNT).contains(&label_count) {
        return Err(FoldsError::LabelCount { label_count });
    }
    for (row, labels) in rows.iter().enumerate() {
        if let Some(label) = labels.iter().find(|&label| usize::from(label) >= label_count) {
            return Err(FoldsError::LabelOutside { row, label, label_count });
        }
    }
    u32::try_from(rows.len()).map_err(|_| FoldsError::TooManyRows { row_count: rows.len() })
}

/// The package's `IterativeStratification` with equal shares for all folds.
fn stratify(rows: &[Labels], fold_count: usize, random: &mut RandomState) -> Vec<u8> {
    let mut rows_left = [0_u32; LABEL_COUNT];
    for row in rows {
        for label in row.iter() {
            rows_left[usize::from(label)] += 1;
        }
    }
    let mut taken = vec![0; fold_count];
    let mut taken_by_label = vec![vec![0; fold_count]; LABEL_COUNT];

    let mut folds = vec![0; rows.len()];
    let mut waiting: Vec<usize> = (0..rows.len()).collect();
    let mut best = Vec::with_capacity(fold_count);
    while let Some(rarest) = choose_rarest(&rows_left, random) {
        waiting.retain(|&row| {
            if !rows[row].contains(rarest) {
                return true;
            }
            best.clear();
            best.extend(0..fold_count);
            keep_fewest(&mut best, &taken_by_label[usize::from(rarest)]);
            keep_fewest(&mut best, &taken);
            let fold = choose(&best, random);
            folds[row] = fold as u8;
            taken[fold] += 1;
            for label in rows[row].iter() {
                taken_by_label[usize::from(label)][fold] += 1;
                rows_left[usize::from(label)] -= 1;
            }
            false
        });
    }
    for row in waiting {
        best.clear();
        best.extend(0..fold_count);
        keep_fewest(&mut best, &taken);
        let fold = choose(&best, random);
        folds[row] = fold as u8;
        taken[fold] += 1;
    }
    folds
}

/// The label that the fewest waiting rows have, but at least one; a random one of several. None when no row has any.
fn choose_rarest(rows_left: &[u32; LABEL_COUNT], random: &mut RandomState) -> Option<u8> {
    let fewest = rows_left.iter().copied().filter(|&count| count > 0).min()?;
    let rarest: Vec<u8> = (0..).zip(rows_left).filter(|&(_, &count)| count == fewest).map(|(label, _)| label).collect();
    Some(choose(&rarest, random))
}

/// Leaves in `folds` those that took the fewest rows among them.
fn keep_fewest(folds: &mut Vec<usize>, taken: &[u32]) {
    if let Some(fewest) = folds.iter().map(|&fold| taken[fold]).min() {
        folds.retain(|&fold| taken[fold] == fewest);
    }
}

/// A random one of `candidates`, of which there is at least one; a single one costs no draw.
fn choose<T: Copy>(candidates: &[T], random: &mut RandomState) -> T {
    candidates[random.at_most(candidates.len() as u32 - 1) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(targets: &[&str]) -> Vec<Labels> {
        targets.iter().map(|target| target.parse().unwrap()).collect()
    }

    #[test]
    fn the_packages_own_example() {
        // The docstring of MultilabelStratifiedKFold: n_splits=2, random_state=0, shuffle off.
        let rows = rows(&["", "", "1", "1", "0 1", "0 1", "0", "0"]);
        let folds = multilabel_stratified_folds(&rows, 2, 2, 0, RowOrder::AsGiven).unwrap();
        assert_eq!(folds, [1, 0, 0, 1, 1, 0, 1, 0]);
    }

    #[test]
    fn refuses_what_cannot_be_split() {
        let rows = rows(&["0", "1", "5", ""]);
        let folds = |label_count, fold_count| {
            multilabel_stratified_folds(&rows, label_count, fold_count, 42, RowOrder::AsGiven)
        };
        for fold_count in [0, 1] {
            assert_eq!(folds(28, fold_count), Err(FoldsError::TooFewFolds { fold_count }));
        }
        assert_eq!(folds(28, 5), Err(FoldsError::MoreFoldsThanRows { fold_count: 5, row_count: 4 }));
        assert_eq!(folds(28, 257), Err(FoldsError::TooManyFolds { fold_count: 257 }));
        for label_count in [0, 1, 29] {
            assert_eq!(folds(label_count, 2), Err(FoldsError::LabelCount { label_count }));
        }
        assert_eq!(folds(5, 2), Err(FoldsError::LabelOutside { row: 2, label: 5, label_count: 5 }));
        assert!(folds(6, 2).is_ok());
        let none = multilabel_stratified_folds(&[], 28, 2, 42, RowOrder::Shuffled);
        assert_eq!(none, Err(FoldsError::MoreFoldsThanRows { fold_count: 2, row_count: 0 }));
    }

    #[test]
    fn a_list_of_the_most_folds_uses_each_once() {
        let rows = vec![Labels::default(); 256];
        let mut folds = multilabel_stratified_folds(&rows, 28, 256, 1, RowOrder::Shuffled).unwrap();
        folds.sort_unstable();
        assert_eq!(folds, (0..=255).collect::<Vec<u8>>());
    }
}
