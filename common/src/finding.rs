//! Findings of a check of a machine or of its files: one line each, a rating and a sentence.

use std::fmt;
use std::str::FromStr;

use crate::one_line::one_line;
use crate::words::{UnknownWord, words};

words! {
    /// How good what was found is.
    pub enum Rating, "rating" {
        /// As it should be.
        Good,
        /// Some work may be impossible or slow.
        Doubtful,
        /// Work will fail.
        Bad,
    }
}

/// What a check found. `Display` writes it on one line, from which `FromStr` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rating.
    pub rating: Rating,
    /// What was found, and what to do about it unless it is good.
    pub message: String,
}

impl Finding {
    /// A finding that is as it should be.
    pub fn good(message: impl Into<String>) -> Self {
        Self { rating: Rating::Good, message: message.into() }
    }

    /// A finding that may make some work impossible or slow.
    pub fn doubtful(message: impl Into<String>) -> Self {
        Self { rating: Rating::Doubtful, message: message.into() }
    }

    /// A finding that makes work fail.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { rating: Rating::Bad, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {}", self.rating.word(), one_line(&self.message))
    }
}

impl FromStr for Finding {
    type Err = UnknownWord;

    fn from_str(line: &str) -> Result<Self, UnknownWord> {
        let (rating, message) = line.split_once(' ').unwrap_or((line, ""));
        Ok(Self { rating: rating.parse()?, message: message.trim_start().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line() {
        let finding = Finding::bad("train/a_red.png is empty\nCopy it again.");
        let line = finding.to_string();
        assert_eq!(line, r"bad       train/a_red.png is empty\nCopy it again.");
        assert_eq!(line.parse(), Ok(Finding::bad(r"train/a_red.png is empty\nCopy it again.")));
        for finding in [Finding::good("a  b"), Finding::doubtful("")] {
            assert_eq!(finding.to_string().parse(), Ok(finding));
        }
        assert!("libtorch 2.11.0".parse::<Finding>().is_err());
    }
}
