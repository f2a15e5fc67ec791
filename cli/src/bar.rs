//! A progress bar for work of many pieces.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::{Verbosity, verbosity};

/// A bar on stderr, where that is a terminal. It is removed with its work.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar for `count` pieces of the work called `name`.
    pub(crate) fn new(name: &str, count: usize) -> Self {
        if verbosity() == Verbosity::Quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        let template = "{msg} [{bar:30}] {pos}/{len}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        Self(bar)
    }

    /// A bar for the transfer of so many bytes.
    pub(crate) fn of_bytes(name: &str, bytes: u64) -> Self {
        if verbosity() == Verbosity::Quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        Self(bar)
    }

    /// Shows that `done` pieces are done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
