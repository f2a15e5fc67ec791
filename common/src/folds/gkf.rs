//! `gkf`: whole groups, spread so that the folds are of nearly equal size.

use super::argsort::argsort;
use super::{FoldsError, Groups, check_counts, k_folds};

/// Splits rows of the given `groups` into `fold_count` folds; returns the fold of each row, `0..fold_count`. A group is in
/// one fold.
///
/// Without `shuffle_seed` the largest group comes first, each into the fold with the fewest rows so far. With it, the
/// groups are shuffled and split into blocks of equal numbers of groups, whatever their sizes. Equals
/// `GroupKFold(fold_count, shuffle, random_state=shuffle_seed)` of scikit-learn 1.7.2, row for row.
///
/// Without a shuffle, scikit-learn orders groups of equal size by numpy's unstable `argsort`, whose order depends on the
/// processor and on numpy's version. This function gives that of numpy 2.2.6 on a processor with AVX-512; up to 256 groups
/// that is also the order with AVX2.
///
/// # Errors
/// On a fold count below 2, above 256 or above the number of groups.
pub fn group_folds(groups: &Groups, fold_count: usize, shuffle_seed: Option<u32>) -> Result<Vec<u8>, FoldsError> {
    check_counts(groups.of_rows().len(), fold_count)?;
    if fold_count > groups.count() {
        return Err(FoldsError::MoreFoldsThanGroups { fold_count, group_count: groups.count() });
    }
    match shuffle_seed {
        Some(_) => Ok(groups.folds_of_rows(&k_folds(groups.count(), fold_count, shuffle_seed)?)),
        None => Ok(spread_groups(groups, fold_count)),
    }
}

/// Spreads whole groups over `fold_count` folds, at least 1 and at most 256; returns the fold of each row. The largest group
/// comes first, each into the fold with the fewest rows so far. Folds may stay empty.
pub fn spread_groups(groups: &Groups, fold_count: usize) -> Vec<u8> {
    groups.folds_of_rows(&largest_first(&groups.sizes(), fold_count))
}

/// The fold of each group: the largest first, each into the first of the folds with the fewest rows.
fn largest_first(sizes: &[u32], fold_count: usize) -> Vec<u8> {
    let mut rows_in_fold = vec![0_u64; fold_count];
    let mut fold_of_group = vec![0; sizes.len()];
    for group in argsort(sizes).into_iter().rev() {
        let lightest = (0..=u8::MAX).zip(&mut rows_in_fold).min_by_key(|(_, rows)| **rows);
        if let Some((fold, rows)) = lightest {
            *rows += u64::from(sizes[group]);
            fold_of_group[group] = fold;
        }
    }
    fold_of_group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_equal_size_are_taken_from_the_last() {
        // The groups of GroupKFold's docstring, split as today's numpy does.
        let groups = Groups::of_names(["0", "0", "2", "2", "3", "3"]);
        assert_eq!(group_folds(&groups, 2, None).unwrap(), [0, 0, 1, 1, 0, 0]);
        assert_eq!(
            group_folds(&groups, 4, None),
            Err(FoldsError::MoreFoldsThanGroups { fold_count: 4, group_count: 3 })
        );
    }
}
