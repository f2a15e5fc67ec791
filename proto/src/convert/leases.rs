//! Leases and failures.

use fivefold_common::ids::{Attempt, JobId, LeaseRef};
use fivefold_common::job::FailureCause;

use super::{WireError, required, same_enum};
use crate::v1;

/// The job and the attempt of a lease.
///
/// # Errors
/// If the lease is not set, or its attempt is 0.
pub fn lease_from_wire(lease: Option<v1::LeaseRef>) -> Result<LeaseRef, WireError> {
    let lease = required("lease", lease)?;
    if lease.attempt == 0 {
        return Err(WireError::new("lease.attempt", "attempts are counted from 1"));
    }
    Ok(LeaseRef { job: JobId(lease.job_id), attempt: Attempt(lease.attempt) })
}

/// The wire form of a lease.
pub fn lease_to_wire(lease: LeaseRef) -> v1::LeaseRef {
    v1::LeaseRef { job_id: lease.job.0, attempt: lease.attempt.0 }
}

same_enum! {
    failure_cause_to_wire, failure_cause_from_wire, FailureCause, v1::FailureCause, "cause",
    [WorkerLost, Drained, OutOfMemory, NonFiniteLoss, BadData, Error, Stalled, BadWeights]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_count_from_one() {
        let lease = LeaseRef { job: JobId(1), attempt: Attempt(2) };
        assert_eq!(lease_from_wire(Some(lease_to_wire(lease))), Ok(lease));
        assert_eq!(lease_from_wire(Some(v1::LeaseRef { job_id: 1, attempt: 0 })).unwrap_err().field, "lease.attempt");
        assert_eq!(lease_from_wire(None).unwrap_err().field, "lease");
    }
}
