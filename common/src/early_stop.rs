//! The early stop: whether a fold's training goes on after an epoch.

use serde::{Deserialize, Serialize};

use crate::progress::EpochReport;
use crate::spec::JobSetSpec;

/// Whether training continues after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Train another epoch.
    GoOn,
    /// The objective has not improved for too many epochs.
    Stop,
}

/// Stops when the score has not exceeded the best by more than `min_delta` for `patience` epochs in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    patience_epochs: u32,
    min_delta: f64,
    best: Option<f64>,
    bad_epochs: u32,
}

impl EarlyStop {
    /// The early stop before the first epoch.
    pub fn new(spec: &JobSetSpec) -> Self {
        Self {
            patience_epochs: spec.early_stop_patience,
            min_delta: spec.early_stop_min_delta,
            best: None,
            bad_epochs: 0,
        }
    }

    /// The early stop after these epochs, which are a training from its start.
    pub fn after(spec: &JobSetSpec, epochs: &[EpochReport]) -> Self {
        let mut early_stop = Self::new(spec);
        for epoch in epochs {
            early_stop.end_epoch(spec.objective.score(&epoch.metrics));
        }
        early_stop
    }

    /// Takes the score of an epoch's objective; higher is better.
    pub fn end_epoch(&mut self, score: f64) -> Continuation {
        if self.best.is_none_or(|best| score > best + self.min_delta) && score.is_finite() {
            self.best = Some(score);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.has_stopped() { Continuation::Stop } else { Continuation::GoOn }
    }

    /// The least number of epochs until training ends. The first score always counts as a rise.
    pub fn least_epochs_left(&self) -> u32 {
        let is_before_first = self.best.is_none() && self.bad_epochs == 0;
        self.patience_epochs.saturating_sub(self.bad_epochs) + u32::from(is_before_first)
    }

    /// Whether training has ended.
    pub fn has_stopped(&self) -> bool {
        self.bad_epochs >= self.patience_epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_negated_losses_the_lower_loss_is_better() {
        let spec = JobSetSpec { early_stop_patience: 2, early_stop_min_delta: 0.1, ..JobSetSpec::default() };
        let mut early_stop = EarlyStop::new(&spec);
        for (loss, expected) in [
            (0.9, Continuation::GoOn),
            (0.7, Continuation::GoOn),
            (0.65, Continuation::GoOn),
            (0.8, Continuation::Stop),
        ] {
            assert_eq!(early_stop.end_epoch(-loss), expected, "{loss}");
        }
        // Undefined scores are no improvement, the first one neither.
        let mut early_stop = EarlyStop::new(&spec);
        assert_eq!(early_stop.end_epoch(f64::NEG_INFINITY), Continuation::GoOn);
        assert_eq!(early_stop.end_epoch(f64::NEG_INFINITY), Continuation::Stop);
    }

    #[test]
    fn training_stops_after_epochs_without_improvement() {
        let spec = JobSetSpec { early_stop_patience: 2, early_stop_min_delta: 0.1, ..JobSetSpec::default() };
        let mut early_stop = EarlyStop::new(&spec);
        for (score, expected) in [
            (0.3, Continuation::GoOn),
            (0.35, Continuation::GoOn),
            (0.5, Continuation::GoOn),
            (f64::NAN, Continuation::GoOn),
            (0.6, Continuation::Stop),
        ] {
            assert!(!early_stop.has_stopped());
            assert_eq!(early_stop.end_epoch(score), expected, "{score}");
        }
        assert!(early_stop.has_stopped());
    }
}
