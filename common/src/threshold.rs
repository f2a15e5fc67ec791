//! The threshold for all labels that maximises macro F1 over a set of scores.
//!
//! The labels of a row are those with `score > threshold`. With [`EmptyRows::Argmax`], a row without such a label gets the
//! label of its highest score, in the fit as in the submission. This label is also above every threshold below the row's
//! maximum, so the rule is the same as "scores above the threshold, and always the argmax", on which the sweep is based.
//!
//! Scores are f32 and are compared as f64. Thresholds are f64 and must not be rounded to f32: a threshold may lie between
//! two neighbouring f32.

use std::slice::ChunksExact;

use crate::classes::MOST_CLASSES;
use crate::labels::Labels;
use crate::macro_f1::{ClassCounts, ClassTally, MacroF1, RunningTally, labels_where};
use crate::scores::is_probability;
use crate::words::words;

words! {
    /// The prediction for a row without a score above the threshold.
    #[derive(Default)]
    pub enum EmptyRows, "empty_rows" {
        /// The label of its highest score; the lowest such label if several are equal.
        #[default]
        Argmax,
        /// No label.
        Leave,
    }
}

/// Scores for which no threshold can be fitted or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// No rows.
    #[error("there are no rows to fit a threshold on")]
    NoRows,
    /// Different numbers of rows of scores and targets.
    #[error("{scores} scores do not fit {rows} rows of {class_count} classes")]
    Shape {
        /// The number of scores.
        scores: usize,
        /// The number of targets.
        rows: usize,
        /// The number of classes.
        class_count: usize,
    },
    /// A score out of range.
    #[error("row {row}, label {label}: a score must be in 0..=1, but is {score}")]
    Score {
        /// The row, counted from 1.
        row: usize,
        /// The label, from 0.
        label: usize,
        /// The score.
        score: f32,
    },
}

/// The best threshold of a set of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdFit {
    /// The threshold, in 0..=1: the middle of the best interval.
    pub threshold: f64,
    /// The macro F1 at the threshold on the rows of the fit, in 0..=1.
    pub macro_f1: f64,
    /// The lower end of the best interval: every threshold in `lower..upper` has the same macro F1.
    pub lower: f64,
    /// The upper end of the best interval, which is not part of it unless it is 1 or equals `lower`.
    pub upper: f64,
}

/// The labels of one row at a threshold. `scores` has one score per class.
pub fn predict<S: Copy + Into<f64>>(scores: &[S], threshold: f64, empty_rows: EmptyRows) -> Labels {
    let above = labels_where(scores.len(), |class| scores[usize::from(class)].into() > threshold);
    if above.is_empty() && empty_rows == EmptyRows::Argmax {
        let best = argmax(scores);
        return labels_where(scores.len(), |class| usize::from(class) == best);
    }
    above
}

/// The lowest label of those with the highest score.
pub(crate) fn argmax<S: Copy + Into<f64>>(scores: &[S]) -> usize {
    let mut best = 0;
    for class in 1..scores.len() {
        if scores[class].into() > scores[best].into() {
            best = class;
        }
    }
    best
}

/// Macro F1 of `scores` (row-major `[rows, class_count]`, each in 0..=1) against `targets` (`[rows]`) at one threshold.
///
/// # Errors
/// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
pub fn macro_f1_at(
    scores: &[f32],
    class_count: usize,
    targets: &[Labels],
    threshold: f64,
    empty_rows: EmptyRows,
) -> Result<MacroF1, ThresholdError> {
    let mut tally = ClassTally::new(class_count);
    for (row, target) in checked_rows(scores, class_count, targets)?.zip(targets) {
        tally.add(target, &predict(row, threshold, empty_rows));
    }
    Ok(MacroF1::from(&tally))
}

/// The threshold that maximises macro F1 of `scores` (row-major `[rows, class_count]`, each in 0..=1) against `targets`
/// (`[rows]`).
///
/// The maximum is exact: all thresholds in 0..=1 are compared, by integer counts, in `O(n log n)` for `n` scores. Thresholds
/// between two neighbouring scores give the same predictions, and neighbouring intervals with the same macro F1 are one
/// interval. The result is the middle of the best interval: of several equally good intervals the widest, and of several
/// equally wide ones the lowest.
///
/// # Errors
/// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
pub fn fit_threshold(
    scores: &[f32],
    class_count: usize,
    targets: &[Labels],
    empty_rows: EmptyRows,
) -> Result<ThresholdFit, ThresholdError> {
    Ok(Sweep::new(scores, class_count, targets, empty_rows)?.fit())
}

/// Macro F1 at each of `thresholds`, in their order. The other arguments are those of [`fit_threshold`].
///
/// # Errors
/// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
pub fn macro_f1_curve(
    scores: &[f32],
    class_count: usize,
    targets: &[Labels],
    thresholds: &[f64],
    empty_rows: EmptyRows,
) -> Result<Vec<f64>, ThresholdError> {
    Ok(Sweep::new(scores, class_count, targets, empty_rows)?.curve(thresholds))
}

/// The rows of a score matrix, checked.
pub(crate) fn checked_rows<'a>(
    scores: &'a [f32],
    class_count: usize,
    targets: &[Labels],
) -> Result<ChunksExact<'a, f32>, ThresholdError> {
    let rows = targets.len();
    if !(1..=MOST_CLASSES).contains(&class_count) || rows.checked_mul(class_count) != Some(scores.len()) {
        return Err(ThresholdError::Shape { scores: scores.len(), rows, class_count });
    }
    if rows == 0 {
        return Err(ThresholdError::NoRows);
    }
    if let Some(index) = scores.iter().position(|score| !is_probability(*score)) {
        let (row, label) = (index / class_count + 1, index % class_count);
        return Err(ThresholdError::Score { row, label, score: scores[index] });
    }
    Ok(scores.chunks_exact(class_count))
}

/// The pairs of score and label that a falling threshold adds to the predictions, in order, and the initial counts.
pub(crate) struct Sweep {
    /// In ascending order; the sweep takes them from the end.
    steps: Vec<Step>,
    /// The counts at a threshold of 1.
    start: ClassTally,
}

/// The bits of a score, then its label, then whether the label is true. The order of these numbers is that of the scores,
/// because the bits of non-negative floats have the order of the floats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step(u64);

impl Step {
    fn new(score: f32, class: u16, is_true: bool) -> Step {
        Step(u64::from(score.to_bits()) << 32 | u64::from(class) << 1 | u64::from(is_true))
    }

    fn score(self) -> f64 {
        f64::from(f32::from_bits((self.0 >> 32) as u32))
    }

    fn class(self) -> usize {
        (self.0 as u32 >> 1) as usize
    }

    fn apply(self, counts: &mut ClassCounts) {
        counts.predicted += 1;
        counts.true_positives += self.0 & 1;
    }
}

impl Sweep {
    /// Arguments and errors as in [`fit_threshold`].
    pub(crate) fn new(
        scores: &[f32],
        class_count: usize,
        targets: &[Labels],
        empty_rows: EmptyRows,
    ) -> Result<Sweep, ThresholdError> {
        let rows = checked_rows(scores, class_count, targets)?;
        let mut steps = Vec::with_capacity(scores.len());
        let mut start = ClassTally::new(class_count);
        for (row, target) in rows.zip(targets) {
            let always = match empty_rows {
                EmptyRows::Argmax => {
                    let best = argmax(row);
                    labels_where(class_count, |class| usize::from(class) == best)
                }
                EmptyRows::Leave => Labels::default(),
            };
            start.add(target, &always);
            for (class, score) in (0_u16..).zip(row) {
                // A score of 0 is above no threshold, and a label that is always predicted is never added.
                if *score > 0.0 && !always.contains(class) {
                    steps.push(Step::new(*score, class, target.contains(class)));
                }
            }
        }
        steps.sort_unstable();
        Ok(Sweep { steps, start })
    }

    /// See [`fit_threshold`].
    pub(crate) fn fit(&self) -> ThresholdFit {
        let mut tally = RunningTally::new(self.start.clone());
        let mut waiting = self.steps.as_slice();
        let mut upper = 1.0;
        let mut best: Option<Interval> = None;
        let mut current: Option<Interval> = None;
        loop {
            let lower = waiting.last().map_or(0.0, |step| step.score());
            let macro_f1 = tally.macro_f1();
            current = Some(match current {
                Some(interval) if interval.macro_f1 == macro_f1 => Interval { lower, ..interval },
                finished => {
                    best = better(best, finished);
                    Interval { macro_f1, lower, upper }
                }
            });
            if waiting.is_empty() {
                break;
            }
            while let Some((step, rest)) = waiting.split_last().filter(|(step, _)| step.score() == lower) {
                step.apply(tally.counts_mut(step.class()));
                waiting = rest;
            }
            upper = lower;
        }
        let Interval { macro_f1, lower, upper } = better(best, current).unwrap_or_default();
        let middle = lower + (upper - lower) / 2.0;
        // If the middle is rounded to the upper end, the lower end is still in the interval.
        let threshold = if middle < upper { middle } else { lower };
        ThresholdFit { threshold, macro_f1, lower, upper }
    }

    /// See [`macro_f1_curve`].
    pub(crate) fn curve(&self, thresholds: &[f64]) -> Vec<f64> {
        let mut falling: Vec<usize> = (0..thresholds.len()).collect();
        falling.sort_by(|a, b| thresholds[*b].total_cmp(&thresholds[*a]));
        let mut tally = self.start.clone();
        let mut waiting = self.steps.as_slice();
        let mut values = vec![0.0; thresholds.len()];
        for index in falling {
            while let Some((step, rest)) = waiting.split_last().filter(|(step, _)| step.score() > thresholds[index]) {
                step.apply(&mut tally.classes[step.class()]);
                waiting = rest;
            }
            values[index] = tally.macro_f1();
        }
        values
    }
}

/// An interval of thresholds with the same macro F1.
#[derive(Clone, Copy, Default)]
struct Interval {
    macro_f1: f64,
    lower: f64,
    upper: f64,
}

/// The better of two intervals, where `candidate` is the lower one.
fn better(best: Option<Interval>, candidate: Option<Interval>) -> Option<Interval> {
    let (Some(a), Some(b)) = (best, candidate) else { return candidate.or(best) };
    let candidate_wins =
        b.macro_f1 > a.macro_f1 || (b.macro_f1 == a.macro_f1 && b.upper - b.lower >= a.upper - a.lower);
    if candidate_wins { candidate } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LABEL_COUNT;

    /// Rows that score only the first labels; the others are 0.
    fn matrix(rows: &[&[f32]]) -> Vec<f32> {
        let mut scores = vec![0.0; rows.len() * LABEL_COUNT];
        for (row, values) in rows.iter().enumerate() {
            scores[row * LABEL_COUNT..][..values.len()].copy_from_slice(values);
        }
        scores
    }

    fn labels(text: &[&str]) -> Vec<Labels> {
        text.iter().map(|labels| labels.parse().unwrap()).collect()
    }

    #[test]
    fn the_middle_of_the_best_gap() {
        let scores = matrix(&[&[0.75], &[0.5], &[0.25]]);
        let fit = fit_threshold(&scores, LABEL_COUNT, &labels(&["0", "0", "1"]), EmptyRows::Leave).unwrap();
        assert_eq!((fit.threshold, fit.lower, fit.upper), (0.375, 0.25, 0.5));
        assert_eq!(fit.macro_f1, 1.0 / 28.0);
    }

    #[test]
    fn neighbouring_intervals_with_the_same_f1_are_one() {
        // No row has label 2: its score at 0.5 changes nothing.
        let scores = matrix(&[&[0.75, 0.0, 0.5], &[0.25]]);
        let fit = fit_threshold(&scores, LABEL_COUNT, &labels(&["0", ""]), EmptyRows::Leave).unwrap();
        assert_eq!((fit.lower, fit.upper, fit.threshold), (0.25, 0.75, 0.5));
    }

    #[test]
    fn of_equally_good_intervals_the_widest_then_the_lowest() {
        // F1 of label 0 is 2/3 with one of one, 1/2 with one of two, 2/3 with two of four.
        let targets = labels(&["0", "", "", "0"]);
        let wide_above = matrix(&[&[0.875], &[0.5], &[0.375], &[0.25]]);
        let fit = fit_threshold(&wide_above, LABEL_COUNT, &targets, EmptyRows::Leave).unwrap();
        assert_eq!((fit.lower, fit.upper), (0.5, 0.875));
        let equal = matrix(&[&[0.75], &[0.5], &[0.375], &[0.25]]);
        let fit = fit_threshold(&equal, LABEL_COUNT, &targets, EmptyRows::Leave).unwrap();
        assert_eq!((fit.lower, fit.upper), (0.0, 0.25));
    }

    #[test]
    fn neighbouring_floats_are_separated() {
        let low = 0.3_f32;
        let high = f32::from_bits(low.to_bits() + 1);
        let fit =
            fit_threshold(&matrix(&[&[high], &[low]]), LABEL_COUNT, &labels(&["0", ""]), EmptyRows::Leave).unwrap();
        assert!(f64::from(high) > fit.threshold && f64::from(low) <= fit.threshold);
        assert_eq!(fit.macro_f1, 1.0 / 28.0);
    }

    #[test]
    fn the_ends_of_the_range() {
        // Each row's only score is its highest, which is always predicted: every threshold is the same.
        let fit =
            fit_threshold(&matrix(&[&[1.0, 0.0], &[0.5, 0.0]]), LABEL_COUNT, &labels(&["", "0"]), EmptyRows::Argmax)
                .unwrap();
        assert_eq!((fit.lower, fit.upper, fit.threshold), (0.0, 1.0, 0.5));
        // Only a threshold of 1 keeps the second row from label 1.
        let scores = matrix(&[&[0.75, 1.0], &[1.0, 1.0]]);
        let fit = fit_threshold(&scores, LABEL_COUNT, &labels(&["1", "0"]), EmptyRows::Argmax).unwrap();
        assert_eq!((fit.lower, fit.upper, fit.threshold), (1.0, 1.0, 1.0));
        assert_eq!(fit.macro_f1, 2.0 / 28.0);
        // All scores 0: every threshold is the same.
        let fit = fit_threshold(&matrix(&[&[0.0]]), LABEL_COUNT, &labels(&["0"]), EmptyRows::Leave).unwrap();
        assert_eq!((fit.threshold, fit.macro_f1), (0.5, 0.0));
    }

    #[test]
    fn an_empty_row_gets_the_first_of_its_highest() {
        let mut scores = [0.1_f32; LABEL_COUNT];
        (scores[4], scores[9]) = (0.2, 0.2);
        assert_eq!(predict(&scores, 0.5, EmptyRows::Argmax).to_string(), "4");
        assert_eq!(predict(&scores, 0.15, EmptyRows::Argmax).to_string(), "4 9");
        assert_eq!(predict(&scores, 0.5, EmptyRows::Leave).to_string(), "");
        assert_eq!(predict(&scores, f64::from(0.2_f32), EmptyRows::Leave).to_string(), "");
    }

    #[test]
    fn invalid_scores_are_refused() {
        let targets = labels(&["0", "1"]);
        for wrong in [f32::NAN, -0.1, 1.5, f32::INFINITY] {
            let mut scores = vec![0.5; 2 * LABEL_COUNT];
            scores[LABEL_COUNT + 3] = wrong;
            let error = fit_threshold(&scores, LABEL_COUNT, &targets, EmptyRows::Argmax).unwrap_err();
            assert!(error.to_string().starts_with("row 2, label 3: "), "{error}");
            assert!(macro_f1_at(&scores, LABEL_COUNT, &targets, 0.5, EmptyRows::Leave).is_err());
        }
        assert_eq!(fit_threshold(&[], LABEL_COUNT, &[], EmptyRows::Leave), Err(ThresholdError::NoRows));
        let error = fit_threshold(&[0.5; 29], LABEL_COUNT, &targets[..1], EmptyRows::Leave);
        assert_eq!(error, Err(ThresholdError::Shape { scores: 29, rows: 1, class_count: 28 }));
    }

    #[test]
    fn words() {
        for mode in [EmptyRows::Argmax, EmptyRows::Leave] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
        assert!("Argmax".parse::<EmptyRows>().is_err());
    }
}
