//! How much there is in the queue.

use std::collections::BTreeMap;

use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;

/// What is not finished, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Job sets by state.
    pub job_sets: BTreeMap<JobSetState, u64>,
    /// Jobs by kind and by what they wait for.
    pub jobs: BTreeMap<(JobKind, Occupation), u64>,
}

/// What an unfinished job is waiting for, or is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupation {
    /// It waits for a worker.
    Queued,
    /// Its job set is paused.
    Paused,
    /// A worker runs it.
    Running,
    /// A worker has it, and makes no progress.
    Stalled,
}

impl Occupation {
    /// All of them.
    pub const ALL: [Occupation; 4] = [Self::Queued, Self::Paused, Self::Running, Self::Stalled];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Paused => "paused",
            Self::Running => "running",
            Self::Stalled => "stalled",
        }
    }
}
