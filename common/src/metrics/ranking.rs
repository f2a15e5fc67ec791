//! How well the scores of a class rank the rows: the area under the ROC curve and the average precision.

use crate::labels::Labels;

/// How well the scores of one class rank the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// The area under the ROC curve, in 0..=1, as `roc_auc_score`: the chance that a row of the class scores higher than one
    /// that is not, where a tie counts as half.
    pub auroc: f64,
    /// The average precision, in 0..=1, as `average_precision_score`: the mean of the precision at each row of the class, where
    /// rows of the same score come together.
    pub average_precision: f64,
}

impl Ranking {
    /// The ranking by `scores`, none of them below 0, each with whether its row has the class. `None` if all rows have it, or
    /// none has: then one of the two figures is undefined.
    pub fn of(scores: impl Iterator<Item = (f32, bool)>) -> Option<Ranking> {
        // The bits of floats that are not below 0 have the order of the floats. Adding 0 turns -0 into 0.
        let mut rows: Vec<(u32, bool)> = scores.map(|(score, is_true)| ((score + 0.0).to_bits(), is_true)).collect();
        rows.sort_unstable_by_key(|&(bits, _)| std::cmp::Reverse(bits));
        let positives = rows.iter().filter(|(_, is_true)| *is_true).count() as u64;
        let negatives = rows.len() as u64 - positives;
        if positives == 0 || negatives == 0 {
            return None;
        }
        let (mut true_positives, mut false_positives) = (0_u64, 0_u64);
        // Twice the number of pairs in the right order: a tie counts half.
        let mut ordered_twice = 0_u64;
        let mut average_precision = 0.0;
        for tied in rows.chunk_by(|a, b| a.0 == b.0) {
            let tied_positives = tied.iter().filter(|(_, is_true)| *is_true).count() as u64;
            let tied_negatives = tied.len() as u64 - tied_positives;
            ordered_twice += tied_negatives * (2 * true_positives + tied_positives);
            true_positives += tied_positives;
            false_positives += tied_negatives;
            let precision = true_positives as f64 / (true_positives + false_positives) as f64;
            average_precision += tied_positives as f64 / positives as f64 * precision;
        }
        let auroc = ordered_twice as f64 / (2 * positives * negatives) as f64;
        Some(Ranking { auroc, average_precision })
    }
}

/// How well scores rank the rows, class by class.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingMetrics {
    /// One entry per class; `None` if all rows have the class, or none has.
    pub per_class: Vec<Option<Ranking>>,
}

impl RankingMetrics {
    /// The rankings by `scores` (row-major `[rows, class_count]`, each in 0..=1) for `targets` (`[rows]`).
    pub fn of(scores: &[f32], class_count: usize, targets: &[Labels]) -> RankingMetrics {
        debug_assert_eq!(scores.len(), class_count * targets.len());
        let of_class = |class: u16| {
            let column = scores.iter().skip(class.into()).step_by(class_count.max(1));
            Ranking::of(column.zip(targets).map(|(score, target)| (*score, target.contains(class))))
        };
        RankingMetrics { per_class: (0_u16..).take(class_count).map(of_class).collect() }
    }

    /// The mean area under the ROC curve of the classes that have one, in 0..=1.
    pub fn mean_auroc(&self) -> Option<f64> {
        self.mean(|ranking| ranking.auroc)
    }

    /// The mean average precision of the classes that have one, in 0..=1.
    pub fn map(&self) -> Option<f64> {
        self.mean(|ranking| ranking.average_precision)
    }

    /// The number of classes that are left out of the means.
    pub fn unranked(&self) -> usize {
        self.per_class.iter().filter(|ranking| ranking.is_none()).count()
    }

    fn mean(&self, value: fn(&Ranking) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.per_class.iter().flatten().map(value).collect();
        if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_hand() {
        let ranking = |rows: &[(f32, bool)]| Ranking::of(rows.iter().copied());
        let perfect = ranking(&[(0.9, true), (0.8, true), (0.1, false)]).unwrap();
        assert_eq!((perfect.auroc, perfect.average_precision), (1.0, 1.0));
        let tied = ranking(&[(0.5, true), (0.5, false), (0.5, false)]).unwrap();
        assert_eq!((tied.auroc, tied.average_precision), (0.5, 1.0 / 3.0));
        // Of 2 x 2 pairs, three are in order and one is a tie.
        let mixed = ranking(&[(0.9, true), (0.4, true), (0.4, false), (0.0, false)]).unwrap();
        assert_eq!((mixed.auroc, mixed.average_precision), (3.5 / 4.0, 0.5 + 0.5 * 2.0 / 3.0));
        assert_eq!(ranking(&[(0.9, true)]), None);
        assert_eq!(ranking(&[(0.9, false)]), None);
        assert_eq!(ranking(&[]), None);
    }

    #[test]
    fn classes_without_both_values_are_left_out() {
        let targets: Vec<Labels> = ["0 2", "2"].into_iter().map(|text| text.parse().unwrap()).collect();
        let metrics = RankingMetrics::of(&[0.75, 0.5, 0.5, 0.25, 0.5, 0.5], 3, &targets);
        assert_eq!((metrics.mean_auroc(), metrics.map(), metrics.unranked()), (Some(1.0), Some(1.0), 2));
        let nothing = RankingMetrics::of(&[0.5, 0.5], 2, &targets[..1]);
        assert_eq!((nothing.mean_auroc(), nothing.map(), nothing.unranked()), (None, None, 2));
    }
}
