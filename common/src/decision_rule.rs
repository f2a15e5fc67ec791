//! The rule that turns the scores of a row into its labels, and its fit.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::macro_f1::labels_where;
use crate::metrics::PredictionTally;
use crate::spec::{JobSetSpec, Task, ThresholdRule};
use crate::threshold::{EmptyRows, ThresholdError, ThresholdFit, argmax, checked_rows, fit_threshold, predict};

/// What a spec says about the way from scores to labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DecisionSettings {
    /// How many classes a row has.
    pub task: Task,
    /// Where the threshold of multilabel scores comes from.
    pub threshold: ThresholdRule,
    /// The prediction for rows without a score above its threshold.
    pub empty_rows: EmptyRows,
}

impl From<&JobSetSpec> for DecisionSettings {
    fn from(spec: &JobSetSpec) -> DecisionSettings {
        DecisionSettings { task: spec.task, threshold: spec.threshold, empty_rows: spec.empty_rows }
    }
}

impl From<EmptyRows> for DecisionSettings {
    /// Multilabel, with one threshold for all classes.
    fn from(empty_rows: EmptyRows) -> DecisionSettings {
        DecisionSettings { empty_rows, ..DecisionSettings::default() }
    }
}

/// How scores become labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DecisionRule {
    /// The class of the highest score; the lowest such class if several are equal.
    Argmax,
    /// The classes that score above a threshold.
    Threshold {
        /// The threshold of all classes, in 0..=1.
        threshold: f64,
        /// The prediction for rows without such a class.
        empty_rows: EmptyRows,
    },
    /// The classes that score above a threshold of their own.
    PerClass {
        /// One threshold per class, each in 0..=1.
        thresholds: Vec<f64>,
        /// The prediction for rows without such a class.
        empty_rows: EmptyRows,
    },
}

impl DecisionRule {
    /// The rule that fits `scores` (row-major `[rows, class_count]`, each in 0..=1) and `targets` (`[rows]`) best, as far as the
    /// settings leave it open.
    ///
    /// # Errors
    /// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
    pub fn fit(
        settings: DecisionSettings,
        scores: &[f32],
        class_count: usize,
        targets: &[Labels],
    ) -> Result<DecisionRule, ThresholdError> {
        let DecisionSettings { task, threshold, empty_rows } = settings;
        Ok(match (task, threshold) {
            (Task::Multiclass, _) => DecisionRule::Argmax,
            (Task::Multilabel, ThresholdRule::Fixed(threshold)) => DecisionRule::Threshold { threshold, empty_rows },
            (Task::Multilabel, ThresholdRule::Global) => {
                let threshold = fit_threshold(scores, class_count, targets, empty_rows)?.threshold;
                DecisionRule::Threshold { threshold, empty_rows }
            }
            (Task::Multilabel, ThresholdRule::PerClass) => {
                let fits = fit_thresholds_per_class(scores, class_count, targets)?;
                DecisionRule::PerClass { thresholds: fits.iter().map(|fit| fit.threshold).collect(), empty_rows }
            }
        })
    }

    /// The labels of one row. `scores` has one score per class.
    pub fn labels<S: Copy + Into<f64>>(&self, scores: &[S]) -> Labels {
        match self {
            DecisionRule::Argmax => only_argmax(scores),
            DecisionRule::Threshold { threshold, empty_rows } => predict(scores, *threshold, *empty_rows),
            DecisionRule::PerClass { thresholds, empty_rows } => {
                let is_above = |class: u16| {
                    let class = usize::from(class);
                    thresholds.get(class).is_some_and(|threshold| scores[class].into() > *threshold)
                };
                let above = labels_where(scores.len(), is_above);
                match empty_rows {
                    EmptyRows::Argmax if above.is_empty() => only_argmax(scores),
                    EmptyRows::Argmax | EmptyRows::Leave => above,
                }
            }
        }
    }

    /// The threshold of all classes, if there is one.
    pub fn threshold(&self) -> Option<f64> {
        match self {
            DecisionRule::Threshold { threshold, .. } => Some(*threshold),
            DecisionRule::Argmax | DecisionRule::PerClass { .. } => None,
        }
    }

    /// The threshold of each class, if each has its own.
    pub fn thresholds_per_class(&self) -> Option<&[f64]> {
        match self {
            DecisionRule::PerClass { thresholds, .. } => Some(thresholds),
            DecisionRule::Argmax | DecisionRule::Threshold { .. } => None,
        }
    }

    /// The counts of the labels that `scores` (row-major `[rows, class_count]`) get, against `targets` (`[rows]`).
    ///
    /// # Errors
    /// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
    pub fn tally(
        &self,
        scores: &[f32],
        class_count: usize,
        targets: &[Labels],
    ) -> Result<PredictionTally, ThresholdError> {
        let mut tally = PredictionTally::new(class_count);
        for (row, target) in checked_rows(scores, class_count, targets)?.zip(targets) {
            tally.add(target, &self.labels(row));
        }
        Ok(tally)
    }
}

fn only_argmax<S: Copy + Into<f64>>(scores: &[S]) -> Labels {
    let best = argmax(scores);
    labels_where(scores.len(), |class| usize::from(class) == best)
}

/// The threshold of each class that maximises its F1: exact, and by the rules of [`fit_threshold`] where several are equally
/// good. Each class is fitted by itself, so the labels that empty rows get are not part of the fit.
///
/// # Errors
/// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
pub fn fit_thresholds_per_class(
    scores: &[f32],
    class_count: usize,
    targets: &[Labels],
) -> Result<Vec<ThresholdFit>, ThresholdError> {
    drop(checked_rows(scores, class_count, targets)?);
    (0_u16..)
        .take(class_count)
        .map(|class| {
            let column: Vec<f32> = scores.iter().skip(class.into()).step_by(class_count).copied().collect();
            let has_class = |target: &Labels| labels_where(1, |_| target.contains(class));
            let targets: Vec<Labels> = targets.iter().map(has_class).collect();
            fit_threshold(&column, 1, &targets, EmptyRows::Leave)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows of two classes: class 0 is best cut at 0.5, class 1 at 0.125.
    const SCORES: [f32; 6] = [0.75, 0.25, 0.25, 0.25, 0.25, 0.0];

    fn targets() -> Vec<Labels> {
        ["0 1", "1", ""].into_iter().map(|text| text.parse().unwrap()).collect()
    }

    fn fitted(task: Task, threshold: ThresholdRule, empty_rows: EmptyRows) -> DecisionRule {
        let settings = DecisionSettings { task, threshold, empty_rows };
        DecisionRule::fit(settings, &SCORES, 2, &targets()).unwrap()
    }

    fn labels(rule: &DecisionRule) -> Vec<String> {
        SCORES.chunks(2).map(|row| rule.labels(row).to_string()).collect()
    }

    #[test]
    fn each_class_has_the_threshold_of_its_best_f1() {
        let rule = fitted(Task::Multilabel, ThresholdRule::PerClass, EmptyRows::Leave);
        assert_eq!(rule.thresholds_per_class(), Some([0.5, 0.125].as_slice()));
        assert_eq!(labels(&rule), ["0 1", "1", ""]);
        let tally = rule.tally(&SCORES, 2, &targets()).unwrap();
        assert_eq!((tally.classes.macro_f1(), tally.accuracy()), (1.0, 1.0));
        let rule = fitted(Task::Multilabel, ThresholdRule::PerClass, EmptyRows::Argmax);
        assert_eq!(labels(&rule), ["0 1", "1", "0"]);
    }

    #[test]
    fn a_class_that_no_row_has_gets_the_middle_of_all_thresholds() {
        let fits = fit_thresholds_per_class(&[0.75, 0.5], 2, &["0".parse().unwrap()]).unwrap();
        assert_eq!((fits[0].threshold, fits[0].macro_f1), (0.375, 1.0));
        assert_eq!((fits[1].threshold, fits[1].macro_f1), (0.5, 0.0));
    }

    #[test]
    fn the_other_rules() {
        let rule = fitted(Task::Multiclass, ThresholdRule::Global, EmptyRows::Argmax);
        assert_eq!((&rule, labels(&rule)), (&DecisionRule::Argmax, ["0", "0", "0"].map(str::to_owned).to_vec()));
        let rule = fitted(Task::Multilabel, ThresholdRule::Fixed(0.15), EmptyRows::Leave);
        assert_eq!((rule.threshold(), labels(&rule)), (Some(0.15), ["0 1", "0 1", "0"].map(str::to_owned).to_vec()));
        let rule = fitted(Task::Multilabel, ThresholdRule::Global, EmptyRows::Leave);
        let fit = fit_threshold(&SCORES, 2, &targets(), EmptyRows::Leave).unwrap();
        assert_eq!(rule.threshold(), Some(fit.threshold));
    }
}
