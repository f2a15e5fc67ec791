//! Macro F1 over all classes, by scikit-learn's definition: `f1_score(average="macro", zero_division=0)`.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;

/// The counts of one class over a set of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Rows with the class in both target and prediction.
    pub true_positives: u64,
    /// Rows with the class in the prediction.
    pub predicted: u64,
    /// Rows with the class in the target.
    pub support: u64,
}

impl ClassCounts {
    /// `tp / predicted`, in 0..=1; 0 if the class is never predicted.
    pub fn precision(self) -> f64 {
        ratio(self.true_positives, self.predicted)
    }

    /// `tp / support`, in 0..=1; 0 if no row has the class.
    pub fn recall(self) -> f64 {
        ratio(self.true_positives, self.support)
    }

    /// `2 tp / (predicted + support)`, the harmonic mean of precision and recall, in 0..=1; 0 if both are undefined.
    pub fn f1(self) -> f64 {
        ratio(2 * self.true_positives, self.predicted + self.support)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One class's scores, computed from its counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassF1 {
    /// F1, in 0..=1.
    pub f1: f64,
    /// Precision, in 0..=1.
    pub precision: f64,
    /// Recall, in 0..=1.
    pub recall: f64,
    /// Rows with the class in the target.
    pub support: u64,
    /// Rows with the class in the prediction.
    pub predicted: u64,
    /// Rows with the class in both target and prediction.
    pub true_positives: u64,
}

impl From<ClassCounts> for ClassF1 {
    fn from(counts: ClassCounts) -> Self {
        ClassF1 {
            f1: counts.f1(),
            precision: counts.precision(),
            recall: counts.recall(),
            support: counts.support,
            predicted: counts.predicted,
            true_positives: counts.true_positives,
        }
    }
}

/// The macro F1 of a set of predictions, with the scores of each class.
#[derive(Clone, Debug, PartialEq)]
pub struct MacroF1 {
    /// The mean of the classes' F1, in 0..=1. A class that is in no target and no prediction counts as 0.
    pub macro_f1: f64,
    /// One entry per label, in label order.
    pub per_class: Vec<ClassF1>,
}

impl From<&ClassTally> for MacroF1 {
    fn from(tally: &ClassTally) -> Self {
        MacroF1 { macro_f1: tally.macro_f1(), per_class: tally.classes.iter().copied().map(ClassF1::from).collect() }
    }
}

/// F1 is summed in blocks of this many classes, so that a change of one class changes few sums.
const BLOCK: usize = 32;

/// Counts of all classes, filled one row at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTally {
    /// One entry per label, in label order.
    pub classes: Vec<ClassCounts>,
}

impl ClassTally {
    /// The counts of no rows.
    pub fn new(class_count: usize) -> ClassTally {
        ClassTally { classes: vec![ClassCounts::default(); class_count] }
    }

    /// Counts one row.
    pub fn add(&mut self, target: &Labels, predicted: &Labels) {
        for (class, counts) in (0_u16..).zip(&mut self.classes) {
            let is_true = target.contains(class);
            let is_predicted = predicted.contains(class);
            counts.support += u64::from(is_true);
            counts.predicted += u64::from(is_predicted);
            counts.true_positives += u64::from(is_true && is_predicted);
        }
    }

    /// The mean of the classes' F1. It depends on the counts alone: equal counts give equal bits.
    pub fn macro_f1(&self) -> f64 {
        self.classes.chunks(BLOCK).map(sum_of_block).sum::<f64>() / self.classes.len() as f64
    }
}

fn sum_of_block(block: &[ClassCounts]) -> f64 {
    block.iter().map(|counts| counts.f1()).sum()
}

/// A tally with the sums of its blocks, whose macro F1 is asked for after each few changes. It has the bits of
/// [`ClassTally::macro_f1`].
pub(crate) struct RunningTally {
    tally: ClassTally,
    block_sums: Vec<f64>,
    /// The block that has changed since its sum was taken.
    changed: Option<usize>,
}

impl RunningTally {
    pub(crate) fn new(tally: ClassTally) -> RunningTally {
        let block_sums = tally.classes.chunks(BLOCK).map(sum_of_block).collect();
        RunningTally { tally, block_sums, changed: None }
    }

    /// The counts of a class, to be changed.
    pub(crate) fn counts_mut(&mut self, class: usize) -> &mut ClassCounts {
        if self.changed.is_some_and(|block| block != class / BLOCK) {
            self.sum_changed_block();
        }
        self.changed = Some(class / BLOCK);
        &mut self.tally.classes[class]
    }

    /// The mean of the classes' F1.
    pub(crate) fn macro_f1(&mut self) -> f64 {
        self.sum_changed_block();
        self.block_sums.iter().sum::<f64>() / self.tally.classes.len() as f64
    }

    fn sum_changed_block(&mut self) {
        if let Some(block) = self.changed.take() {
            let end = self.tally.classes.len().min((block + 1) * BLOCK);
            self.block_sums[block] = sum_of_block(&self.tally.classes[block * BLOCK..end]);
        }
    }
}

/// Macro F1 of `predictions` against `targets`, row by row, over `class_count` classes.
///
/// Both slices must have the same length; extra rows of the longer one are ignored.
pub fn macro_f1(targets: &[Labels], predictions: &[Labels], class_count: usize) -> MacroF1 {
    debug_assert_eq!(targets.len(), predictions.len());
    let mut tally = ClassTally::new(class_count);
    for (target, predicted) in targets.iter().zip(predictions) {
        tally.add(target, predicted);
    }
    MacroF1::from(&tally)
}

/// The best prediction that is the same for every row.
#[derive(Clone, Debug, PartialEq)]
pub struct BestConstant {
    /// The labels of every row.
    pub labels: Labels,
    /// The macro F1 of this prediction, in 0..=1.
    pub macro_f1: f64,
}

/// The constant prediction with the highest macro F1 on `targets`: all classes that occur in them.
///
/// The F1 of a class depends on no other class. For a class of support `s` it is `2 s / (rows + s)` if the class is always
/// predicted, and 0 if it is never predicted.
pub fn best_constant_prediction(targets: &[Labels], class_count: usize) -> BestConstant {
    let labels = labels_where(class_count, |class| targets.iter().any(|target| target.contains(class)));
    let macro_f1 = macro_f1(targets, &vec![labels.clone(); targets.len()], class_count).macro_f1;
    BestConstant { labels, macro_f1 }
}

/// As [`best_constant_prediction`], if each row has exactly one class: the class of most rows, the lowest if several are equal.
pub fn best_constant_class(targets: &[Labels], class_count: usize) -> BestConstant {
    let mut counts = vec![0_u64; class_count];
    for label in targets.iter().flat_map(Labels::iter) {
        if let Some(count) = counts.get_mut(usize::from(label)) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let best = counts.iter().position(|count| *count == most).unwrap_or_default();
    let labels = labels_where(class_count, |class| usize::from(class) == best);
    let macro_f1 = macro_f1(targets, &vec![labels.clone(); targets.len()], class_count).macro_f1;
    BestConstant { labels, macro_f1 }
}

/// The set of labels below `class_count` for which `holds` is true.
pub(crate) fn labels_where(class_count: usize, holds: impl Fn(u16) -> bool) -> Labels {
    let indices = (0_u16..).take(class_count).filter(|class| holds(*class));
    Labels::from_indices(indices).expect("a table of scores has at most 1,000 classes, and each is given once")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &[&str]) -> Vec<Labels> {
        text.iter().map(|labels| labels.parse().unwrap()).collect()
    }

    #[test]
    fn counts_by_hand() {
        let targets = labels(&["0 1", "0", "2", ""]);
        let predictions = labels(&["0", "0 1", "", "0"]);
        let result = macro_f1(&targets, &predictions, 28);
        let class = result.per_class[0];
        assert_eq!((class.true_positives, class.predicted, class.support), (2, 3, 2));
        assert_eq!((class.precision, class.recall, class.f1), (2.0 / 3.0, 1.0, 0.8));
        // Label 1 missed and wrongly given, label 2 never predicted, label 3 in no row: all 0.
        assert!(result.per_class[1..].iter().all(|class| class.f1 == 0.0 && class.precision == 0.0));
        assert_eq!(result.macro_f1, 0.8 / 28.0);
        assert_eq!(macro_f1(&[], &[], 28).macro_f1, 0.0);
        assert_eq!(macro_f1(&targets, &predictions, 3).macro_f1, 0.8 / 3.0);
    }

    #[test]
    fn no_constant_beats_the_best() {
        let targets = labels(&["0 1", "0", "0 3", "", "27"]);
        let best = best_constant_prediction(&targets, 28);
        assert_eq!(best.labels, "0 1 3 27".parse().unwrap());
        let held = [0, 1, 2, 3, 27];
        for bits in 0..1_u32 << held.len() {
            let chosen = held.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, class)| *class);
            let constant = Labels::from_indices(chosen).unwrap();
            assert!(macro_f1(&targets, &vec![constant; targets.len()], 28).macro_f1 <= best.macro_f1);
        }
        let nobody = best_constant_prediction(&labels(&["", ""]), 28);
        assert!(nobody.labels.is_empty() && nobody.macro_f1 == 0.0);
    }

    #[test]
    fn running_sums_have_the_bits_of_a_sum_from_the_start() {
        for class_count in [2, 28, 32, 33, 64, 1000] {
            let mut tally = ClassTally::new(class_count);
            let mut running = RunningTally::new(tally.clone());
            for step in 0..2000 {
                let class = step * 7919 % class_count;
                for counts in [&mut tally.classes[class], running.counts_mut(class)] {
                    counts.support += 1;
                    counts.predicted += 1 + step as u64 % 3;
                    counts.true_positives += step as u64 % 2;
                }
                if step % 5 != 0 {
                    assert_eq!(running.macro_f1().to_bits(), tally.macro_f1().to_bits(), "{class_count} {step}");
                }
            }
        }
    }
}
