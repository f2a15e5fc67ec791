//! What goes to stdout: text for people, or JSON for programs.

use std::io::Write as _;

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// A person.
    Text,
    /// A program: one JSON document, or one a line where there are many.
    Json,
}

/// Prints `text`. Unlike `println!`, a reader that went away is an error and no panic.
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
