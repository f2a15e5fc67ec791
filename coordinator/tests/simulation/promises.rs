//! What is promised, checked from what the coordinator answers and from what it holds in the end.

use std::collections::BTreeMap;

use fivefold_common::ids::{Attempt, Digest, JobId, JobSetId};
use fivefold_coordinator::queue::{artifacts, fits, job_sets, report};
use sqlx::SqliteConnection;

use crate::hub::{Hub, Wish, metrics};
use crate::protocol::{Answer, Call, EPOCHS, merged, undisturbed};

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
            let (job, attempt) = given.lease;
            let known = self.jobs.entry(job.0).or_default();
            let is_again = known.attempt == Some(attempt) && !known.ended;
            assert!(is_again || known.attempt.is_none_or(|newest| attempt.0 > newest.0), "{given:?} after {known:?}");
            let newest = given.checkpoints.first().map_or(0, |(_, epoch)| *epoch);
            let is_train = known.result.is_none();
            assert!(!is_train || newest >= known.checkpoint_epoch, "{given:?} lost a checkpoint of {known:?}");
            assert!(known.result.is_none(), "{given:?} has its result: {known:?}");
            (known.attempt, known.ended) = (Some(attempt), false);
            return;
        }
        let Some((job, attempt)) = call.lease() else { return };
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
            Call::Record { epoch, .. } => known.checkpoint_epoch = known.checkpoint_epoch.max(*epoch),
            Call::Complete { .. } | Call::Fail { .. } | Call::Release { .. } => known.ended = true,
            _ => {}
        }
    }

    /// The coordinator took a lease back.
    pub(crate) fn note_end(&mut self, (job, attempt): (JobId, Attempt)) {
        let known = self.jobs.entry(job.0).or_default();
        assert_eq!(known.attempt, Some(attempt));
        known.ended = true;
    }

    /// A user had something done.
    pub(crate) async fn note_wish(&mut self, wish: &Wish, connection: &mut SqliteConnection) {
        let (id, retrained) = match wish {
            Wish::Cancel(id) => (id, None),
            Wish::Retrain(id, fold) => (id, Some(i64::from(fold.0))),
            _ => return,
        };
        for job in job_sets::jobs(connection, id).await.unwrap() {
            let known = self.jobs.entry(job.id).or_default();
            if retrained == Some(job.fold) && job.kind == "train" {
                let attempt = known.attempt;
                *known = Known { attempt, ended: true, ..Known::default() };
            } else if retrained.is_none() && job.state == "cancelled" {
                known.ended = true;
            }
        }
    }
}

/// After all is over: every job set has the results of an undisturbed run, and the disk holds what the database names.
pub(crate) async fn hold_in_the_end(hub: &mut Hub, acknowledged: &[JobSetId]) {
    for id in acknowledged {
        let row = job_sets::row(&mut hub.connection, id).await.unwrap();
        assert_eq!(row.state, "succeeded", "{id}: {}", row.state_reason);
        let jobs = job_sets::jobs(&mut hub.connection, id).await.unwrap();
        let (mut tables, mut predictions) = (Vec::new(), Vec::new());
        for job in &jobs {
            let trainer = undisturbed(id, fivefold_common::ids::Fold(job.fold as u8));
            let (expected, all) = match job.kind.as_str() {
                "train" => (trainer.oof(), &mut tables),
                _ => (trainer.predictions(), &mut predictions),
            };
            let expected = Digest::of(expected.as_bytes());
            assert_eq!(job.result_digest, Some(expected.to_string()), "fold {} of {id}", job.fold);
            all.push(expected);
            if job.kind == "train" {
                let epochs = report::epochs(&mut hub.connection, JobId(job.id)).await.unwrap();
                let all_of_them: Vec<_> = (0..EPOCHS).map(metrics).collect();
                assert_eq!(epochs, all_of_them, "fold {} of {id}: every epoch's metrics, once", job.fold);
            }
        }
        let digest = |tables: &[Digest]| Some(Digest::of(merged(tables).as_bytes()).to_string());
        assert_eq!((tables.len(), predictions.len()), (jobs.len() / 2, jobs.len() / 2));
        assert_eq!(row.oof_digest, digest(&tables), "{id}");
        assert_eq!(row.submission_digest, digest(&predictions), "{id}");
        let fits = fits::of_job_set(&mut hub.connection, id).await.unwrap();
        assert_eq!(fits.last().map(|fit| fit.oof_digest.clone()), row.oof_digest);
    }
    let named = artifacts::digests(&mut hub.connection).await.unwrap();
    let held: std::collections::HashSet<String> = hub.blobs.keys().map(Digest::to_string).collect();
    assert_eq!(named, held, "no blob is missing, none is orphaned");
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut hub.connection).await.unwrap();
    assert_eq!(sound, "ok");
}
