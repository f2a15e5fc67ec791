//! `kfold`: folds of equal size, whatever the labels.

use super::{FoldsError, check_counts};
use crate::random_state::RandomState;

/// Splits `row_count` rows into `fold_count` folds; returns the fold of each row, `0..fold_count`.
///
/// Without `shuffle_seed` each fold is a block of consecutive rows, otherwise of rows in an order drawn from the seed. The
/// first `row_count % fold_count` folds have one row more than the others. Equals `KFold(fold_count, shuffle,
/// random_state=shuffle_seed)` of scikit-learn 1.7.2, row for row.
///
/// # Errors
/// On a fold count below 2, above 256 or above the number of rows.
pub fn k_folds(row_count: usize, fold_count: usize, shuffle_seed: Option<u32>) -> Result<Vec<u8>, FoldsError> {
    let rows_u32 = check_counts(row_count, fold_count)?;
    let order = match shuffle_seed {
        Some(seed) => RandomState::new(seed).permutation(rows_u32),
        None => (0..rows_u32).collect(),
    };
    let (base_size, larger_folds) = (row_count / fold_count, row_count % fold_count);
    let mut folds = vec![0; row_count];
    let mut rest = order.as_slice();
    for fold in (0..=u8::MAX).take(fold_count) {
        let size = base_size + usize::from(usize::from(fold) < larger_folds);
        let (block, after) = rest.split_at(size);
        for &row in block {
            folds[row as usize] = fold;
        }
        rest = after;
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_nearly_equal_size() {
        assert_eq!(k_folds(7, 3, None).unwrap(), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(k_folds(1, 2, None), Err(FoldsError::MoreFoldsThanRows { fold_count: 2, row_count: 1 }));
        assert_eq!(k_folds(9, 1, Some(0)), Err(FoldsError::TooFewFolds { fold_count: 1 }));
        assert_eq!(k_folds(999, 257, Some(0)), Err(FoldsError::TooManyFolds { fold_count: 257 }));
    }
}
