//! The rows that an epoch trains on and validates on. They depend on the spec's seed, the fold and the epoch alone.

use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::JobSetSpec;

/// The weight of each label: `round(clip(ln(0.5 * sum(N) / N_l), 1, 10), 2)`, where `N_l` is the number of `rows` with label
/// `l`. A label that does not occur weighs 10.
pub fn label_weights(rows: &[LabelledRow], class_count: usize) -> Vec<f64> {
    let mut counts = vec![0u64; class_count];
    for label in rows.iter().flat_map(|row| row.labels.iter()) {
        counts[usize::from(label)] += 1;
    }
    let sum = counts.iter().sum::<u64>() as f64;
    let weight = |count: u64| {
        if count == 0 {
            return 10.0;
        }
        let weight = (0.5 * sum / count as f64).ln().clamp(1.0, 10.0);
        // numpy rounds ties to even.
        (weight * 100.0).round_ties_even() / 100.0
    };
    counts.into_iter().map(weight).collect()
}

/// The weight of each row: that of its heaviest label, or 1 without labels.
pub fn sample_weights(rows: &[LabelledRow], class_count: usize) -> Vec<f64> {
    let weights = label_weights(rows, class_count);
    let weight = |row: &LabelledRow| row.labels.iter().map(|label| weights[usize::from(label)]).fold(1.0, f64::max);
    rows.iter().map(weight).collect()
}

/// The rows that `epoch` (from 0) trains on: `batch_size * train_batch_per_epoch` places in `rows`.
///
/// With `weighted_samples` they are drawn with replacement, in proportion to [`sample_weights`]. Otherwise they are passes over
/// all rows, each in another random order. `rows` must not be empty.
pub fn training_rows(spec: &JobSetSpec, fold: Fold, epoch: u32, rows: &[LabelledRow]) -> Vec<u32> {
    let count = spec.batch_size as usize * spec.train_batch_per_epoch as usize;
    let stream = |index| Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::TrainSample, index);
    if spec.weighted_samples {
        return weighted_draws(&sample_weights(rows, spec.class_count()), count, &mut stream(0));
    }
    let mut drawn = Vec::with_capacity(count);
    for pass in 0.. {
        if drawn.len() == count {
            break;
        }
        let wanted = (count - drawn.len()).min(rows.len());
        drawn.extend(random_places(rows.len(), wanted, &mut stream(pass)));
    }
    drawn
}

/// The rows that `epoch` (from 0) validates on: `batch_size * valid_batch_per_epoch` places among the `row_count` validation
/// rows, ascending, drawn without replacement. All rows where there are fewer.
pub fn validation_rows(spec: &JobSetSpec, fold: Fold, epoch: u32, row_count: usize) -> Vec<u32> {
    let wanted = (spec.batch_size as usize * spec.valid_batch_per_epoch as usize).min(row_count);
    let mut stream = Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::ValidSample, 0);
    let mut places = random_places(row_count, wanted, &mut stream);
    places.sort_unstable();
    places
}

/// `count` places, each drawn with probability in proportion to its weight. Weights are positive.
fn weighted_draws(weights: &[f64], count: usize, stream: &mut Stream) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .iter()
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    let last = weights.len() - 1;
    (0..count)
        .map(|_| {
            let mark = stream.unit() * sum;
            // Rounding may make the mark equal to the sum.
            sums.partition_point(|&sum| sum <= mark).min(last) as u32
        })
        .collect()
}

/// `wanted` of the places 0..count in random order, each at most once (Fisher and Yates 1938).
fn random_places(count: usize, wanted: usize, stream: &mut Stream) -> Vec<u32> {
    let mut places: Vec<u32> = (0..count as u32).collect();
    for place in 0..wanted {
        let other = place + stream.below((count - place) as u64) as usize;
        places.swap(place, other);
    }
    places.truncate(wanted);
    places
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use fivefold_common::labels::Labels;
    use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
    use fivefold_common::scores::Source;

    use super::*;

    fn rows(count: usize) -> Vec<LabelledRow> {
        let labels = |place: usize| match place % 40 {
            39 => Labels::from_indices([27, 0]).unwrap(),
            30.. => Labels::from_indices([5]).unwrap(),
            20.. => Labels::from_indices([0, 1]).unwrap(),
            19 => Labels::default(),
            _ => Labels::from_indices([0]).unwrap(),
        };
        let row = |place| LabelledRow { id: format!("row{place}"), source: Source::Train, labels: labels(place) };
        (0..count).map(row).collect()
    }

    fn spec(weighted_samples: bool, batches: u32) -> JobSetSpec {
        JobSetSpec { weighted_samples, batch_size: 50, train_batch_per_epoch: batches, ..JobSetSpec::default() }
    }

    /// numpy's `round(clip(log(0.5 * N.sum() / N), 1, 10), 2)` for fold 0 of the real lists.
    #[test]
    fn weights_of_the_real_lists_equal_numpys() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
        let read = |name: &str| {
            let file = File::open(folder.join(name)).ok()?;
            Some(Manifest::read_labelled_csv(name, &JobSetSpec::default(), file).unwrap())
        };
        let (Some(train), Some(hpa)) = (read("train.csv"), read("HPAv18RBGY_wodpl.csv")) else {
            println!("skipped: {} does not have the real lists", folder.display());
            return;
        };
        let spec = JobSetSpec::default();
        let folds = FoldTable::split(&spec, &train, Some(&hpa)).unwrap();
        let rows = FoldRows::of(&spec, Fold(0), &train, Some(&hpa), &folds).unwrap().train;
        let weights = sample_weights(&rows, 28);
        assert_eq!(weights.len(), 84_570);
        assert_eq!(weights[..10], [3.29, 2.63, 3.29, 3.77, 1.0, 1.0, 2.17, 2.08, 5.26, 2.08]);
        assert!((weights.iter().sum::<f64>() - 184_632.33).abs() < 1e-6);
    }

    #[test]
    fn rare_labels_weigh_more_and_rows_without_labels_least() {
        let rows = rows(400);
        let weights = label_weights(&rows, 28);
        // 0: 300 rows, 1: 100, 5: 90, 27: 10; 500 in all.
        assert_eq!(weights[0], 1.0);
        assert_eq!(weights[5], 1.02);
        assert_eq!(weights[27], 3.22);
        assert_eq!(weights[13], 10.0);
        let weights = sample_weights(&rows, 28);
        assert_eq!([weights[0], weights[19], weights[39]], [1.0, 1.0, 3.22]);
    }

    /// Pearson's chi-squared statistic, in standard deviations from its mean.
    fn chi_square_deviation(counts: &[f64], probabilities: &[f64]) -> f64 {
        let draws: f64 = counts.iter().sum();
        let terms = counts.iter().zip(probabilities).map(|(count, p)| (count - draws * p).powi(2) / (draws * p));
        let freedom = (counts.len() - 1) as f64;
        (terms.sum::<f64>() - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn rows_are_drawn_in_proportion_to_their_weights() {
        let rows = rows(400);
        let weights = sample_weights(&rows, 28);
        let sum: f64 = weights.iter().sum();
        let probabilities: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let mut counts = vec![0.0; rows.len()];
        let spec = spec(true, 400);
        for epoch in 0..10 {
            for place in training_rows(&spec, Fold(1), epoch, &rows) {
                counts[place as usize] += 1.0;
            }
        }
        assert_eq!(counts.iter().sum::<f64>(), 200_000.0);
        let deviation = chi_square_deviation(&counts, &probabilities);
        assert!(deviation.abs() < 4.0, "{deviation}");
        // The test is sharp: even weights fail it.
        let even = vec![1.0 / rows.len() as f64; rows.len()];
        assert!(chi_square_deviation(&counts, &even) > 100.0);
    }

    #[test]
    fn unweighted_rows_come_in_passes() {
        let rows = rows(70);
        let drawn = training_rows(&spec(false, 3), Fold(0), 0, &rows);
        assert_eq!(drawn.len(), 150);
        for pass in drawn.chunks(70) {
            let mut seen = pass.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), pass.len(), "a row occurs twice in a pass");
        }
        assert_ne!(drawn[..70], drawn[70..140]);
    }

    #[test]
    fn rows_are_functions_of_seed_fold_and_epoch() {
        let rows = rows(400);
        for weighted in [true, false] {
            let spec = spec(weighted, 4);
            let drawn = training_rows(&spec, Fold(2), 3, &rows);
            assert_eq!(drawn, training_rows(&spec, Fold(2), 3, &rows));
            assert_ne!(drawn, training_rows(&spec, Fold(2), 4, &rows));
            assert_ne!(drawn, training_rows(&spec, Fold(1), 3, &rows));
            assert_ne!(drawn, training_rows(&JobSetSpec { seed: 43, ..spec.clone() }, Fold(2), 3, &rows));
        }
    }

    #[test]
    fn each_epoch_validates_on_other_rows() {
        let spec = JobSetSpec { batch_size: 10, valid_batch_per_epoch: 3, ..JobSetSpec::default() };
        let mut counts = [0u32; 60];
        for epoch in 0..2000 {
            let places = validation_rows(&spec, Fold(0), epoch, 60);
            assert_eq!(places.len(), 30);
            assert!(places.is_sorted_by(|a, b| a < b));
            places.iter().for_each(|&place| counts[place as usize] += 1);
        }
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
        assert_eq!(validation_rows(&spec, Fold(0), 0, 7), [0, 1, 2, 3, 4, 5, 6]);
    }
}
