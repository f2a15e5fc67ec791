//! What happened since the coordinator started, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fivefold_common::job::FailureCause;

/// What happened since the coordinator started. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    counts: [AtomicU64; Count::ALL.len()],
    failures: [AtomicU64; FailureCause::ALL.len()],
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    SubmittedJobSets,
    Leases,
    CompletedJobs,
    Reports,
    UploadedBytes,
    DownloadedBytes,
}

impl Count {
    /// All of them.
    pub const ALL: [Count; 6] = [
        Self::SubmittedJobSets,
        Self::Leases,
        Self::CompletedJobs,
        Self::Reports,
        Self::UploadedBytes,
        Self::DownloadedBytes,
    ];
}

impl Counts {
    /// Adds to a count.
    pub fn add(&self, count: Count, number: u64) {
        self.0.counts[count as usize].fetch_add(number, Ordering::Relaxed);
    }

    /// Counts an attempt that ended without a result.
    pub fn add_failure(&self, cause: FailureCause) {
        self.0.failures[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A count.
    pub fn get(&self, count: Count) -> u64 {
        self.0.counts[count as usize].load(Ordering::Relaxed)
    }

    /// The attempts that ended for a cause.
    pub fn failures(&self, cause: FailureCause) -> u64 {
        self.0.failures[cause as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_a_place_of_its_own() {
        let counts = Counts::default();
        for (place, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, place);
            counts.add(count, place as u64 + 1);
        }
        assert_eq!(Count::ALL.map(|count| counts.get(count)), [1, 2, 3, 4, 5, 6]);
        counts.clone().add_failure(FailureCause::Stalled);
        assert_eq!((counts.failures(FailureCause::Stalled), counts.failures(FailureCause::Error)), (1, 0));
    }
}
