//! Output: results to stdout, notices to stderr.

use std::io::{ErrorKind, Write as _};

use fivefold_common::one_line::one_line;

/// The format of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For programs: one document, or one per line for `watch`.
    Json,
}

/// Prints `text`. Unlike with `println!`, a closed pipe is an error, not a panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Prints one JSON document on one line.
pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{value}\n"))
}

/// Prints a notice to stderr.
pub(crate) fn notify(text: &str) {
    eprintln!("fivefold: {}", one_line(text));
}

/// Whether the reader closed the pipe, as in `fivefold status | head -1`.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
