//! `skf`: every fold gets its share of every class, where each row has one class.

use std::collections::HashMap;

use super::{FoldsError, check_class_sizes, check_counts};
use crate::random_state::RandomState;

/// Splits rows of the given `classes` into `fold_count` folds; returns the fold of each row, `0..fold_count`.
///
/// The sorted rows are dealt out in turn to find how many rows of a class each fold gets; those counts then become blocks
/// in the list's order, or, with `shuffle_seed`, are shuffled within the class. Equals `StratifiedKFold(fold_count,
/// shuffle, random_state=shuffle_seed)` of scikit-learn 1.7.2, row for row. As there, classes count in the order of their
/// first rows, so renaming them changes nothing.
///
/// # Errors
/// On a fold count below 2, above 256 or above the number of rows, and if every class has fewer rows than there are folds.
/// A few such classes are no error; [`small_class`](super::small_class) finds them.
pub fn stratified_folds(classes: &[u32], fold_count: usize, shuffle_seed: Option<u32>) -> Result<Vec<u8>, FoldsError> {
    check_counts(classes.len(), fold_count)?;
    let sizes = check_class_sizes(classes, fold_count)?;
    let mut random = shuffle_seed.map(RandomState::new);
    let mut rows_of_class: Vec<Vec<usize>> = Vec::with_capacity(sizes.len());
    let mut places = HashMap::with_capacity(sizes.len());
    for (row, &class) in classes.iter().enumerate() {
        let place = *places.entry(class).or_insert(rows_of_class.len());
        if place == rows_of_class.len() {
            rows_of_class.push(Vec::new());
        }
        rows_of_class[place].push(row);
    }

    let mut folds = vec![0; classes.len()];
    let mut dealt = (0..=u8::MAX).take(fold_count).cycle();
    for rows in rows_of_class {
        let mut folds_of_class: Vec<u8> = dealt.by_ref().take(rows.len()).collect();
        folds_of_class.sort_unstable();
        if let Some(random) = &mut random {
            random.shuffle(&mut folds_of_class);
        }
        for (row, fold) in rows.into_iter().zip(folds_of_class) {
            folds[row] = fold;
        }
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folds::{SmallClass, small_class};

    #[test]
    fn small_classes_are_an_error_only_if_all_are_small() {
        let classes = [7, 7, 3, 7, 3, 9];
        assert!(stratified_folds(&classes, 3, None).is_ok());
        assert_eq!(small_class(&classes, 3), Some(SmallClass { class: 9, row_count: 1, fold_count: 3 }));
        assert_eq!(
            small_class(&classes, 3).unwrap().to_string(),
            "class 9 has 1 row, fewer than the 3 folds: some folds will lack it"
        );
        assert_eq!(small_class(&classes[..5], 2), None);
        assert_eq!(
            stratified_folds(&classes, 4, None),
            Err(FoldsError::EveryClassTooSmall { fold_count: 4, largest: 3 })
        );
    }

    #[test]
    fn renaming_classes_changes_nothing() {
        let classes: Vec<u32> = (0..60).map(|row| row * row % 7).collect();
        let renamed: Vec<u32> = classes.iter().map(|class| 100 - class).collect();
        assert_eq!(stratified_folds(&classes, 5, Some(3)), stratified_folds(&renamed, 5, Some(3)));
    }
}
