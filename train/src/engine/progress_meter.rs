//! Reports of progress: at a phase's start, and then at most once a second.

use std::time::{Duration, Instant};

use fivefold_common::progress::{Phase, Progress};

use crate::engine::events::{Event, EventSink};

const INTERVAL: Duration = Duration::from_secs(1);

/// When progress was reported last, and what was done since.
pub(crate) struct ProgressMeter {
    /// The report at the phase's start, from which the later ones differ in step, loss and speed.
    start: Progress,
    images: usize,
    reported: Instant,
}

impl ProgressMeter {
    /// Reports that a phase of `step_count` batches begins, `step` of which were done before.
    pub(crate) fn start(
        phase: Phase,
        epoch: u32,
        (step, step_count): (u32, u32),
        learning_rate: Option<f64>,
        sink: &mut dyn EventSink,
    ) -> Self {
        let start = Progress { phase, epoch, step, step_count, loss: None, learning_rate, images_per_second: 0.0 };
        sink.emit(Event::Progress(start));
        Self { start, images: 0, reported: Instant::now() }
    }

    /// Counts images that are done.
    pub(crate) fn count(&mut self, images: usize) {
        self.images += images;
    }

    /// Whether the last report was long enough ago.
    pub(crate) fn is_due(&self) -> bool {
        self.reported.elapsed() >= INTERVAL
    }

    /// Reports that `step` batches of the phase are done.
    pub(crate) fn report(&mut self, step: u32, loss: Option<f64>, sink: &mut dyn EventSink) {
        let images_per_second = self.images as f64 / self.reported.elapsed().as_secs_f64().max(1e-3);
        sink.emit(Event::Progress(Progress { step, loss, images_per_second, ..self.start }));
        self.images = 0;
        self.reported = Instant::now();
    }
}
