//! What is promised, checked from what the coordinator answers and from what it holds in the end.

use std::collections::{BTreeMap, HashSet};

use fivefold_common::ids::{Attempt, Digest, JobSetId, LeaseRef};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_coordinator::app;

use crate::hub::{Hub, Wish, metrics};
use crate::protocol::{Answer, Call, EPOCHS, Results, results, undisturbed};
use crate::rig::csv;

/// What is known of a job from the answers alone.
#[derive(Debug, Default)]
struct Known {
    /// The newest attempt that was given.
    attempt: Option<Attempt>,
    /// Whether that attempt has ended.
    ended: bool,
    /// The epoch of the newest checkpoint that was acknowledged.
    checkpoint_epoch: u32,
    /// The attempt whose result was taken.
    result: Option<(Attempt, Digest)>,
    /// The checkpoints that the newest attempt was told of, until it records one of its own.
    told: Vec<Digest>,
}

/// Everything that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    jobs: BTreeMap<i64, Known>,
}

impl Promises {
    /// Takes note of an answer that is committed, and refuses one that breaks a promise.
    pub(crate) fn note(&mut self, call: &Call, answer: &Answer) {
        if let (Call::Acquire { .. }, Answer::Leased(Some(given))) = (call, answer) {
            let LeaseRef { job, attempt } = given.lease;
            let known = self.jobs.entry(job.0).or_default();
            let is_again = known.attempt == Some(attempt) && !known.ended;
            assert!(is_again || known.attempt.is_none_or(|newest| attempt.0 > newest.0), "{given:?} after {known:?}");
            let newest = given.checkpoints.first().map_or(0, |(_, epoch)| *epoch);
            let is_train = known.result.is_none();
            assert!(!is_train || newest >= known.checkpoint_epoch, "{given:?} lost a checkpoint of {known:?}");
            assert!(known.result.is_none(), "{given:?} has its result: {known:?}");
            (known.attempt, known.ended) = (Some(attempt), false);
            known.told = given.checkpoints.iter().map(|(digest, _)| *digest).collect();
            return;
        }
        let Some(LeaseRef { job, attempt }) = call.lease() else { return };
        if matches!(answer, Answer::Stale | Answer::Cancelled | Answer::Unknown) {
            return;
        }
        let known = self.jobs.entry(job.0).or_default();
        if let Call::Complete { digest, .. } = call {
            // The same completion again is answered in the same way.
            assert!(known.result.is_none_or(|result| result == (attempt, *digest)), "{call:?} after {known:?}");
            known.result = Some((attempt, *digest));
        } else {
            assert!(known.attempt == Some(attempt) && !known.ended, "{call:?} changed something after {known:?}");
        }
        match call {
            Call::Record { epoch, .. } => {
                known.checkpoint_epoch = known.checkpoint_epoch.max(*epoch);
                known.told.clear();
            }
            Call::Complete { .. } | Call::Fail { .. } | Call::Release { .. } => known.ended = true,
            _ => {}
        }
    }

    /// The coordinator took a lease back.
    pub(crate) fn note_end(&mut self, LeaseRef { job, attempt }: LeaseRef) {
        let known = self.jobs.entry(job.0).or_default();
        assert_eq!(known.attempt, Some(attempt));
        known.ended = true;
    }

    /// Refuses the deletion of a checkpoint that a live lease was told of and may still download.
    pub(crate) fn hold_for_leases(&self, hub: &Hub) {
        let held = hub.blobs();
        for (job, known) in self.jobs.iter().filter(|(_, known)| !known.ended) {
            let lost = known.told.iter().find(|told| !held.contains(told));
            assert!(lost.is_none(), "{lost:?} is deleted, of which a lease of job {job} was told: {known:?}");
        }
    }

    /// A user had something done.
    pub(crate) async fn note_wish(&mut self, wish: &Wish, hub: &Hub) {
        let (id, retrained) = match wish {
            Wish::Cancel(id) | Wish::Finish(id) => (id, None),
            Wish::Retrain(id, fold) => (id, Some(*fold)),
            _ => return,
        };
        for job in app::job_set(hub.coordinator(), id).await.unwrap().jobs {
            let known = self.jobs.entry(job.id.0).or_default();
            if retrained == Some(job.fold) && job.kind == JobKind::Train {
                let attempt = known.attempt;
                *known = Known { attempt, ended: true, ..Known::default() };
            } else if retrained.is_none() && job.state == JobState::Cancelled {
                known.ended = true;
            }
        }
    }
}

/// After all is over: every job set has the results of an undisturbed run, and the disk holds what the database names.
pub(crate) async fn hold_in_the_end(hub: &Hub, acknowledged: &[JobSetId]) {
    for id in acknowledged {
        let job_set = app::job_set(hub.coordinator(), id).await.unwrap();
        assert_eq!(job_set.state, JobSetState::Succeeded, "{id}: {}", job_set.state_reason);
        let (mut tables, mut predictions) = (Vec::new(), Vec::new());
        for job in &job_set.jobs {
            let trainer = undisturbed(id, job.fold);
            let (expected, all) = match job.kind {
                JobKind::Train => (trainer.oof(job.fold), &mut tables),
                JobKind::Predict => (trainer.predictions(job.fold), &mut predictions),
            };
            let result = job.result.as_ref().map(|result| result.table.digest);
            assert_eq!(result, Some(Digest::of(&csv(&expected))), "fold {} of {id}", job.fold);
            all.push(expected);
            if job.kind == JobKind::Train {
                let epochs = app::epochs(hub.coordinator(), id, job.fold).await.unwrap();
                let all_of_them: Vec<_> = (0..EPOCHS).map(metrics).collect();
                assert_eq!(epochs, all_of_them, "fold {} of {id}: every epoch's metrics, once", job.fold);
            }
        }
        assert_eq!((tables.len(), predictions.len()), (job_set.jobs.len() / 2, job_set.jobs.len() / 2));
        let fit = job_set.fit.unwrap();
        let found = Results { oof: fit.oof.digest, submission: fit.submission.unwrap().digest };
        assert_eq!(found, results(&tables, &predictions), "{id}");
        assert_eq!(job_set.fits.last().map(|record| record.fit.oof), Some(fit.oof));
    }
    let named = hub.coordinator().queue.artifacts().await.unwrap();
    let named: HashSet<Digest> = named.iter().map(|artifact| artifact.digest).collect();
    assert_eq!(named, hub.blobs(), "no blob is missing, none is orphaned");
    assert_eq!(hub.integrity().await, "ok");
}
