//! The losses and the objective of each fold by epoch.

use std::ops::Range;

use fivefold_common::progress::EpochReport;
use maud::{Markup, html};

use crate::FoldEpochs;
use crate::chart::{Axes, DrawError, INK, figure, line, plane, series_colour, stroke};

/// Epochs with values.
type Points = Vec<(f64, f64)>;

/// Charts of both losses and of the objective; nothing without an epoch.
pub(crate) fn learning_curves(folds: &[FoldEpochs]) -> Result<Markup, DrawError> {
    let Some(objective) = folds.iter().find(|fold| !fold.epochs.is_empty()).map(|fold| fold.objective) else {
        return Ok(html! {});
    };
    let title = format!("Validation {}", objective.title());
    Ok(html! {
        div.pair {
            (curves(folds, "Training loss", |epoch| Some(epoch.metrics.train_loss))?)
            (curves(folds, "Validation loss", |epoch| Some(epoch.metrics.valid_loss))?)
            (curves(folds, &title, |epoch| objective.value(&epoch.metrics))?)
        }
    })
}

fn curves(folds: &[FoldEpochs], title: &str, value: impl Fn(&EpochReport) -> Option<f64>) -> Result<Markup, DrawError> {
    let point = |epoch: &EpochReport| {
        let value = value(epoch).filter(|value| value.is_finite())?;
        Some((f64::from(epoch.metrics.epoch + 1), value))
    };
    let series: Vec<Points> = folds.iter().map(|fold| fold.epochs.iter().filter_map(point).collect()).collect();
    let (x, y) = ranges(&series);
    let chart = plane(&Axes { x_title: "epoch", y_title: title, x, y }, |chart| {
        for (place, points) in series.iter().enumerate() {
            line(chart, points.iter().copied(), stroke(series_colour(place), 1))?;
        }
        line(chart, mean(&series), stroke(INK, 2))
    })?;
    let mut keys: Vec<_> =
        folds.iter().enumerate().map(|(place, fold)| (series_colour(place), format!("fold {}", fold.fold))).collect();
    keys.push((INK, "mean".to_owned()));
    Ok(figure(title, "The mean is of the epochs that all folds have.", &keys, &chart))
}

/// The mean of the epochs that all folds with epochs have.
fn mean(series: &[Points]) -> Points {
    let trained: Vec<&Points> = series.iter().filter(|points| !points.is_empty()).collect();
    let Some((first, others)) = trained.split_first() else { return Vec::new() };
    let mut mean = Vec::new();
    for &(epoch, value) in *first {
        let of_others: Option<Vec<f64>> = others
            .iter()
            .map(|points| points.iter().find(|(other, _)| *other == epoch).map(|(_, value)| *value))
            .collect();
        if let Some(of_others) = of_others {
            mean.push((epoch, (value + of_others.iter().sum::<f64>()) / trained.len() as f64));
        }
    }
    mean
}

/// The ranges of the axes, with some room around the values.
fn ranges(series: &[Points]) -> (Range<f64>, Range<f64>) {
    let points = || series.iter().flatten();
    let last = points().map(|(epoch, _)| *epoch).fold(2.0, f64::max);
    let lowest = points().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let highest = points().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    if lowest > highest {
        return (1.0..last, 0.0..1.0);
    }
    let room = ((highest - lowest) * 0.05).max(1e-3);
    (1.0..last, lowest - room..highest + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_the_epochs_that_all_folds_have() {
        let series = [vec![(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)], vec![(1.0, 4.0), (2.0, 6.0)], Vec::new()];
        assert_eq!(mean(&series), [(1.0, 3.0), (2.0, 5.0)]);
        assert_eq!(ranges(&series).0, 1.0..3.0);
        assert_eq!(ranges(&[Vec::new()]), (1.0..2.0, 0.0..1.0));
    }
}
