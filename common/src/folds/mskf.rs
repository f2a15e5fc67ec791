//! `mskf`: folds with about the same number of rows of each label.
//!
//! The result equals, ties included, that of `MultilabelStratifiedKFold` in the Python package iterative-stratification
//! 0.1.9. It follows Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (2011): for the rarest
//! label first, each row goes to the fold that lacks this label most. The order of the random draws is the package's, too.
//!
//! The package counts down, in float64, the rows that each fold still needs. All shares are equal here, so the fold that
//! needs most is the one with the fewest rows, and whole numbers counting up suffice.

use super::{FoldsError, RowOrder, check_counts};
use crate::classes::MOST_CLASSES;
use crate::labels::Labels;
use crate::random_state::RandomState;

/// Splits `rows` into `fold_count` folds. Returns the fold of each row, `0..fold_count`, in the order of `rows`.
///
/// `label_count` (2 to 1,000) is the number of labels. Labels that no row has change nothing. Rows without labels are
/// assigned last, to the smallest folds. The result equals that of `MultilabelStratifiedKFold(fold_count, shuffle,
/// random_state=seed)` in iterative-stratification 0.1.9, row by row.
///
/// # Errors
/// If `fold_count` is below 2, above 256 or above the number of rows, or if a label is not below `label_count`.
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
        RowOrder::AsGiven => Ok(stratify(rows, label_count, fold_count, &mut random)),
        RowOrder::Shuffled => {
            let permutation = random.permutation(row_count);
            let shuffled: Vec<Labels> = permutation.iter().map(|&row| rows[row as usize].clone()).collect();
            let mut folds = vec![0; rows.len()];
            for (&row, fold) in permutation.iter().zip(stratify(&shuffled, label_count, fold_count, &mut random)) {
                folds[row as usize] = fold;
            }
            Ok(folds)
        }
    }
}

/// Checks the arguments and returns the number of rows.
fn check(rows: &[Labels], label_count: usize, fold_count: usize) -> Result<u32, FoldsError> {
    let row_count = check_counts(rows.len(), fold_count)?;
    if !(2..=MOST_CLASSES).contains(&label_count) {
        return Err(FoldsError::LabelCount { label_count });
    }
    for (row, labels) in rows.iter().enumerate() {
        if let Some(label) = labels.iter().find(|&label| usize::from(label) >= label_count) {
            return Err(FoldsError::LabelOutside { row, label, label_count });
        }
    }
    Ok(row_count)
}

/// The package's `IterativeStratification` with equal shares for all folds.
fn stratify(rows: &[Labels], label_count: usize, fold_count: usize, random: &mut RandomState) -> Vec<u8> {
    let mut rows_left = vec![0_u32; label_count];
    for row in rows {
        for label in row.iter() {
            rows_left[usize::from(label)] += 1;
        }
    }
    let mut taken = vec![0; fold_count];
    let mut taken_by_label = vec![vec![0; fold_count]; label_count];

    let mut folds = vec![0; rows.len()];
    let mut waiting: Vec<usize> = (0..rows.len()).collect();
    let mut best = Vec::with_capacity(fold_count);
    while let Some(rarest) = choose_rarest(&rows_left, random) {
        waiting.retain(|&row| {
            if !rows[row].contains(rarest) {
                return true;
            }
            best.clear();
            best.extend((0..=u8::MAX).take(fold_count));
            keep_fewest(&mut best, &taken_by_label[usize::from(rarest)]);
            keep_fewest(&mut best, &taken);
            let fold = choose(&best, random);
            folds[row] = fold;
            taken[usize::from(fold)] += 1;
            for label in rows[row].iter() {
                taken_by_label[usize::from(label)][usize::from(fold)] += 1;
                rows_left[usize::from(label)] -= 1;
            }
            false
        });
    }
    for row in waiting {
        best.clear();
        best.extend((0..=u8::MAX).take(fold_count));
        keep_fewest(&mut best, &taken);
        let fold = choose(&best, random);
        folds[row] = fold;
        taken[usize::from(fold)] += 1;
    }
    folds
}

/// The label with the fewest rows left, but at least one; a random one if there are several. `None` if no label is left.
fn choose_rarest(rows_left: &[u32], random: &mut RandomState) -> Option<u16> {
    let fewest = rows_left.iter().copied().filter(|&count| count > 0).min()?;
    let rarest: Vec<u16> =
        (0..).zip(rows_left).filter(|&(_, &count)| count == fewest).map(|(label, _)| label).collect();
    Some(choose(&rarest, random))
}

/// Keeps those of `folds` that have taken the fewest rows.
fn keep_fewest(folds: &mut Vec<u8>, taken: &[u32]) {
    let taken = |fold: u8| taken[usize::from(fold)];
    if let Some(fewest) = folds.iter().map(|&fold| taken(fold)).min() {
        folds.retain(|&fold| taken(fold) == fewest);
    }
}

/// A random one of `candidates`, which is not empty. A single candidate is not drawn.
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
    fn lists_that_cannot_be_split_are_refused() {
        let rows = rows(&["0", "1", "5", ""]);
        let folds = |label_count, fold_count| {
            multilabel_stratified_folds(&rows, label_count, fold_count, 42, RowOrder::AsGiven)
        };
        for fold_count in [0, 1] {
            assert_eq!(folds(28, fold_count), Err(FoldsError::TooFewFolds { fold_count }));
        }
        assert_eq!(folds(28, 5), Err(FoldsError::MoreFoldsThanRows { fold_count: 5, row_count: 4 }));
        assert_eq!(folds(28, 257), Err(FoldsError::TooManyFolds { fold_count: 257 }));
        for label_count in [0, 1, 1001] {
            assert_eq!(folds(label_count, 2), Err(FoldsError::LabelCount { label_count }));
        }
        assert_eq!(folds(5, 2), Err(FoldsError::LabelOutside { row: 2, label: 5, label_count: 5 }));
        assert!(folds(6, 2).is_ok());
        assert_eq!(folds(1000, 2), folds(6, 2), "classes without rows change nothing");
        let none = multilabel_stratified_folds(&[], 28, 2, 42, RowOrder::Shuffled);
        assert_eq!(none, Err(FoldsError::MoreFoldsThanRows { fold_count: 2, row_count: 0 }));
    }

    #[test]
    fn as_many_folds_as_possible_have_a_row_each() {
        let rows = vec![Labels::default(); 256];
        let mut folds = multilabel_stratified_folds(&rows, 28, 256, 1, RowOrder::Shuffled).unwrap();
        folds.sort_unstable();
        assert_eq!(folds, (0..=255).collect::<Vec<u8>>());
    }
}
