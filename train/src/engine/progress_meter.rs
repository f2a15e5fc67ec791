//! Progress events: one at the start of a phase, then at most one a second.

use std::time::{Duration, Instant};

use fivefold_common::progress::Progress;

use crate::engine::events::{Event, EventSink};

const INTERVAL: Duration = Duration::from_secs(1);

/// The time of the last report, and the work since then.
pub(crate) struct ProgressMeter {
    /// The report at the start; later ones differ in step, loss and speed.
    start: Progress,
    images: usize,
    reported: Instant,
}

impl ProgressMeter {
    /// Reports the start of a phase.
    pub(crate) fn start(start: Progress, sink: &mut dyn EventSink) -> Self {
        sink.emit(Event::Progress(start));
        Self { start, images: 0, reported: Instant::now() }
    }

    /// Counts completed images.
    pub(crate) fn count(&mut self, images: usize) {
        self.images += images;
    }

    /// Whether a second has passed since the last report.
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
