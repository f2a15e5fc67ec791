//! The worker's daemon. It leases jobs from a coordinator, trains or predicts with `fivefold-train`, and delivers the results.
//!
//! [`daemon::run`] registers the worker and takes one lease after the other. Each lease is one attempt at a job: prepare, run,
//! deliver, while reports keep the lease. [`supervise`] runs one such process for each CUDA device of a machine.

mod attempt;
mod attempt_log;
pub mod backtraces;
pub mod cache_folder;
mod checkpoint_uploads;
pub mod daemon;
pub mod data_check;
mod deliver;
mod failure;
mod fetching;
pub mod host;
mod image_check;
mod job;
mod lease;
pub mod name_lock;
mod prepare;
mod register;
mod report;
mod run;
pub mod scratch;
pub mod supervise;
