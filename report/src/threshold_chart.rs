//! Macro F1 over the threshold.

use fivefold_common::report::Report;
use maud::{Markup, html};
use plotters::prelude::{Circle, Rectangle};
use plotters::style::Color as _;

use crate::chart::{Axes, BLUE, DrawError, FAINT, INK, ORANGE, figure, line, plane, stroke};

/// The curve with the chosen threshold and those of the cross-fit; nothing if there is no curve.
pub(crate) fn threshold_chart(report: &Report) -> Result<Markup, DrawError> {
    if report.curve.is_empty() {
        return Ok(html! {});
    }
    let top = report.curve.iter().map(|(_, f1)| *f1).fold(report.macro_f1, f64::max).max(0.05) * 1.05;
    let axes = Axes { x_title: "threshold", y_title: "macro F1", x: 0.0..1.0, y: 0.0..top.min(1.0) };
    let others = report
        .cross_fitted
        .as_ref()
        .map_or(Vec::new(), |fit| fit.thresholds.iter().filter_map(|of_fold| of_fold.threshold).collect::<Vec<f64>>());
    let chart = plane(&axes, |chart| {
        if let Some([lower, upper]) = report.threshold_interval {
            chart.draw_series([Rectangle::new([(lower, 0.0), (upper, axes.y.end)], ORANGE.mix(0.15).filled())])?;
        }
        for &threshold in &others {
            line(chart, [(threshold, 0.0), (threshold, axes.y.end)], stroke(FAINT, 1))?;
        }
        line(chart, report.curve.iter().copied(), stroke(BLUE, 2))?;
        if let Some(threshold) = report.threshold {
            line(chart, [(threshold, 0.0), (threshold, axes.y.end)], stroke(ORANGE, 1))?;
            chart.draw_series([Circle::new((threshold, report.macro_f1), 5, ORANGE.filled())])?;
        }
        Ok(())
    })?;
    let mut keys = vec![(BLUE, "one threshold for all labels".to_owned())];
    if let Some(threshold) = report.threshold {
        keys.push((ORANGE, format!("chosen: {threshold:.4}")));
    }
    if !others.is_empty() {
        keys.push((FAINT, "fitted on all folds but one".to_owned()));
    }
    if report.threshold.is_none() {
        keys.push((INK, "each label has its own, in the table of labels".to_owned()));
    }
    Ok(figure("Macro F1 by threshold", "A flat top means that the exact threshold matters little.", &keys, &chart))
}
