//! Counts of predicted labels, by class and by row.

use crate::labels::Labels;
use crate::macro_f1::ClassTally;

/// Counts of predicted labels, filled one row at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictionTally {
    /// The counts of each class.
    pub classes: ClassTally,
    /// The number of rows.
    pub rows: u64,
    /// The rows whose predicted labels are exactly the true ones.
    pub exact_rows: u64,
}

impl PredictionTally {
    /// The counts of no rows.
    pub fn new(class_count: usize) -> PredictionTally {
        PredictionTally { classes: ClassTally::new(class_count), rows: 0, exact_rows: 0 }
    }

    /// Counts one row.
    pub fn add(&mut self, target: &Labels, predicted: &Labels) {
        self.classes.add(target, predicted);
        self.rows += 1;
        self.exact_rows += u64::from(target == predicted);
    }

    /// F1 of all classes together, in 0..=1, as `f1_score(average="micro", zero_division=0)`.
    pub fn micro_f1(&self) -> f64 {
        let sum = |count: fn(&crate::macro_f1::ClassCounts) -> u64| self.classes.classes.iter().map(count).sum::<u64>();
        let (hits, given) = (sum(|class| class.true_positives), sum(|class| class.predicted + class.support));
        if given == 0 { 0.0 } else { (2 * hits) as f64 / given as f64 }
    }

    /// The share of rows whose labels are all right, in 0..=1, as `accuracy_score`; 0 without rows. With several labels a row
    /// it is called subset accuracy.
    pub fn accuracy(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.exact_rows as f64 / self.rows as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let mut tally = PredictionTally::new(3);
        assert_eq!((tally.micro_f1(), tally.accuracy()), (0.0, 0.0));
        for (target, predicted) in [("0 1", "0"), ("2", "2"), ("", ""), ("1", "2")] {
            tally.add(&target.parse().unwrap(), &predicted.parse().unwrap());
        }
        // 2 of 3 predicted labels are among the 4 true ones; two rows are right.
        assert_eq!((tally.micro_f1(), tally.accuracy()), (4.0 / 7.0, 0.5));
    }
}
