//! Job sets whose next step may be due.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fivefold_common::ids::JobSetId;

/// The job sets that changed since they were last looked at.
#[derive(Debug, Clone, Default)]
pub struct DueJobSets {
    ids: Arc<Mutex<BTreeSet<JobSetId>>>,
}

impl DueJobSets {
    pub(super) fn add(&self, ids: impl IntoIterator<Item = JobSetId>) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    pub(super) fn take_first(&self) -> Option<JobSetId> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }
}
