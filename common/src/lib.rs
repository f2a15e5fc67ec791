//! Fivefold's domain, pure and without I/O frameworks: what a job set is, how rows become folds, how out-of-fold scores
//! become one threshold and a submission. The modules follow the data's one way.
#![warn(missing_docs)]

pub mod artifact;
pub mod checkpoint;
pub mod durable_file;
pub mod folds;
pub mod ids;
pub mod job;
pub mod job_set;
pub mod labels;
pub mod macro_f1;
pub mod manifest;
pub mod one_line;
pub mod progress;
pub mod random_state;
pub mod randomness;
pub mod report;
pub mod role;
pub mod score_array;
pub mod scores;
pub mod spec;
pub mod submission;
pub mod threshold;
mod words;

pub use words::UnknownWord;
