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
            _ => Self::Line { line, excerpt, problem: in_plain_words(message).unwrap_or(problem) },
        }
    }
}

/// Serde's message on a value of the wrong type in the words of those who write such files; `None` for any other message.
fn in_plain_words(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let expected = match expected {
        "u32" => "a whole number below 2^32",
        "u64" => "a whole number below 2^64",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        "a string" => "text in quotes",
        other => other,
    };
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
        Some(("floating", number)) => format!("the number {}", number.trim_start_matches("point ").trim_matches('`')),
        Some(("boolean", truth)) => truth.trim_matches('`').to_owned(),
        None if found == "sequence" => "a list".to_owned(),
        None if found == "map" => "a table".to_owned(),
        _ => found.to_owned(),
    };
    Some(format!("expected {expected}, found {found}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_wrong_type_are_told_in_plain_words() {
        for (toml, wanted) in [
            ("image_size = \"32\"", "expected a whole number below 2^32, found the text \"32\""),
            ("seed = 1.5", "expected a whole number below 2^64, found the number 1.5"),
            ("epochs = -1", "expected a whole number below 2^32, found the number -1"),
            ("learning_rate = \"low\"", "expected a number, found the text \"low\""),
            ("nesterov = \"yes, expected\"", "expected true or false, found the text \"yes, expected\""),
            ("name = 3", "expected text in quotes, found the number 3"),
            ("classes = \"owl\"", "expected a list in brackets, found the text \"owl\""),
            ("loss = true", "expected text in quotes, found true"),
            ("tta = [1]", "expected a whole number below 2^32, found a list"),
        ] {
            let message = SpecOverrides::from_toml(toml).unwrap_err().to_string();
            assert_eq!(message, format!("line 1 ({toml}): {wanted}"));
        }
        let message = SpecOverrides::from_json("{\"tta\": \"1\"}").unwrap_err().to_string();
        assert!(message.ends_with("expected a whole number below 2^32, found the text \"1\""), "{message}");
    }
}
