//! Which rows an epoch trains on and validates on: functions of the spec's seed, the fold and the epoch alone.

use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::JobSetSpec;

/// Each label's weight: `round(clip(ln(0.5 * sum(N) / N_l), 1, 10), 2)`, where `N_l` is how many of `rows` have label `l`.
/// A label that nobody has weighs 10.
pub fn label_weights(rows: &[LabelledRow]) -> [f64; LABEL_COUNT] {
    let mut counts = [0u64; LABEL_COUNT];
    for label in rows.iter().flat_map(|row| row.labels.iter()) {
        counts[usize::from(label)] += 1;
    }
    let sum = counts.iter().sum::<u64>() as f64;
    counts.map(|count| {
        if count == 0 {
            return 10.0;
        }
        let weight = (0.5 * sum / count as f64).ln().clamp(1.0, 10.0);
        // numpy's way to round to two places, ties to even.
        (weight * 100.0).round_ties_even() / 100.0
    })
}

/// Each row's weight: that of its heaviest label; 1, the least there is, for a row without labels.
pub fn sample_weights(rows: &[LabelledRow]) -> Vec<f64> {
    let weights = label_weights(rows);
    let weight = |row: &LabelledRow| row.labels.iter().map(|label| weights[usize::from(label)]).fold(1.0, f64::max);
    rows.iter().map(weight).collect()
}

/// The rows that an epoch (counted from 0) trains on, as places in `rows`, `batch_size * train_batch_per_epoch` of them.
///
/// With `weighted_samples` they are drawn with replacement in proportion to [`sample_weights`]; otherwise they are passes
/// over all rows, each in another random order. `rows` must not be empty.
pub fn training_rows(spec: &JobSetSpec, fold: Fold, epoch: u32, rows: &[LabelledRow]) -> Vec<u32> {
    let count = spec.batch_size as usize * spec.train_batch_per_epoch as usize;
    let stream = |index| Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::TrainSample, index);
    if spec.weighted_samples {
        return weighted_draws(&sample_weights(rows), count, &mut stream(0));
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

/// The rows that an epoch (counted from 0) validates on, as places in the `row_count` validation rows, ascending: a
/// random choice without replacement of `batch_size * valid_batch_per_epoch`, or all rows where there are fewer.
pub fn validation_rows(spec: &JobSetSpec, fold: Fold, epoch: u32, row_count: usize) -> Vec<u32> {
    let wanted = (spec.batch_size as usize * spec.valid_batch_per_epoch as usize).min(row_count);
    let mut stream = Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::ValidSample, 0);
    let mut places = random_places(row_count, wanted, &mut stream);
    places.sort_unstable();
    places
}

/// `count` places, each drawn with a probability in proportion to its weight. Weights are positive.
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
            // Rounding may carry the mark up to the sum itself.
            sums.partition_point(|&sum| sum <= mark).min(last) as u32
        })
        .collect()
}

/// `wanted` of the places 0..count in random order, each at most once (Fisher and Yates).
fn random_places(count: usize, wanted: usize, stream: &mut Stream) -> Vec<u32> {
    let mut places: Vec<u32> = (0..count as u32).collect();
    for place in 0..wanted {
        let other = place + stream.below((count - place) as u64) as usize;
        places.swap(place, other);
    }
    places.truncate(wanted);
    places
}
