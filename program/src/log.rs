//! The log of a program, on standard error.

use std::io::IsTerminal as _;

use fivefold_common::one_line::one_line;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

/// Starts the log, at the level that `RUST_LOG` names, or `info`.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(one_line_fields())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
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
