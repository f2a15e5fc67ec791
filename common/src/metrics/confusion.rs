//! The confusion matrix of a multiclass prediction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;

/// A cell of a confusion matrix that has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionCell {
    /// The true class, from 0.
    pub target: u16,
    /// The predicted class, from 0.
    pub predicted: u16,
    /// The number of rows.
    pub rows: u64,
}

impl ConfusionCell {
    /// Whether the prediction is right.
    pub fn is_hit(self) -> bool {
        self.target == self.predicted
    }
}

/// The cells that have rows, in the order of their true and then their predicted class, as in `confusion_matrix`. The rows are
/// pairs of the true and the predicted labels; a row without exactly one of each counts nowhere.
pub fn confusion_matrix<'a>(rows: impl Iterator<Item = (&'a Labels, Labels)>) -> Vec<ConfusionCell> {
    let mut counts: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    for (target, predicted) in rows {
        if let (Some(target), Some(predicted)) = (only(target), only(&predicted)) {
            *counts.entry((target, predicted)).or_default() += 1;
        }
    }
    counts.into_iter().map(|((target, predicted), rows)| ConfusionCell { target, predicted, rows }).collect()
}

/// The cells of wrong predictions with most rows, at most `count`, in falling order.
pub fn largest_confusions(matrix: &[ConfusionCell], count: usize) -> Vec<ConfusionCell> {
    let mut wrong: Vec<ConfusionCell> = matrix.iter().copied().filter(|cell| !cell.is_hit()).collect();
    wrong.sort_by_key(|cell| std::cmp::Reverse(cell.rows));
    wrong.truncate(count);
    wrong
}

fn only(labels: &Labels) -> Option<u16> {
    if labels.len() == 1 { labels.iter().next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_counted_in_order() {
        let labels = |text: &str| text.parse::<Labels>().unwrap();
        let targets = ["1", "0", "1", "1", "0 1"].map(labels);
        let predicted = ["1", "1", "0", "1", "1"].map(labels);
        let cells = confusion_matrix(targets.iter().zip(predicted));
        let cell = |target, predicted, rows| ConfusionCell { target, predicted, rows };
        assert_eq!(cells, [cell(0, 1, 1), cell(1, 0, 1), cell(1, 1, 2)]);
        assert_eq!(largest_confusions(&cells, 1), [cell(0, 1, 1)]);
        assert_eq!(cells.iter().map(|cell| cell.is_hit()).collect::<Vec<_>>(), [false, false, true]);
    }
}
