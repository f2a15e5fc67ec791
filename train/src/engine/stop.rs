//! The flag that stops a running training or scoring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Save a checkpoint first; the fold will be resumed from it.
    SaveAndStop,
    /// At once; the result is not wanted.
    Discard,
}

/// A flag shared between the caller and the training, which polls it at every batch.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicU8>);

const GO_ON: u8 = 0;
const SAVE_AND_STOP: u8 = 1;
const DISCARD: u8 = 2;

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. [`Stop::Discard`] is never weakened by a later [`Stop::SaveAndStop`].
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

/// The result of work that polls a [`StopFlag`].
pub(crate) enum Interruptible<T> {
    Finished(T),
    Stopped(Stop),
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
