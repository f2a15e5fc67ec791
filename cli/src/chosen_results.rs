//! The results of a job set that a command fetches: those of a fit, or of the folds that are trained by now.

use anyhow::bail;
use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_proto::convert::{
    artifact_kind_from_wire, job_kind_from_wire, job_set_state_from_wire, job_state_from_wire, required,
};
use fivefold_proto::v1::{Artifact, Fit, FitFold, FitTrainedFoldsRequest, Job, JobSet};

use crate::error::UsageError;
use crate::render::job_set::headline;

/// Which results are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Newest,
    /// An earlier fit, counted from 1.
    Fit(u32),
    /// An earlier submission with its fit, counted from 1.
    Submission(u32),
}

/// Where results are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The present fit.
    Present,
    /// What was asked for.
    Asked,
    /// A fit, counted from 1: the job set was cancelled or failed when folds of it were trained again.
    BeforeItEnded(usize),
    /// The folds that are trained by now, fitted on request.
    TrainedFolds,
}

impl Source {
    /// Whether they are of the newest training of each fold, which the epochs of the job set are of too.
    pub(crate) fn is_newest(self) -> bool {
        matches!(self, Source::Present | Source::TrainedFolds)
    }
}

/// Results, and the job set that they are from.
pub(crate) struct ChosenResults {
    pub(crate) job_set: JobSet,
    pub(crate) source: Source,
    /// The out-of-fold table, the report and, if there is one, the submission.
    pub(crate) artifacts: Vec<Artifact>,
    /// The table and the model of each fold.
    pub(crate) folds: Vec<FitFold>,
    /// Whether folds of the job set are missing.
    pub(crate) is_partial: bool,
}

impl ChosenResults {
    /// # Errors
    /// If there are none.
    pub(crate) async fn find(job_set: JobSet, wanted: Wanted, coordinator: &Connection) -> anyhow::Result<Self> {
        if let Some(chosen) = Self::stored(&job_set, wanted)? {
            return Ok(chosen);
        }
        if trained_folds(&job_set) == 0 {
            bail!("{}", nothing_yet(&job_set));
        }
        let request = FitTrainedFoldsRequest { job_set_id: job_set.id.clone() };
        let answer = coordinator.call(request, async |c, r| c.job_sets().fit_trained_folds(r).await).await?;
        let (fit, job_set) = (required("fit", answer.fit)?, required("job_set", answer.job_set)?);
        Ok(Self {
            is_partial: fit.folds.len() < all_folds(&job_set),
            folds: folds_of_jobs(&job_set),
            artifacts: fit.results,
            source: Source::TrainedFolds,
            job_set,
        })
    }

    /// The results of a stored fit; `None` if the trained folds have to be fitted.
    fn stored(job_set: &JobSet, wanted: Wanted) -> anyhow::Result<Option<Self>> {
        let of = |fit: &Fit, source| Self::of_fit(job_set, fit, source);
        Ok(match wanted {
            Wanted::Submission(number) => Some(Self::of_submission(job_set, number)?),
            Wanted::Fit(number) => {
                let (id, fits) = (&job_set.id, job_set.fits.len());
                let Some(fit) = job_set.fits.get(number as usize - 1) else {
                    let problem = format!("there is no fit {number}: {id} has {}", counted(fits, "fit"));
                    return Err(UsageError(problem).into());
                };
                Some(of(fit, Source::Asked))
            }
            Wanted::Newest if !job_set.results.is_empty() => {
                let present = job_set.fits.iter().find(|fit| fit.results.first() == job_set.results.first());
                let folds = present.map(|fit| fit.fold_results.clone()).filter(|folds| !folds.is_empty());
                Some(Self {
                    source: Source::Present,
                    artifacts: job_set.results.clone(),
                    // A coordinator of an earlier version does not name them in its fits.
                    folds: folds.unwrap_or_else(|| folds_of_jobs(job_set)),
                    is_partial: present.is_some_and(|fit| lacks_folds(job_set, fit)),
                    job_set: job_set.clone(),
                })
            }
            Wanted::Newest => {
                let has_ended = job_set_state_from_wire(job_set.state).is_ok_and(JobSetState::has_ended);
                let last = job_set.fits.last().filter(|_| has_ended);
                let last = last.filter(|fit| fit.folds.len() >= trained_folds(job_set));
                last.map(|fit| of(fit, Source::BeforeItEnded(job_set.fits.len())))
            }
        })
    }

    fn of_fit(job_set: &JobSet, fit: &Fit, source: Source) -> Self {
        Self {
            job_set: job_set.clone(),
            source,
            artifacts: fit.results.clone(),
            folds: fit.fold_results.clone(),
            is_partial: lacks_folds(job_set, fit),
        }
    }

    /// A submission with the table and the report of its fit.
    fn of_submission(job_set: &JobSet, number: u32) -> anyhow::Result<Self> {
        let (id, count) = (&job_set.id, job_set.submissions.len());
        let Some(submission) = job_set.submissions.get(number as usize - 1) else {
            let problem = format!("there is no submission {number}: {id} has {}", counted(count, "submission"));
            return Err(UsageError(problem).into());
        };
        let is_its_fit = |fit: &&Fit| fit.results.iter().any(|artifact| artifact.digest == submission.oof_digest);
        let fit = job_set.fits.iter().find(is_its_fit).cloned().unwrap_or_default();
        let mut chosen = Self::of_fit(job_set, &fit, Source::Asked);
        chosen.artifacts.retain(|artifact| !is_of_kind(artifact, ArtifactKind::Submission));
        chosen.artifacts.extend(submission.artifact.clone());
        Ok(chosen)
    }
}

/// Why there are no results, and what to do.
fn nothing_yet(job_set: &JobSet) -> String {
    let (id, headline) = (&job_set.id, headline(job_set));
    if job_set_state_from_wire(job_set.state).is_ok_and(JobSetState::has_ended) {
        return format!(
            "no fold is trained ({headline}); `fivefold retry {id}` queues the failed and cancelled jobs again"
        );
    }
    let earlier = earlier_fit(job_set).map(|earlier| format!("; {earlier}")).unwrap_or_default();
    format!("no fold is trained yet ({headline}); wait for it with `fivefold watch {id}`{earlier}")
}

/// How to get the last fit of a job set whose folds are trained again.
pub(crate) fn earlier_fit(job_set: &JobSet) -> Option<String> {
    let (id, number) = (&job_set.id, job_set.fits.len());
    let is_withdrawn = job_set.results.is_empty() && number > 0;
    is_withdrawn.then(|| {
        format!(
            "`fivefold results {id} --fit {number}` has what was finished before, with --checkpoints its models too"
        )
    })
}

/// Whether a fit lacks folds of the job set. A coordinator of an earlier version does not name the folds.
fn lacks_folds(job_set: &JobSet, fit: &Fit) -> bool {
    !fit.folds.is_empty() && fit.folds.len() < all_folds(job_set)
}

fn all_folds(job_set: &JobSet) -> usize {
    job_set.spec.as_ref().map_or(0, |spec| spec.folds.len())
}

/// The number of folds that are trained.
pub(crate) fn trained_folds(job_set: &JobSet) -> usize {
    train_jobs(job_set).filter(|job| job_state_from_wire(job.state) == Ok(JobState::Succeeded)).count()
}

pub(crate) fn train_jobs(job_set: &JobSet) -> impl Iterator<Item = &Job> {
    job_set.jobs.iter().filter(|job| job_kind_from_wire(job.kind) == Ok(JobKind::Train))
}

/// Refuses folds that a job set does not have.
pub(crate) fn require_folds(job_set: &JobSet, folds: &[u32]) -> Result<(), UsageError> {
    let all: Vec<u32> = train_jobs(job_set).map(|job| job.fold).collect();
    let Some(other) = folds.iter().find(|fold| !all.contains(fold)) else { return Ok(()) };
    let all: Vec<String> = all.iter().map(u32::to_string).collect();
    Err(UsageError(format!("{} has no fold {other}: its folds are {}", job_set.id, all.join(", "))))
}

/// The tables and models of the folds that are trained, by fold.
fn folds_of_jobs(job_set: &JobSet) -> Vec<FitFold> {
    let artifact = |job: &Job, kind| job.results.iter().find(|artifact| is_of_kind(artifact, kind)).cloned();
    let trained = train_jobs(job_set).filter(|job| !job.results.is_empty());
    let fold = |job: &Job| FitFold {
        fold: job.fold,
        table: artifact(job, ArtifactKind::Oof),
        checkpoint: artifact(job, ArtifactKind::Checkpoint),
    };
    let mut folds: Vec<FitFold> = trained.map(fold).collect();
    folds.sort_by_key(|fold| fold.fold);
    folds
}

pub(crate) fn is_of_kind(artifact: &Artifact, kind: ArtifactKind) -> bool {
    artifact_kind_from_wire(artifact.kind) == Ok(kind)
}

/// A count with its noun, such as `1 fit` and `2 fits`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{self, JobSetSpec, job, job_set};

    use super::*;

    fn artifact(kind: v1::ArtifactKind, digest: &str) -> Artifact {
        Artifact { kind: kind.into(), digest: digest.into(), size_bytes: 1 }
    }

    fn fit(name: &str, folds: Vec<u32>) -> Fit {
        let of = |fold| FitFold {
            fold,
            table: None,
            checkpoint: Some(artifact(v1::ArtifactKind::Checkpoint, &format!("{name} model {fold}"))),
        };
        Fit {
            results: vec![artifact(v1::ArtifactKind::Oof, name), artifact(v1::ArtifactKind::Report, "r")],
            fold_results: folds.iter().copied().map(of).collect(),
            folds,
            ..Fit::default()
        }
    }

    /// Two folds that were fitted, and are trained again.
    fn extended(state: job_set::State, jobs: [job::State; 2]) -> JobSet {
        let job = |(fold, state): (usize, job::State)| Job {
            kind: v1::JobKind::Train.into(),
            fold: fold as u32,
            state: state.into(),
            ..Job::default()
        };
        JobSet {
            id: "js-abcdefgh".into(),
            state: state.into(),
            spec: Some(JobSetSpec { folds: vec![0, 1], ..JobSetSpec::default() }),
            jobs: jobs.into_iter().enumerate().map(job).collect(),
            fits: vec![fit("first", vec![0, 1])],
            ..JobSet::default()
        }
    }

    #[test]
    fn a_job_set_that_was_cancelled_while_it_was_extended_has_its_last_fit() {
        use job::State::{Cancelled, Leased, Succeeded};
        for state in [job_set::State::Cancelled, job_set::State::Failed] {
            let set = extended(state, [Cancelled, Succeeded]);
            let chosen = ChosenResults::stored(&set, Wanted::Newest).unwrap().unwrap();
            assert_eq!((chosen.source, chosen.is_partial), (Source::BeforeItEnded(1), false));
            assert_eq!(chosen.artifacts[0].digest, "first");
            let models: Vec<_> = chosen.folds.iter().map(|fold| &fold.checkpoint.as_ref().unwrap().digest).collect();
            assert_eq!(models, ["first model 0", "first model 1"]);
        }
        let running = extended(job_set::State::Training, [Leased, Succeeded]);
        assert!(ChosenResults::stored(&running, Wanted::Newest).unwrap().is_none(), "the trained folds are fitted");
        let asked = ChosenResults::stored(&running, Wanted::Fit(1)).unwrap().unwrap();
        assert_eq!((asked.source, asked.folds.len()), (Source::Asked, 2));
        let none = extended(job_set::State::Training, [Leased, Leased]);
        let message = nothing_yet(&none);
        assert!(message.contains("`fivefold results js-abcdefgh --fit 1`"), "{message}");
        let refused = ChosenResults::stored(&none, Wanted::Fit(2)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(refused, "there is no fit 2: js-abcdefgh has 1 fit");
    }

    #[test]
    fn more_trained_folds_than_the_last_fit_has_come_first() {
        let mut set = extended(job_set::State::Failed, [job::State::Succeeded, job::State::Succeeded]);
        set.fits = vec![fit("partial", vec![0])];
        assert!(ChosenResults::stored(&set, Wanted::Newest).unwrap().is_none());
        set.results = set.fits[0].results.clone();
        let present = ChosenResults::stored(&set, Wanted::Newest).unwrap().unwrap();
        assert_eq!((present.source, present.is_partial), (Source::Present, true));
    }
}
