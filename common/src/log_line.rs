//! Lines of a worker's log.

use crate::words::words;

words! {
    /// How serious a line is.
    pub enum LogLevel, "log level" {
        /// Something has failed.
        Error,
        /// Something is odd, and the work goes on.
        Warn,
        /// What the worker does.
        Info,
    }
}

/// What a worker said during an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Counts the lines of the attempt from 1. Numbers that are missing are of lines that were left out.
    pub number: u64,
    /// When it was said by the worker's clock, in milliseconds since 1970.
    pub time_ms: i64,
    /// How serious it is.
    pub level: LogLevel,
    /// The text, on one line.
    pub message: String,
}
