//! The names of pushed data sets.

use std::fmt;
use std::str::FromStr;

/// The longest name, in characters.
const MOST_CHARACTERS: usize = 100;
/// What a name never ends with, so that it cannot be taken for the file of a data set.
const FILE_ENDING: &str = ".toml";

/// The name of a pushed data set: 1 to 100 ASCII letters, digits, `-`, `_` and `.`. It does not begin with `.` or `-`, and does
/// not end with `.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataSetName(String);

/// Text that cannot be the name of a data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot be the name of a data set: expected 1 to {MOST_CHARACTERS} letters, digits, `-`, `_` or `.`, no `.` or `-` \
     first and no {FILE_ENDING} last"
)]
pub struct DataSetNameError {
    text: String,
}

impl DataSetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DataSetName {
    type Err = DataSetNameError;

    fn from_str(text: &str) -> Result<Self, DataSetNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=MOST_CHARACTERS).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !text.starts_with(['.', '-'])
            && !text.ends_with(FILE_ENDING);
        if is_name {
            return Ok(Self(text.to_owned()));
        }
        // It may be from outside, and errors are logged.
        Err(DataSetNameError { text: text.chars().take(MOST_CHARACTERS).collect() })
    }
}

impl fmt::Display for DataSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_no_file() {
        for text in ["xrays", "hpa-2018_512.v2", "7", &"x".repeat(100)] {
            assert_eq!(text.parse::<DataSetName>().unwrap().as_str(), text);
        }
        for text in ["", ".hidden", "-x", "a/b", "..", "dataset.toml", "two words", "ä", &"x".repeat(101)] {
            let message = text.parse::<DataSetName>().unwrap_err().to_string();
            assert!(message.contains("cannot be the name of a data set: expected 1 to 100 letters"), "{message}");
        }
    }
}
