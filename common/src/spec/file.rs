//! Specs that users write: strict, so that a misspelt key is found.

use std::path::Path;

use super::{JobSetSpec, SpecError, SpecOverrides};

/// A spec file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFileError {
    /// A key that does not exist.
    #[error("line {line} ({excerpt}): {problem}")]
    UnknownKey {
        /// The line, counted from 1.
        line: usize,
        /// The text of the line, or its part around the error.
        excerpt: String,
        /// What is wrong there.
        problem: String,
    },
    /// A syntax error, or a value of the wrong type.
    #[error("line {line} ({excerpt}): {problem}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// The text of the line, or its part around the error.
        excerpt: String,
        /// What is wrong there.
        problem: String,
    },
    /// A value out of its limits.
    #[error(transparent)]
    Value(#[from] SpecError),
}

impl SpecFileError {
    /// An error at a place of a text, in bytes.
    pub(crate) fn at(text: &str, place: usize, problem: &str) -> Self {
        let line = text.get(..place).unwrap_or(text).matches('\n').count();
        Self::new(line + 1, text.lines().nth(line).unwrap_or_default(), problem)
    }

    /// The error of a TOML document.
    pub(crate) fn of_toml(text: &str, error: &toml::de::Error) -> Self {
        Self::at(text, error.span().map_or(0, |span| span.start), error.message())
    }

    fn new(line: usize, excerpt: &str, message: &str) -> Self {
        let (excerpt, problem) = (excerpt.trim().to_owned(), message.to_owned());
        match message.split_once(", expected one of") {
            // The list of all keys would hide which one is wrong.
            Some((problem, _)) if problem.starts_with("unknown field") => {
                Self::UnknownKey { line, excerpt, problem: problem.to_owned() }
            }
            _ => Self::Line { line, excerpt, problem },
        }
    }
}

impl SpecOverrides {
    /// The values in the `text` of the file at `path`: JSON if its name ends in `.json` or its text begins with a brace, and
    /// TOML otherwise. A report, or a job set as `fivefold status ID --json` prints it, gives its spec.
    ///
    /// # Errors
    /// As for [`Self::from_toml`].
    pub fn from_file_text(path: &Path, text: &str) -> Result<Self, SpecFileError> {
        let has_name_of_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if !has_name_of_json && !text.trim_start().starts_with('{') {
            return Self::from_toml(text);
        }
        match spec_within(text) {
            Some(spec) => Self::from_json(&spec),
            None => Self::from_json(text),
        }
    }

    /// The values in a TOML document, each under its key.
    ///
    /// # Errors
    /// If the text is no TOML, or has an unknown key or a value of the wrong type. Limits are not checked.
    pub fn from_toml(text: &str) -> Result<Self, SpecFileError> {
        toml::from_str(text).map_err(|error: toml::de::Error| SpecFileError::of_toml(text, &error))
    }

    /// The values in a JSON object, each under its key, such as the spec in a report.
    ///
    /// # Errors
    /// As for [`Self::from_toml`].
    pub fn from_json(text: &str) -> Result<Self, SpecFileError> {
        /// How much of a line is quoted, which may be the whole file.
        const EXCERPT_CHARACTERS: usize = 60;
        serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(problem, _)| problem);
            let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            let before: Vec<char> = line.bytes().take(error.column()).map(char::from).collect();
            let excerpt: String = before[before.len().saturating_sub(EXCERPT_CHARACTERS)..].iter().collect();
            SpecFileError::new(error.line(), &excerpt, message)
        })
    }
}

/// The spec within a larger JSON document.
fn spec_within(json: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(json).ok()?;
    let spec = document.pointer("/made_by/spec").or_else(|| document.get("spec"))?;
    spec.is_object().then(|| spec.to_string())
}

impl JobSetSpec {
    /// The spec of a TOML document, checked. Absent keys have their defaults.
    ///
    /// # Errors
    /// As for [`SpecOverrides::from_toml`], and if a value is out of its limits.
    pub fn from_toml(text: &str) -> Result<Self, SpecFileError> {
        let mut spec = Self::default();
        SpecOverrides::from_toml(text)?.apply_to(&mut spec);
        spec.check()?;
        Ok(spec)
    }
}
