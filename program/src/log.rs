//! The log of a program, on standard error.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use fivefold_common::one_line::one_line;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::recorder::{self, Recorder};

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line: `timestamp`, `level`, `message` and further fields.
    Json,
}

/// Starts the log, at the level that `RUST_LOG` names, or `info`. The recorder, if there is one, gets the lines whatever the
/// level.
pub fn start(format: LogFormat, recorder: Option<Recorder>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry()
        .with(recorder.map(|recorder| recorder.with_filter(filter_fn(recorder::is_recorded))));
    let log = fmt::layer().with_target(false).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let log = log.fmt_fields(one_line_fields()).with_ansi(std::io::stderr().is_terminal());
            registry.with(log.with_filter(filter)).init();
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(log.with_filter(filter)).init();
        }
    }
}

/// Keeps every event on one line, whatever text it holds, so that no caller forges a line.
fn one_line_fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let fields = debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", one_line(&value)),
            name => write!(writer, "{name}={}", one_line(&value)),
        }
    });
    fields.delimited(" ")
}
