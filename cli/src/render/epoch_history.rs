//! The epochs of a job set's folds.

use std::collections::HashMap;

use fivefold_proto::v1::{EpochMetrics, Job};

/// The epochs of each fold, ascending. Kept between the changes of a watch, so that they are fetched once.
#[derive(Debug, Default)]
pub(crate) struct EpochHistory {
    by_job: HashMap<i64, Vec<EpochMetrics>>,
}

impl EpochHistory {
    /// Whether the epochs of `job` are known, after its newest one is added if it follows the others.
    pub(crate) fn has_newest(&mut self, job: &Job) -> bool {
        let epochs = self.by_job.entry(job.id).or_default();
        let Some(newest) = job.last_epoch else {
            epochs.clear();
            return true;
        };
        if epochs.len() == newest.epoch as usize {
            epochs.push(newest);
        }
        // A fold that was resumed from an earlier epoch has other epochs from there on.
        epochs.last() == Some(&newest)
    }

    /// Keeps the epochs of a job.
    pub(crate) fn insert(&mut self, job_id: i64, epochs: Vec<EpochMetrics>) {
        self.by_job.insert(job_id, epochs);
    }

    /// The epochs of `job`.
    pub(crate) fn of(&self, job: &Job) -> &[EpochMetrics] {
        self.by_job.get(&job.id).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(epoch: u32, train_loss: f64) -> Job {
        Job { id: 7, last_epoch: Some(EpochMetrics { epoch, train_loss, ..EpochMetrics::default() }), ..Job::default() }
    }

    #[test]
    fn epochs_are_collected_one_by_one_and_missing_ones_are_noticed() {
        let mut history = EpochHistory::default();
        assert!(history.has_newest(&Job { id: 7, ..Job::default() }));
        assert!(
            history.has_newest(&job(0, 0.5)) && history.has_newest(&job(0, 0.5)) && history.has_newest(&job(1, 0.25))
        );
        assert_eq!(history.of(&job(0, 0.0)).iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>(), [0.5, 0.25]);
        assert!(!history.has_newest(&job(1, 0.125)), "trained again");
        assert!(!history.has_newest(&job(3, 0.125)), "one was missed");
        // The fold is trained from the start again.
        assert!(history.has_newest(&Job { id: 7, ..Job::default() }));
        assert!(history.of(&job(0, 0.0)).is_empty());
    }
}
