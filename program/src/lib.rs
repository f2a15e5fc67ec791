//! What the coordinator's and the worker's programs share: the log and the command line.
#![warn(missing_docs)]

pub mod command_line;
pub mod log;
