//! The folds beside each other.

use fivefold_common::report::{FoldReport, Report};
use fivefold_common::spec::Task;
use maud::{Markup, html};
use plotters::prelude::Circle;
use plotters::style::Color as _;

use crate::chart::{Axes, BLUE, DrawError, FAINT, ORANGE, figure, line, number, plane, stroke};

/// Macro F1 of each fold, as a chart and a table, with mean and standard deviation.
pub(crate) fn fold_spread(report: &Report) -> Result<Markup, DrawError> {
    let folds = &report.per_fold;
    let scores: Vec<f64> = folds.iter().map(|fold| fold.macro_f1).collect();
    let best = folds.iter().filter_map(|fold| fold.best_macro_f1);
    let top = best.chain(scores.iter().copied()).fold(report.macro_f1, f64::max).max(0.05) * 1.1;
    let last = folds.last().map_or(0.0, |fold| f64::from(fold.fold.0));
    let axes = Axes { x_title: "fold", y_title: "macro F1", x: -0.5..last + 0.5, y: 0.0..top.min(1.0) };
    let place = |fold: &FoldReport| f64::from(fold.fold.0);
    let chart = plane(&axes, |chart| {
        line(chart, [(axes.x.start, report.macro_f1), (axes.x.end, report.macro_f1)], stroke(FAINT, 2))?;
        let own = folds.iter().filter_map(|fold| Some((place(fold), fold.best_macro_f1?)));
        chart.draw_series(own.map(|point| Circle::new(point, 6, stroke(ORANGE, 2))))?;
        chart.draw_series(folds.iter().map(|fold| Circle::new((place(fold), fold.macro_f1), 5, BLUE.filled())))?;
        Ok(())
    })?;
    let mut keys = vec![(BLUE, "by the report's rule".to_owned()), (FAINT, "all folds together".to_owned())];
    if report.task == Task::Multilabel {
        keys.push((ORANGE, "at the fold's own best threshold".to_owned()));
    }
    let (mean, deviation) = mean_and_deviation(&scores);
    let about = format!("Mean {mean:.4}, standard deviation {}.", number(deviation, 4));
    Ok(html! { (figure("Macro F1 of the folds", &about, &keys, &chart)) (table(report)) })
}

/// The mean, and the standard deviation of a sample; none of a single value.
fn mean_and_deviation(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()))
}

fn table(report: &Report) -> Markup {
    let has_thresholds = report.task == Task::Multilabel;
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "Fold" } th scope="col" { "Rows" } th scope="col" { "Macro F1" }
                        @if has_thresholds { th scope="col" { "Own best F1" } th scope="col" { "Own threshold" } }
                    }
                }
                tbody {
                    @for fold in &report.per_fold {
                        tr {
                            th scope="row" { (fold.fold) } td { (fold.rows) } td { (format!("{:.4}", fold.macro_f1)) }
                            @if has_thresholds { td { (number(fold.best_macro_f1, 4)) } td { (number(fold.best_threshold, 4)) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), (2.0, Some(1.0)));
        assert_eq!(mean_and_deviation(&[1.0]), (1.0, None));
    }
}
