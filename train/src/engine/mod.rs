//! The training and scoring of a fold.
//!
//! [`Trainer`](trainer::Trainer) reads top-down: `run` trains epoch after epoch, `epoch` takes step after step, and
//! [`Training::step`](training::Training::step) is the one training step, also measured by [`bench_step`] and checked by
//! [`device_check`].

pub mod bench_step;
mod checkpoint_pace;
pub mod device_check;
pub mod error;
pub mod events;
pub mod loss;
pub mod loss_scale;
pub mod optimizer;
mod pending_losses;
pub mod predictor;
mod progress_meter;
pub mod schedule;
pub mod scoring;
pub mod state;
pub mod stop;
pub mod synthetic;
pub mod trainer;
pub mod training;
mod validation;
