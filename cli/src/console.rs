//! Output: results to stdout, notices to stderr.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use fivefold_common::one_line::one_line;
use jiff::ZonedDateTime;

use crate::render::page::{Page, Paint};

/// The format of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For programs: one document, or one per line for `watch`.
    Json,
}

/// What stdout is: the size of the terminal, or no limits for a file or a pipe, unless `COLUMNS` gives a width, as under
/// `watch`. Colours are for terminals, and not for those who set `NO_COLOR`.
pub(crate) fn page() -> Page {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    // A terminal that does not know its size says 0.
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let (width, height) = match size {
        Some(size) => (size.ws_col.into(), size.ws_row.into()),
        None if stdout.is_terminal() => (80, 24),
        None => (usize::MAX, usize::MAX),
    };
    // One that was exported before the terminal became narrower does not count.
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns_of(&columns));
    let width = columns.map_or(width, |columns| columns.min(width));
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let paint = if stdout.is_terminal() && !is_set("NO_COLOR") && !is_dumb { Paint::Coloured } else { Paint::Plain };
    Page { width, height, paint, now: ZonedDateTime::now() }
}

/// The width in `COLUMNS`; `None` if it is no number, or less than any table needs.
fn columns_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|columns| *columns >= 20)
}

/// The page of stdout, without limits for those who want texts in full.
pub(crate) fn full_page() -> Page {
    match verbosity() {
        Verbosity::Verbose => Page { width: usize::MAX, height: usize::MAX, ..page() },
        Verbosity::Quiet | Verbosity::Normal => page(),
    }
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

/// How much is printed beside results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing.
    Quiet,
    /// Notices, warnings and progress.
    Normal,
    /// Also what the command does, and texts in full.
    Verbose,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// Sets the verbosity of this process, once.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    // Only `main` sets it.
    let _ = VERBOSITY.set(verbosity);
}

pub(crate) fn verbosity() -> Verbosity {
    VERBOSITY.get().copied().unwrap_or(Verbosity::Normal)
}

/// Prints a notice to stderr, unless the user wants none.
pub(crate) fn notify(text: &str) {
    if verbosity() != Verbosity::Quiet {
        eprintln!("fivefold: {}", one_line(text));
    }
}

/// Prints what the command does to stderr, for those who ask for it.
pub(crate) fn explain(text: impl FnOnce() -> String) {
    if verbosity() == Verbosity::Verbose {
        eprintln!("fivefold: {}", one_line(&text()));
    }
}

/// Prints a question to stderr.
pub(crate) fn ask(text: &str) {
    eprintln!("fivefold: {}", one_line(text));
}

/// Whether the reader closed the pipe, as in `fivefold status | head -1`.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_a_number_that_a_table_fits() {
        assert_eq!((columns_of("64"), columns_of("20")), (Some(64), Some(20)));
        assert_eq!([columns_of(""), columns_of("wide"), columns_of("0"), columns_of("-1")], [None; 4]);
    }
}
