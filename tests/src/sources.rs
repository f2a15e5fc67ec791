//! The sources of this repository, read as text.

use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A file of the repository as text.
///
/// # Panics
/// If it cannot be read.
pub fn source(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below a path, or the file itself: their paths from the root of the repository, and their text.
///
/// # Panics
/// If there are none, or one cannot be read.
pub fn sources(path: impl AsRef<Path>) -> Vec<(PathBuf, String)> {
    let mut waiting = vec![path.as_ref().to_owned()];
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        let full = Path::new(ROOT).join(&path);
        if full.is_dir() {
            let entries = std::fs::read_dir(&full).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            waiting.extend(entries.map(|entry| path.join(entry.expect("a folder can be listed").file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = source(&path);
            sources.push((path, text));
        }
    }
    assert!(!sources.is_empty(), "there are no Rust files at {}", path.as_ref().display());
    sources
}

/// A source without its comment lines, and without a module of tests at its end.
pub fn code(text: &str) -> String {
    let text = text.split_once("#[cfg(test)]\nmod tests").map_or(text, |(code, _)| code);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
