//! `sgkf`: whole groups, spread so that every fold gets its share of every class.

use super::{FoldsError, Groups, check_class_sizes, check_counts};
use crate::random_state::RandomState;

/// Splits rows of the given `classes` and `groups` (of equal length) into `fold_count` folds; returns the fold of each
/// row, `0..fold_count`. A group is in one fold.
///
/// Greedy: groups come in order of the standard deviation of their class counts, the largest first; each goes to the fold
/// that makes the classes' shares most even over the folds, of nearly equal ones to that with the fewest rows. Equals
/// `StratifiedGroupKFold(fold_count, shuffle, random_state=shuffle_seed)` of scikit-learn 1.7.2, row for row, rounding
/// errors included.
///
/// That version has a fault, which is kept: a shuffle moves the groups' class counts without the groups themselves, so
/// each group is placed by the counts of another one. Groups stay whole, but shuffled folds are hardly stratified.
///
/// # Errors
/// On a fold count below 2, above 256 or above the number of groups, and if every class has fewer rows than there are
/// folds. A few such classes are no error; [`small_class`](super::small_class) finds them.
///
/// # Panics
/// If `classes` and `groups` are of different lengths.
pub fn stratified_group_folds(
    classes: &[u32],
    groups: &Groups,
    fold_count: usize,
    shuffle_seed: Option<u32>,
) -> Result<Vec<u8>, FoldsError> {
    assert_eq!(classes.len(), groups.of_rows().len(), "classes and groups of the same rows");
    check_counts(classes.len(), fold_count)?;
    let sizes = check_class_sizes(classes, fold_count)?;
    if fold_count > groups.count() {
        return Err(FoldsError::MoreFoldsThanGroups { fold_count, group_count: groups.count() });
    }
    let class_names: Vec<u32> = sizes.keys().copied().collect();
    let class_totals: Vec<f64> = sizes.values().map(|&size| f64::from(size)).collect();

    let mut group_counts = count_classes(classes, &class_names, groups);
    if let Some(seed) = shuffle_seed {
        RandomState::new(seed).shuffle(&mut group_counts);
    }
    let spreads: Vec<f64> = group_counts.iter().map(|counts| spread(counts, class_names.len())).collect();
    let mut order: Vec<usize> = (0..group_counts.len()).collect();
    order.sort_by(|&a, &b| spreads[b].total_cmp(&spreads[a]));

    let mut shares = Shares::new(class_totals, fold_count);
    let mut fold_of_group = vec![0; groups.count()];
    for group in order {
        fold_of_group[group] = shares.take(&group_counts[group]);
    }
    Ok(groups.folds_of_rows(&fold_of_group))
}

/// A class, as its place among the sorted classes, and its rows in a group.
type ClassCount = (usize, f64);

/// The classes of each group, ascending.
fn count_classes(classes: &[u32], class_names: &[u32], groups: &Groups) -> Vec<Vec<ClassCount>> {
    let mut group_counts: Vec<Vec<ClassCount>> = vec![Vec::new(); groups.count()];
    for (class, &group) in classes.iter().zip(groups.of_rows()) {
        let class = class_names.partition_point(|name| name < class);
        let counts = &mut group_counts[group as usize];
        match counts.binary_search_by_key(&class, |&(class, _)| class) {
            Ok(place) => counts[place].1 += 1.0,
            Err(place) => counts.insert(place, (class, 1.0)),
        }
    }
    group_counts
}

/// The standard deviation of a group's rows per class: `numpy.std` of a row of the matrix.
fn spread(counts: &[ClassCount], class_count: usize) -> f64 {
    let mut row = vec![0.0; class_count];
    for &(class, count) in counts {
        row[class] = count;
    }
    standard_deviation(&row, pairwise_sum)
}

/// How much of each class each fold has.
struct Shares {
    /// The rows of each class.
    class_totals: Vec<f64>,
    /// Class -> fold -> rows.
    rows: Vec<Vec<f64>>,
    /// Rows of each fold.
    rows_in_fold: Vec<f64>,
    /// The standard deviation of each class's shares over the folds.
    deviations: Vec<f64>,
}

impl Shares {
    fn new(class_totals: Vec<f64>, fold_count: usize) -> Shares {
        let class_count = class_totals.len();
        Shares {
            class_totals,
            rows: vec![vec![0.0; fold_count]; class_count],
            rows_in_fold: vec![0.0; fold_count],
            deviations: vec![0.0; class_count],
        }
    }

    /// Finds the best fold for a group and gives it the group's rows.
    fn take(&mut self, group: &[ClassCount]) -> u8 {
        let mut best = 0;
        let (mut best_mean, mut best_rows) = (f64::INFINITY, f64::INFINITY);
        let mut deviations = self.deviations.clone();
        for fold in (0..=u8::MAX).take(self.rows_in_fold.len()) {
            // The classes that the group lacks deviate as before.
            for &(class, count) in group {
                deviations[class] = self.deviation_with(class, fold, count);
            }
            let mean = pairwise_sum(&deviations) / deviations.len() as f64;
            let rows = self.rows_in_fold[usize::from(fold)];
            if mean < best_mean || (is_close(mean, best_mean) && rows < best_rows) {
                (best, best_mean, best_rows) = (fold, mean, rows);
            }
        }
        for &(class, count) in group {
            self.deviations[class] = self.deviation_with(class, best, count);
            self.rows[class][usize::from(best)] += count;
            self.rows_in_fold[usize::from(best)] += count;
        }
        best
    }

    /// The standard deviation of a class's shares if `fold` had `count` rows more.
    fn deviation_with(&self, class: usize, fold: u8, count: f64) -> f64 {
        let fold = usize::from(fold);
        let total = self.class_totals[class];
        let mut shares: Vec<f64> = self.rows[class].iter().map(|rows| rows / total).collect();
        shares[fold] = (self.rows[class][fold] + count) / total;
        // numpy sums down the columns of a matrix row by row, but a single column as a vector.
        let sum = if self.class_totals.len() == 1 { pairwise_sum } else { plain_sum };
        standard_deviation(&shares, sum)
    }
}

/// `numpy.std`, given the order in which it sums.
fn standard_deviation(values: &[f64], sum: fn(&[f64]) -> f64) -> f64 {
    let count = values.len() as f64;
    let mean = sum(values) / count;
    let squares: Vec<f64> = values.iter().map(|value| (value - mean) * (value - mean)).collect();
    (sum(&squares) / count).sqrt()
}

fn plain_sum(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, value| sum + value)
}

/// numpy's sum of a contiguous vector: eight running sums in blocks of up to 128 values, and halves above that
/// (`pairwise_sum` of numpy/_core/src/umath/loops_utils.h.src).
fn pairwise_sum(values: &[f64]) -> f64 {
    match values.len() {
        0..8 => plain_sum(values),
        8..=128 => {
            let (blocks, rest) = values.as_chunks::<8>();
            let mut sums = [0.0; 8];
            for block in blocks {
                for (sum, value) in sums.iter_mut().zip(block) {
                    *sum += value;
                }
            }
            let [a, b, c, d, e, f, g, h] = sums;
            rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
        }
        len => {
            let half = len / 2;
            let (left, right) = values.split_at(half - half % 8);
            pairwise_sum(left) + pairwise_sum(right)
        }
    }
}

/// `numpy.isclose` with its default tolerances, for finite `a`.
fn is_close(a: f64, b: f64) -> bool {
    b.is_finite() && (a - b).abs() <= 1e-8 + 1e-5 * b.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_scikit_learn() {
        // The docstring of StratifiedGroupKFold: n_splits=3.
        let classes = [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let names = ["1", "1", "2", "2", "3", "3", "3", "4", "5", "5", "5", "5", "6", "6", "7", "8", "8"];
        let groups = Groups::of_names(names);
        let folds = stratified_group_folds(&classes, &groups, 3, None).unwrap();
        assert_eq!(folds, [1, 1, 1, 1, 0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 1, 1]);
        assert_eq!(
            stratified_group_folds(&classes, &groups, 9, None),
            Err(FoldsError::MoreFoldsThanGroups { fold_count: 9, group_count: 8 })
        );
        let each_once: Vec<u32> = (0..17).collect();
        assert_eq!(
            stratified_group_folds(&each_once, &groups, 3, None),
            Err(FoldsError::EveryClassTooSmall { fold_count: 3, largest: 1 })
        );
    }
}
