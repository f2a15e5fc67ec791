//! A paired test of two predictions of the same images.

use crate::labels::Labels;
use crate::macro_f1::ClassTally;
use crate::randomness::{Purpose, Stream};

/// How often predictions are exchanged.
pub const ROUNDS: u64 = 2000;

/// An image with its true labels, and what either side predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedRow<'a> {
    /// The true labels.
    pub target: &'a Labels,
    /// The labels that each side predicts.
    pub predicted: [Labels; 2],
}

/// Whether a difference in macro F1 can be an accident.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedTest {
    /// The number of images.
    pub rows: u64,
    /// The number of images that the sides predict differently.
    pub differing_rows: u64,
    /// Macro F1 of each side on these images, in 0..=1.
    pub macro_f1: [f64; 2],
    /// The share of random exchanges that lead to a difference as large as this one, or a larger one, in either direction. It
    /// is at least 1/2001.
    pub p_value: f64,
}

/// The change of a class's counts where one side's prediction of a row is exchanged for the other one's.
#[derive(Clone, Copy)]
struct Change {
    class: u16,
    is_true: bool,
    /// 1 if the second side alone predicts the class, -1 if the first side alone does.
    step: i64,
}

/// Compares two predictions by approximate randomisation: in each of [`ROUNDS`] rounds the predictions of each image are
/// exchanged with a probability of one half (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; Yeh 2000, "More
/// accurate tests for the statistical significance of result differences"). Equal rows give an equal result.
pub fn paired_test(rows: &[PairedRow<'_>], class_count: usize) -> PairedTest {
    let mut tallies = [ClassTally::new(class_count), ClassTally::new(class_count)];
    let mut changes: Vec<Vec<Change>> = Vec::new();
    for row in rows {
        for (tally, predicted) in tallies.iter_mut().zip(&row.predicted) {
            tally.add(row.target, predicted);
        }
        if row.predicted[0] != row.predicted[1] {
            changes.push(changes_of(row, class_count));
        }
    }
    let macro_f1 = [tallies[0].macro_f1(), tallies[1].macro_f1()];
    let difference = (macro_f1[0] - macro_f1[1]).abs();
    let mut as_large = 0;
    for round in 0..ROUNDS {
        let mut exchanged = tallies.clone();
        let mut stream = Stream::new(0, 0, 0, Purpose::PairedTest, round);
        let mut bits = 0;
        for (place, changes) in changes.iter().enumerate() {
            if place % 64 == 0 {
                bits = stream.bits();
            }
            if bits >> (place % 64) & 1 == 1 {
                exchange(&mut exchanged, changes);
            }
        }
        // Sums of the same numbers in another order differ in their last bits.
        let is_as_large = (exchanged[0].macro_f1() - exchanged[1].macro_f1()).abs() >= difference - 1e-12;
        as_large += u64::from(is_as_large);
    }
    PairedTest {
        rows: rows.len() as u64,
        differing_rows: changes.len() as u64,
        macro_f1,
        p_value: (as_large + 1) as f64 / (ROUNDS + 1) as f64,
    }
}

fn changes_of(row: &PairedRow<'_>, class_count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for class in (0_u16..).take(class_count) {
        let step = i64::from(row.predicted[1].contains(class)) - i64::from(row.predicted[0].contains(class));
        if step != 0 {
            changes.push(Change { class, is_true: row.target.contains(class), step });
        }
    }
    changes
}

fn exchange(tallies: &mut [ClassTally; 2], changes: &[Change]) {
    for &Change { class, is_true, step } in changes {
        for (tally, step) in tallies.iter_mut().zip([step, -step]) {
            let counts = &mut tally.classes[usize::from(class)];
            counts.predicted = counts.predicted.saturating_add_signed(step);
            if is_true {
                counts.true_positives = counts.true_positives.saturating_add_signed(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    fn test(rows: &[(&str, &str, &str)]) -> PairedTest {
        let targets: Vec<Labels> = rows.iter().map(|(target, ..)| labels(target)).collect();
        let paired: Vec<PairedRow<'_>> = rows
            .iter()
            .zip(&targets)
            .map(|((_, first, second), target)| PairedRow { target, predicted: [labels(first), labels(second)] })
            .collect();
        paired_test(&paired, 3)
    }

    #[test]
    fn equal_predictions_do_not_differ() {
        let same = test(&[("0", "0", "0"), ("1 2", "1", "1")]);
        assert_eq!((same.p_value, same.differing_rows, same.rows), (1.0, 0, 2));
        assert_eq!(same.macro_f1[0], same.macro_f1[1]);
    }

    #[test]
    fn a_steady_difference_is_no_accident_and_one_row_may_be() {
        let mut rows = Vec::new();
        for place in 0..60 {
            let target = ["0", "1", "2"][place % 3];
            rows.push((target, target, if place % 2 == 0 { "0" } else { target }));
        }
        let steady = test(&rows);
        assert!(steady.macro_f1[0] > steady.macro_f1[1] && steady.p_value < 0.01, "{steady:?}");
        let single = test(&[("0", "0", "1"), ("1", "1", "1"), ("2", "2", "2")]);
        // A single row: each exchange gives the same difference, in one direction or the other.
        assert_eq!((single.p_value, single.differing_rows), (1.0, 1));
    }

    #[test]
    fn the_share_is_that_of_all_exchanges_where_they_can_be_counted() {
        // Five rows of the first side are right and the second side's wrong: of 32 exchanges only none and all are as large.
        let rows = [("0", "0", ""), ("0", "0", ""), ("0", "0", ""), ("0", "0", ""), ("0", "0", "")];
        let p_value = test(&rows).p_value;
        assert!((p_value - 2.0 / 32.0).abs() < 0.02, "{p_value}");
    }
}
