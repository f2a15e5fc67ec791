//! Splits of rows into folds: the fold in which each row is validated.
//!
//! Each method is a pure function in a file of its own. [`multilabel_stratified_folds`] equals iterative-stratification
//! 0.1.9, the others equal scikit-learn 1.7.2 with numpy 2.2.6, row by row and for the same seed.

mod argsort;
mod gkf;
mod groups;
mod kfold;
mod mskf;
mod sgkf;
mod skf;
mod std_sort;

use std::collections::BTreeMap;
use std::fmt;

pub use gkf::{group_folds, spread_groups};
pub use groups::Groups;
pub use kfold::k_folds;
pub use mskf::multilabel_stratified_folds;
pub use sgkf::stratified_group_folds;
pub use skf::stratified_folds;

use crate::classes::MOST_CLASSES;

/// The largest number of folds: the number of a fold is a `u8`.
const MOST_FOLDS: usize = 256;

/// The order in which rows are assigned to folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowOrder {
    /// The order of the list. The seed decides ties only.
    AsGiven,
    /// A random order, drawn from the seed before any tie.
    Shuffled,
}

/// A list that cannot be split into folds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldsError {
    /// Fewer than two folds, which leaves no rows to train on.
    #[error("{fold_count} folds are too few: at least 2 are needed")]
    TooFewFolds {
        /// The number of folds.
        fold_count: usize,
    },
    /// More folds than numbers of folds.
    #[error("{fold_count} folds are too many: at most 256 are possible")]
    TooManyFolds {
        /// The number of folds.
        fold_count: usize,
    },
    /// More folds than rows.
    #[error("{fold_count} folds need at least as many rows, but the list has {row_count}: use fewer folds")]
    MoreFoldsThanRows {
        /// The number of folds.
        fold_count: usize,
        /// The number of rows.
        row_count: usize,
    },
    /// More rows than a permutation can have.
    #[error("{row_count} rows are too many to split: at most 4294967295 are possible")]
    TooManyRows {
        /// The number of rows.
        row_count: usize,
    },
    /// A number of labels out of range.
    #[error("{label_count} labels cannot be stratified: 2 to {MOST_CLASSES} are possible")]
    LabelCount {
        /// The number of labels.
        label_count: usize,
    },
    /// A row with a label out of range.
    #[error("row {row} (the first is 0) has label {label}, expected labels below {label_count}")]
    LabelOutside {
        /// The index of the row, from 0.
        row: usize,
        /// The label.
        label: u16,
        /// The number of labels.
        label_count: usize,
    },
    /// More folds than groups.
    #[error("{fold_count} folds need at least as many groups, but there are {group_count}: use fewer folds")]
    MoreFoldsThanGroups {
        /// The number of folds.
        fold_count: usize,
        /// The number of distinct groups.
        group_count: usize,
    },
    /// Only classes with fewer rows than folds.
    #[error(
        "no class has a row for each of the {fold_count} folds, the largest has {largest}: use fewer folds, or a method \
         without stratification"
    )]
    EveryClassTooSmall {
        /// The number of folds.
        fold_count: usize,
        /// The number of rows of the largest class.
        largest: u32,
    },
}

/// A class with fewer rows than folds. The split is possible, but some folds have no row of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallClass {
    /// The class.
    pub class: u32,
    /// The number of its rows.
    pub row_count: u32,
    /// The number of folds.
    pub fold_count: usize,
}

impl fmt::Display for SmallClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SmallClass { class, row_count, fold_count } = self;
        let rows = if *row_count == 1 { "row" } else { "rows" };
        write!(f, "class {class} has {row_count} {rows}, fewer than the {fold_count} folds: some folds will lack it")
    }
}

/// The smallest class, if it has fewer rows than there are folds.
///
/// scikit-learn warns of such a class. [`stratified_folds`] and [`stratified_group_folds`] fail only if every class is that
/// small.
pub fn small_class(classes: &[u32], fold_count: usize) -> Option<SmallClass> {
    let sizes = class_sizes(classes);
    let (&class, &row_count) = sizes.iter().min_by_key(|&(_, &size)| size)?;
    ((row_count as usize) < fold_count).then_some(SmallClass { class, row_count, fold_count })
}

/// The number of rows of each class.
fn class_sizes(classes: &[u32]) -> BTreeMap<u32, u32> {
    let mut sizes = BTreeMap::new();
    for &class in classes {
        *sizes.entry(class).or_insert(0) += 1;
    }
    sizes
}

/// Checks that some class is large enough to be in every fold. Returns the number of rows of each class.
fn check_class_sizes(classes: &[u32], fold_count: usize) -> Result<BTreeMap<u32, u32>, FoldsError> {
    let sizes = class_sizes(classes);
    let largest = sizes.values().copied().max().unwrap_or_default();
    if (largest as usize) < fold_count {
        return Err(FoldsError::EveryClassTooSmall { fold_count, largest });
    }
    Ok(sizes)
}

/// Checks the numbers of folds and rows. Returns the number of rows.
fn check_counts(row_count: usize, fold_count: usize) -> Result<u32, FoldsError> {
    if fold_count < 2 {
        return Err(FoldsError::TooFewFolds { fold_count });
    }
    if fold_count > MOST_FOLDS {
        return Err(FoldsError::TooManyFolds { fold_count });
    }
    if fold_count > row_count {
        return Err(FoldsError::MoreFoldsThanRows { fold_count, row_count });
    }
    u32::try_from(row_count).map_err(|_| FoldsError::TooManyRows { row_count })
}
