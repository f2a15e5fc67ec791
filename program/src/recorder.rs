//! Keeps the lines of the log for a while, so that they can be sent elsewhere too.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fivefold_common::log_line::{LogLevel, LogLine};
use fivefold_common::one_line::one_line;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The lines that are kept; of more, the oldest are left out.
const MOST_LINES: usize = 1000;
/// The beginning of the modules whose lines are recorded.
const OUR_MODULES: &str = "fivefold";

/// Records lines of the log, from `info` on, between [`begin`](Recorder::begin) and [`end`](Recorder::end). Clones share the
/// lines.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug, Default)]
struct Recording {
    is_on: bool,
    /// The number of the newest line.
    newest: u64,
    lines: VecDeque<LogLine>,
}

impl Recorder {
    /// Records from now on, and counts lines from 1. Earlier lines are forgotten.
    pub fn begin(&self) {
        *self.recording() = Recording { is_on: true, ..Recording::default() };
    }

    /// Records no more. The lines stay.
    pub fn end(&self) {
        self.recording().is_on = false;
    }

    /// The oldest lines, at most `most`.
    pub fn oldest(&self, most: usize) -> Vec<LogLine> {
        self.recording().lines.iter().take(most).cloned().collect()
    }

    /// Forgets the lines up to the one of that number.
    pub fn forget(&self, number: u64) {
        self.recording().lines.retain(|line| line.number > number);
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether events of a kind are recorded at all.
pub(crate) fn is_recorded(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().starts_with(OUR_MODULES)
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut recording = self.recording();
        if !recording.is_on {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        recording.newest += 1;
        let line = LogLine {
            number: recording.newest,
            time_ms: now_ms(),
            level: level(*event.metadata().level()),
            message: one_line(text.0.trim_start()).into_owned(),
        };
        if recording.lines.len() == MOST_LINES {
            recording.lines.pop_front();
        }
        recording.lines.push_back(line);
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        _ => LogLevel::Info,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The message of an event, and its other fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn lines_are_kept_while_it_records() {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone().with_filter(filter_fn(is_recorded)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            recorder.begin();
            tracing::info!(fold = 3, "it begins\nhere");
            tracing::debug!("a detail");
            tracing::info!(target: "h2", "of a library");
            tracing::warn!("odd");
            recorder.end();
            tracing::info!("after");
        });
        let lines: Vec<(u64, LogLevel, String)> =
            recorder.oldest(9).into_iter().map(|line| (line.number, line.level, line.message)).collect();
        let first = (1, LogLevel::Info, r"it begins\nhere fold=3".to_owned());
        assert_eq!(lines, [first, (2, LogLevel::Warn, "odd".to_owned())]);
        recorder.forget(1);
        assert_eq!(recorder.oldest(9).len(), 1);
        recorder.begin();
        assert!(recorder.oldest(9).is_empty());
    }

    #[test]
    fn of_too_many_lines_the_oldest_are_left_out() {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        recorder.begin();
        tracing::subscriber::with_default(subscriber, || {
            for line in 0..MOST_LINES + 5 {
                tracing::info!("{line}");
            }
        });
        assert_eq!(recorder.oldest(1)[0].number, 6);
        assert_eq!(recorder.oldest(MOST_LINES + 5).len(), MOST_LINES);
    }
}
