//! Macro F1 over the 28 labels, by scikit-learn's definition: `f1_score(average="macro", zero_division=0)`.

use serde::{Deserialize, Serialize};

use crate::labels::{LABEL_COUNT, Labels};

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
    /// The mean of the 28 classes' F1, in 0..=1. A class that is in no target and no prediction counts as 0.
    pub macro_f1: f64,
    /// One entry per label, in label order.
    pub per_class: [ClassF1; LABEL_COUNT],
}

impl From<&ClassTally> for MacroF1 {
    fn from(tally: &ClassTally) -> Self {
        MacroF1 { macro_f1: tally.macro_f1(), per_class: tally.classes.map(ClassF1::from) }
    }
}

/// Counts of all 28 classes, filled one row at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassTally {
    /// One entry per label, in label order.
    pub classes: [ClassCounts; LABEL_COUNT],
}

impl ClassTally {
    /// Counts one row.
    pub fn add(&mut self, target: Labels, predicted: Labels) {
        for (class, counts) in (0_u8..).zip(&mut self.classes) {
            let is_true = target.contains(class);
            let is_predicted = predicted.contains(class);
            counts.support += u64::from(is_true);
            counts.predicted += u64::from(is_predicted);
            counts.true_positives += u64::from(is_true && is_predicted);
        }
    }

    /// The mean of the classes' F1. It depends on the counts alone: equal counts give equal bits.
    pub fn macro_f1(&self) -> f64 {
        self.classes.iter().map(|counts| counts.f1()).sum::<f64>() / LABEL_COUNT as f64
    }
}

/// Macro F1 of `predictions` against `targets`, row by row.
///
/// Both slices must have the same length; extra rows of the longer one are ignored.
pub fn macro_f1(targets: &[Labels], predictions: &[Labels]) -> MacroF1 {
    debug_assert_eq!(targets.len(), predictions.len());
    let mut tally = ClassTally::default();
    for (target, predicted) in targets.iter().zip(predictions) {
        tally.add(*target, *predicted);
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
pub fn best_constant_prediction(targets: &[Labels]) -> BestConstant {
    let labels = labels_where(|class| targets.iter().any(|target| target.contains(class)));
    let macro_f1 = macro_f1(targets, &vec![labels; targets.len()]).macro_f1;
    BestConstant { labels, macro_f1 }
}

/// The set of labels for which `holds` is true.
pub(crate) fn labels_where(holds: impl Fn(u8) -> bool) -> Labels {
    let indices = (0_u8..).take(LABEL_COUNT).filter(|class| holds(*class));
    Labels::from_indices(indices).expect("each label below 28 is given once")
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
        let result = macro_f1(&targets, &predictions);
        let class = result.per_class[0];
        assert_eq!((class.true_positives, class.predicted, class.support), (2, 3, 2));
        assert_eq!((class.precision, class.recall, class.f1), (2.0 / 3.0, 1.0, 0.8));
        // Label 1 missed and wrongly given, label 2 never predicted, label 3 in no row: all 0.
        assert!(result.per_class[1..].iter().all(|class| class.f1 == 0.0 && class.precision == 0.0));
        assert_eq!(result.macro_f1, 0.8 / 28.0);
        assert_eq!(macro_f1(&[], &[]).macro_f1, 0.0);
    }

    #[test]
    fn no_constant_beats_the_best() {
        let targets = labels(&["0 1", "0", "0 3", "", "27"]);
        let best = best_constant_prediction(&targets);
        assert_eq!(best.labels, "0 1 3 27".parse().unwrap());
        let held = [0, 1, 2, 3, 27];
        for bits in 0..1_u32 << held.len() {
            let chosen = held.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, class)| *class);
            let constant = Labels::from_indices(chosen).unwrap();
            assert!(macro_f1(&targets, &vec![constant; targets.len()]).macro_f1 <= best.macro_f1);
        }
        let nobody = best_constant_prediction(&labels(&["", ""]));
        assert!(nobody.labels.is_empty() && nobody.macro_f1 == 0.0);
    }
}
