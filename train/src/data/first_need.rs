//! The order in which a fold first needs its images.

use fivefold_common::checkpoint::TrainingPoint;
use fivefold_common::ids::Fold;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::spec::JobSetSpec;

use crate::data::sampler::{training_rows, validation_rows};

/// The rows of a fold that training reads from the point `from` on, each once, in the order in which it first needs them:
/// those of the epochs' batches, and all validation rows, which are scored at the end. `train` must not be empty.
pub fn rows_by_first_need<'a>(
    spec: &JobSetSpec,
    fold: Fold,
    from: TrainingPoint,
    train: &'a [LabelledRow],
    valid: &'a [LabelledRow],
) -> Vec<&'a LabelledRow> {
    let mut rows = Vec::with_capacity(train.len() + valid.len());
    let mut train_left = Unseen::of(train);
    let mut valid_left = Unseen::of(valid);
    for epoch in from.epoch..spec.epochs {
        if train_left.count + valid_left.count == 0 {
            break;
        }
        let done = if epoch == from.epoch { from.step as usize * spec.batch_size as usize } else { 0 };
        let drawn = training_rows(spec, fold, epoch, train);
        rows.extend(drawn.into_iter().skip(done).filter_map(|place| train_left.take(place)));
        let validated = validation_rows(spec, fold, epoch, valid.len());
        rows.extend(validated.into_iter().filter_map(|place| valid_left.take(place)));
    }
    rows.extend((0..valid.len() as u32).filter_map(|place| valid_left.take(place)));
    rows
}

/// Rows that were not needed yet.
struct Unseen<'a> {
    rows: Vec<Option<&'a LabelledRow>>,
    count: usize,
}

impl<'a> Unseen<'a> {
    fn of(rows: &'a [LabelledRow]) -> Self {
        Self { rows: rows.iter().map(Some).collect(), count: rows.len() }
    }

    fn take(&mut self, place: u32) -> Option<&'a LabelledRow> {
        let row = self.rows[place as usize].take();
        self.count -= usize::from(row.is_some());
        row
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use fivefold_common::labels::Labels;
    use fivefold_common::scores::Source;

    use super::*;

    fn rows(name: &str, count: usize) -> Vec<LabelledRow> {
        let row = |place| LabelledRow {
            id: format!("{name}{place}"),
            source: Source::Train,
            labels: Labels::from_indices([(place % 3) as u16]).unwrap(),
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn rows_come_in_the_order_of_the_batches_that_first_have_them() {
        let spec = JobSetSpec {
            batch_size: 4,
            train_batch_per_epoch: 3,
            valid_batch_per_epoch: 1,
            epochs: 2,
            ..JobSetSpec::default()
        };
        let (train, valid, fold) = (rows("t", 40), rows("v", 10), Fold(1));
        for weighted_samples in [true, false] {
            let spec = JobSetSpec { weighted_samples, ..spec.clone() };
            for from in [TrainingPoint { epoch: 0, step: 0 }, TrainingPoint { epoch: 1, step: 2 }] {
                let mut expected: Vec<&LabelledRow> = Vec::new();
                for epoch in from.epoch..2 {
                    let done = if epoch == from.epoch { from.step as usize * 4 } else { 0 };
                    let drawn = training_rows(&spec, fold, epoch, &train);
                    expected.extend(drawn.iter().skip(done).map(|place| &train[*place as usize]));
                    let validated = validation_rows(&spec, fold, epoch, valid.len());
                    expected.extend(validated.iter().map(|place| &valid[*place as usize]));
                }
                expected.extend(&valid);
                let mut seen = HashSet::new();
                expected.retain(|row| seen.insert(&row.id));
                assert_eq!(rows_by_first_need(&spec, fold, from, &train, &valid), expected);
            }
        }
        let end = TrainingPoint { epoch: 2, step: 0 };
        let left = rows_by_first_need(&spec, fold, end, &train, &valid);
        assert!(left.iter().copied().eq(&valid), "trained, and still to be scored");
    }
}
