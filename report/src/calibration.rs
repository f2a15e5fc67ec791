//! Calibration: the share of labels that are right, by their score.

use maud::{Markup, html};
use plotters::prelude::Circle;
use plotters::style::Color as _;

use crate::chart::{Axes, BLUE, DrawError, FAINT, figure, line, plane, stroke};
use crate::rows::Rows;

const BINS: usize = 10;

/// The scores of an interval of a tenth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    scores: u64,
    sum_of_scores: f64,
    with_label: u64,
}

impl Bin {
    fn mean_score(self) -> f64 {
        self.sum_of_scores / self.scores as f64
    }

    fn share(self) -> f64 {
        self.with_label as f64 / self.scores as f64
    }
}

fn bins(scores: impl Iterator<Item = (f32, bool)>) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (score, has_label) in scores {
        let bin = &mut bins[((score * BINS as f32) as usize).min(BINS - 1)];
        bin.scores += 1;
        bin.sum_of_scores += f64::from(score);
        bin.with_label += u64::from(has_label);
    }
    bins.retain(|bin| bin.scores > 0);
    bins
}

/// The expected calibration error: the mean distance between score and share, weighted by the number of scores. By Naeini et
/// al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with bins of equal width.
fn calibration_error(bins: &[Bin]) -> f64 {
    let all: u64 = bins.iter().map(|bin| bin.scores).sum();
    let distance = |bin: &Bin| (bin.mean_score() - bin.share()).abs() * bin.scores as f64;
    bins.iter().map(distance).sum::<f64>() / all.max(1) as f64
}

/// The share of labels that are right, over all labels and rows.
pub(crate) fn calibration(rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let scores = rows.rows.iter().flat_map(|row| {
        let target = &row.scored.target;
        (0_u16..).zip(&row.scored.scores).map(move |(class, score)| (*score, target.contains(class)))
    });
    let bins = bins(scores);
    let axes = Axes { x_title: "mean score", y_title: "share that has the label", x: 0.0..1.0, y: 0.0..1.0 };
    let chart = plane(&axes, |chart| {
        line(chart, [(0.0, 0.0), (1.0, 1.0)], stroke(FAINT, 1))?;
        let points = || bins.iter().map(|bin| (bin.mean_score(), bin.share()));
        line(chart, points(), stroke(BLUE, 2))?;
        chart.draw_series(points().map(|point| Circle::new(point, 4, BLUE.filled())))?;
        Ok(())
    })?;
    let about = format!(
        "Scores in tenths, all labels together. Below the diagonal, scores are too high. Expected calibration error: {:.4}.",
        calibration_error(&bins)
    );
    let table = html! {
        details {
            summary { "Number of scores" }
            table {
                thead { tr { th scope="col" { "Mean score" } th scope="col" { "Share" } th scope="col" { "Scores" } } }
                tbody {
                    @for bin in &bins {
                        tr { td { (format!("{:.3}", bin.mean_score())) } td { (format!("{:.3}", bin.share())) } td { (bin.scores) } }
                    }
                }
            }
        }
    };
    Ok(html! { (figure("Calibration", &about, &[], &chart)) (table) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_weighted_distance() {
        let scores = [(0.05, false), (0.05, false), (1.0, true), (0.95, false)];
        let bins = bins(scores.into_iter());
        assert_eq!(bins.iter().map(|bin| (bin.scores, bin.with_label)).collect::<Vec<_>>(), [(2, 0), (2, 1)]);
        let expected = (0.05_f32 as f64 * 2.0 + (1.0 + f64::from(0.95_f32) - 1.0)) / 4.0;
        assert!((calibration_error(&bins) - expected).abs() < 1e-12);
        assert_eq!(calibration_error(&[]), 0.0);
    }
}
