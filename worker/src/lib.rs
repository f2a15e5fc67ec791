//! The parts of the worker: the daemon that leases folds, trains them with `fivefold-train` and delivers the results.

pub mod checkpoint_upload;
pub mod coordinator_client;
pub mod daemon;
pub mod lease;
pub mod report_stream;
pub mod transfer;
