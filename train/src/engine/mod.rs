//! The training and scoring of a fold.

pub mod bench_step;
pub mod device_check;
pub mod events;
pub mod fold;
pub mod loss;
pub mod optimizer;
pub mod precision;
mod progress_meter;
pub mod schedule;
pub mod scoring;
pub mod stop;
pub mod trainer;
