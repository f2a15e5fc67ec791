//! The rows of a list: ids of the real form, and labels as frequent as in the real list.

use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::randomness::{Purpose, Stream};

/// Rows per label among the 31,072 of the competition's train.csv.
const LABEL_ROWS: [u32; LABEL_COUNT] = [
    12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537, 1066, 21, 530, 210, 902, 1482, 172,
    3777, 802, 2965, 322, 8228, 328, 11,
];
/// Rows with one to five labels.
const ROWS_BY_LABEL_COUNT: [u32; 5] = [15126, 12485, 3160, 299, 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Train,
    Hpa,
    Test,
}

impl List {
    /// The folder of its images.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            List::Train => "train",
            List::Hpa => "hpa",
            List::Test => "test",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) labels: Labels,
}

/// The rows of a list. Labels are dealt from a deck that has them in proportion, so short lists have the right
/// frequencies too.
pub(crate) fn rows(seed: u64, list: List, count: usize, class_count: usize) -> Vec<Row> {
    let mut stream = stream(seed, list, u64::MAX);
    let mut counts: Vec<usize> =
        in_proportion(&ROWS_BY_LABEL_COUNT, count).into_iter().map(|place| usize::from(place) + 1).collect();
    shuffle(&mut counts, &mut stream);
    let mut deck = in_proportion(&LABEL_ROWS[..class_count.min(LABEL_COUNT)], counts.iter().sum());
    shuffle(&mut deck, &mut stream);
    let mut rows = Vec::with_capacity(count);
    let mut next = 0;
    for (index, label_count) in counts.into_iter().enumerate() {
        let mut labels: Vec<u16> = Vec::new();
        while labels.len() < label_count && next < deck.len() {
            // The next card that the row lacks. Without one, the row gets fewer labels.
            let fitting = (next..deck.len().min(next + 200)).find(|&place| !labels.contains(&deck[place]));
            let Some(place) = fitting else { break };
            deck.swap(next, place);
            labels.push(deck[next]);
            next += 1;
        }
        if labels.is_empty() {
            labels.push(0);
        }
        rows.push(Row { id: id(seed, list, index as u64), labels: Labels::from_indices(labels).unwrap_or_default() });
    }
    rows
}

/// `count` indices into `weights`, in proportion to the weights (systematic sampling) and ascending.
fn in_proportion(weights: &[u32], count: usize) -> Vec<u16> {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut places = Vec::with_capacity(count);
    let (mut place, mut until) = (0_u16, u64::from(weights[0]));
    for draw in 0..count as u64 {
        let position = (2 * draw + 1) * total / (2 * count as u64);
        while position >= until {
            place += 1;
            until += u64::from(weights[usize::from(place)]);
        }
        places.push(place);
    }
    places
}

fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, stream.below(last as u64 + 1) as usize);
    }
}

/// The random numbers of a row's image; those of the list itself have the index `u64::MAX`.
pub(crate) fn stream(seed: u64, list: List, index: u64) -> Stream {
    Stream::new(seed, list as u64, 0, Purpose::Synthetic, index)
}

fn id(seed: u64, list: List, index: u64) -> String {
    let mut stream = Stream::new(seed, list as u64, 1, Purpose::Synthetic, index);
    match list {
        List::Train | List::Test => {
            let bits = stream.bits();
            let (first, second) = ((bits >> 32) as u32, bits as u16);
            format!("{first:08x}-bbac-11e8-b2ba-{second:04x}{:08x}", index as u32)
        }
        // Antibody, plate, well, number of the image.
        List::Hpa => {
            let plate = 1000 + index / 12;
            let well = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'][stream.below(8) as usize];
            format!("{}_{plate}_{well}{}_{}", 10_000 + index / 6, 1 + stream.below(12), 1 + index % 6)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_as_frequent_as_in_the_real_list() {
        for count in [300, 5000] {
            let rows = rows(7, List::Train, count, 28);
            assert_eq!(rows.iter().map(|row| &row.id).collect::<HashSet<_>>().len(), count);
            assert!(rows.iter().all(|row| (1..=5).contains(&row.labels.len())));
            for label in [0, 25, 21, 2, 23, 7] {
                let held = rows.iter().filter(|row| row.labels.contains(label)).count() as f64 / count as f64;
                let real = f64::from(LABEL_ROWS[usize::from(label)]) / 31_072.0;
                assert!((held - real).abs() < 0.02, "{count} rows, label {label}: {held} where {real} is real");
            }
        }
    }

    #[test]
    fn a_seed_names_its_rows() {
        assert_eq!(rows(1, List::Hpa, 50, 28), rows(1, List::Hpa, 50, 28));
        assert_ne!(rows(1, List::Hpa, 50, 28), rows(2, List::Hpa, 50, 28));
    }

    #[test]
    fn fewer_classes_are_the_first_ones() {
        for class_count in [2, 5] {
            let rows = rows(1, List::Train, 200, class_count);
            assert!(rows.iter().all(|row| (1..=class_count).contains(&row.labels.len())));
            for label in 0..28 {
                let is_there = rows.iter().any(|row| row.labels.contains(label));
                assert_eq!(is_there, usize::from(label) < class_count, "label {label} of {class_count}");
            }
        }
    }
}
