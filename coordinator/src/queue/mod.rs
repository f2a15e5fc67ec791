//! The queue: all SQL of the coordinator, one file per role. Every function takes a connection and the time, so that tests
//! can drive it without a server or a clock.
//!
//! A worker's write names (job, attempt), and its `WHERE` asks for exactly that attempt in state `leased`; zero rows changed
//! mean [`Error::StaleAttempt`](crate::error::Error::StaleAttempt). Which state may follow which is in
//! [`fivefold_common::job::next`]; the `WHERE` clauses say the same, and a test holds them to it.

pub mod artifacts;
pub mod checkpoints;
pub mod ending;
pub mod events;
pub mod fits;
pub mod job_sets;
pub mod lease;
pub mod report;
pub mod stalled;
pub mod tokens;
pub mod workers;
