//! What the programs share: the log of the daemons, the command line and its numbers.
#![warn(missing_docs)]

pub mod command_line;
pub mod log;
pub mod number;
pub mod recorder;
