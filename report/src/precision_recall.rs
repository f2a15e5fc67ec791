//! Precision over recall.

use fivefold_common::report::Report;
use maud::{Markup, html};

use crate::chart::{Axes, BLUE, DrawError, FAINT, figure, line, number, plane, stroke};
use crate::rows::Rows;

/// The thresholds at which a curve is drawn: 0, 1/1000, …, 999/1000.
const THRESHOLDS: usize = 1000;
/// The labels whose own curves are drawn, those with most rows.
const LABELS: usize = 40;

/// How many scores are above each threshold.
struct ScoreCounts {
    with_label: Vec<u64>,
    without_label: Vec<u64>,
}

impl ScoreCounts {
    fn new() -> Self {
        Self { with_label: vec![0; THRESHOLDS], without_label: vec![0; THRESHOLDS] }
    }

    fn add(&mut self, score: f32, has_label: bool) {
        let counts = if has_label { &mut self.with_label } else { &mut self.without_label };
        // The highest threshold below the score.
        let threshold = ((f64::from(score) * THRESHOLDS as f64).ceil() as usize).clamp(1, THRESHOLDS) - 1;
        counts[threshold] += 1;
    }

    /// `(recall, precision)` at falling thresholds; none without a row that has the label.
    fn curve(&self) -> Vec<(f64, f64)> {
        let support: u64 = self.with_label.iter().sum();
        let (mut hits, mut predicted) = (0, 0);
        let mut curve: Vec<(f64, f64)> = Vec::new();
        for threshold in (0..THRESHOLDS).rev() {
            hits += self.with_label[threshold];
            predicted += self.with_label[threshold] + self.without_label[threshold];
            if predicted == 0 || support == 0 {
                continue;
            }
            let point = (hits as f64 / support as f64, hits as f64 / predicted as f64);
            if curve.last() != Some(&point) {
                curve.push(point);
            }
        }
        curve
    }
}

/// The curve of all labels together, and those of the most frequent ones; nothing if no row has a label.
pub(crate) fn precision_recall(report: &Report, rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let labels = rows.most_frequent(LABELS);
    let mut all = ScoreCounts::new();
    let mut of_label: Vec<ScoreCounts> = labels.iter().map(|_| ScoreCounts::new()).collect();
    for row in &rows.rows {
        for (class, &score) in (0_u16..).zip(&row.scored.scores) {
            let has_label = row.scored.target.contains(class);
            all.add(score, has_label);
            if let Ok(place) = labels.binary_search(&class) {
                of_label[place].add(score, has_label);
            }
        }
    }
    let curve = all.curve();
    if curve.is_empty() {
        return Ok(html! {});
    }
    let axes = Axes { x_title: "recall", y_title: "precision", x: 0.0..1.0, y: 0.0..1.02 };
    let chart = plane(&axes, |chart| {
        for counts in &of_label {
            line(chart, counts.curve(), stroke(FAINT, 1))?;
        }
        line(chart, curve, stroke(BLUE, 3))
    })?;
    let map = report.metrics.as_ref().and_then(|metrics| metrics.map);
    let keys = [(BLUE, "all labels together".to_owned()), (FAINT, format!("each of {} labels", labels.len()))];
    let about = format!("At 1,000 thresholds. Mean average precision of the labels: {}.", number(map, 4));
    Ok(figure("Precision and recall", &about, &keys, &chart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_counts_the_scores_above_each_threshold() {
        let mut counts = ScoreCounts::new();
        for (score, has_label) in [(0.9, true), (0.8, false), (0.4, true), (0.0, false), (1.0, true)] {
            counts.add(score, has_label);
        }
        let third = 1.0 / 3.0;
        assert_eq!(
            counts.curve(),
            [(third, 1.0), (2.0 * third, 1.0), (2.0 * third, 2.0 * third), (1.0, 0.75), (1.0, 0.6)]
        );
        assert!(ScoreCounts::new().curve().is_empty());
    }

    #[test]
    fn a_score_at_a_threshold_is_not_above_it() {
        let mut counts = ScoreCounts::new();
        counts.add(0.5, true);
        assert_eq!(counts.with_label.iter().position(|count| *count == 1), Some(499));
    }
}
