//! How long job sets still take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fivefold_common::eta::{EpochPace, JobPace, Remaining, remaining};
use fivefold_common::ids::JobId;
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::progress::EpochReport;

use crate::app::Coordinator;
use crate::error::Error;
use crate::queue::{Job, JobSet};

/// The folds that are remembered; beyond that, all are forgotten.
const MOST_FOLDS: usize = 10_000;

/// The paces of folds, each until its next epoch ends, so that open pages do not read the epochs again.
#[derive(Debug, Clone, Default)]
pub(super) struct Paces(Arc<Mutex<HashMap<JobId, (EpochReport, EpochPace)>>>);

impl Paces {
    /// The remaining times of the jobs of a job set, in its order.
    pub(super) async fn remaining(&self, coordinator: &Coordinator, job_set: &JobSet) -> Result<Remaining, Error> {
        if job_set.state.has_ended() {
            return Ok(Remaining { jobs: vec![None; job_set.jobs.len()], job_set: None });
        }
        let mut paces = Vec::new();
        for job in &job_set.jobs {
            let epochs = self.epochs(coordinator, job_set, job).await?;
            let progress = job.progress.filter(|_| job.state == JobState::Leased);
            paces.push(JobPace { kind: job.kind, state: job.state, progress, epochs });
        }
        Ok(remaining(&job_set.spec, &paces))
    }

    async fn epochs(&self, coordinator: &Coordinator, job_set: &JobSet, job: &Job) -> Result<EpochPace, Error> {
        let Some(last) = job.last_epoch.filter(|_| job.kind == JobKind::Train) else {
            return Ok(EpochPace::of(&job_set.spec, &[]));
        };
        if !job.state.is_unfinished() {
            // Only the duration of an epoch matters, for the folds that wait.
            return Ok(EpochPace { seconds: Some(last.duration_seconds), ..EpochPace::default() });
        }
        if let Some((of, pace)) = self.known().get(&job.id)
            && *of == last
        {
            return Ok(pace.clone());
        }
        let pace = EpochPace::of(&job_set.spec, &coordinator.queue.epochs(job.id).await?);
        let mut known = self.known();
        if known.len() >= MOST_FOLDS {
            known.clear();
        }
        known.insert(job.id, (last, pace.clone()));
        Ok(pace)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<JobId, (EpochReport, EpochPace)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
