//! The flag by which a fold's training is asked to stop, whatever it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Save a checkpoint first: the worker is shut down, another one goes on with the fold.
    SaveAndStop,
    /// At once: the lease is lost or the job cancelled, so that nobody wants the result.
    Discard,
}

/// Shared between who asks and who trains: the training polls it at every batch.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicU8>);

const GO_ON: u8 = 0;
const SAVE_AND_STOP: u8 = 1;
const DISCARD: u8 = 2;

impl StopFlag {
    /// A flag that nobody has asked by.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. [`Stop::Discard`] stays, whatever is asked after it.
    pub fn ask(&self, stop: Stop) {
        let asked = match stop {
            Stop::SaveAndStop => SAVE_AND_STOP,
            Stop::Discard => DISCARD,
        };
        self.0.fetch_max(asked, Ordering::SeqCst);
    }

    /// What was asked, if anything.
    pub fn asked(&self) -> Option<Stop> {
        match self.0.load(Ordering::SeqCst) {
            GO_ON => None,
            SAVE_AND_STOP => Some(Stop::SaveAndStop),
            _ => Some(Stop::Discard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discard_wins_over_save_and_stop() {
        let flag = StopFlag::new();
        let other = flag.clone();
        assert_eq!(flag.asked(), None);
        other.ask(Stop::SaveAndStop);
        assert_eq!(flag.asked(), Some(Stop::SaveAndStop));
        flag.ask(Stop::Discard);
        other.ask(Stop::SaveAndStop);
        assert_eq!(other.asked(), Some(Stop::Discard));
    }
}
