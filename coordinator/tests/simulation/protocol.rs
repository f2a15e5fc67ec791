//! What workers and the coordinator say to each other in the simulation, and what the fake trainer makes.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Digest, Fold, JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, JobKind};
use fivefold_common::report::build_report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_common::submission::{mean_scores, write_submission};

use crate::rig::{csv, fold_rows, score_table, test_rows};

/// Epochs of a fold.
pub(crate) const EPOCHS: u32 = 8;
pub(crate) const FOLDS: u32 = 5;

/// What a worker asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Register,
    Acquire { request_id: String },
    Report { lease: LeaseRef, sequence: u64, step: u32, epochs: Vec<u32> },
    Upload { lease: LeaseRef, kind: ArtifactKind, content: String },
    Download { lease: LeaseRef, digest: Digest },
    Record { lease: LeaseRef, digest: Digest, epoch: u32 },
    Complete { lease: LeaseRef, digest: Digest, checkpoint: Option<Digest> },
    Fail { lease: LeaseRef, cause: FailureCause },
    Release { lease: LeaseRef },
}

impl Call {
    /// The lease that it names.
    pub(crate) fn lease(&self) -> Option<LeaseRef> {
        match self {
            Call::Register | Call::Acquire { .. } => None,
            Call::Report { lease, .. }
            | Call::Upload { lease, .. }
            | Call::Download { lease, .. }
            | Call::Record { lease, .. }
            | Call::Complete { lease, .. }
            | Call::Fail { lease, .. }
            | Call::Release { lease } => Some(*lease),
        }
    }
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Done,
    Leased(Option<Lease>),
    Reported {
        release: bool,
    },
    Cancelled,
    Content(Option<String>),
    Stale,
    /// Not now, and not because of the lease: register first.
    Unknown,
}

/// A job with everything that is needed to work on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lease {
    pub(crate) lease: LeaseRef,
    pub(crate) job_set: JobSetId,
    pub(crate) kind: JobKind,
    pub(crate) fold: Fold,
    /// Newest first, with the epoch in which training goes on.
    pub(crate) checkpoints: Vec<(Digest, u32)>,
}

/// The fake trainer: a state that depends on every epoch before it, as weights do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trainer {
    pub(crate) epoch: u32,
    state: Digest,
}

impl Trainer {
    pub(crate) fn new(job_set: &JobSetId, fold: Fold) -> Self {
        Self { epoch: 0, state: Digest::of(format!("{job_set} {fold}").as_bytes()) }
    }

    pub(crate) fn train_epoch(&mut self) {
        self.state = Digest::of(format!("{} {}", self.epoch, self.state).as_bytes());
        self.epoch += 1;
    }

    pub(crate) fn checkpoint(&self) -> String {
        format!("{} {}", self.epoch, self.state)
    }

    pub(crate) fn from_checkpoint(text: &str) -> Self {
        let (epoch, state) = text.split_once(' ').unwrap();
        Self { epoch: epoch.parse().unwrap(), state: state.parse().unwrap() }
    }

    /// Its out-of-fold table, when it has trained every epoch.
    pub(crate) fn oof(&self, fold: Fold) -> ScoreTable {
        score_table(fold_rows(&spec(), fold), fold, &self.state.to_string())
    }

    pub(crate) fn predictions(&self, fold: Fold) -> ScoreTable {
        score_table(test_rows(), fold, &self.state.to_string())
    }
}

/// The spec of all job sets.
pub(crate) fn spec() -> JobSetSpec {
    JobSetSpec { folds: FOLDS, max_attempts: 100, non_finite_retries: 10, ..JobSetSpec::default() }
}

/// What a fold's trainer is in the end when nothing disturbs it.
pub(crate) fn undisturbed(job_set: &JobSetId, fold: Fold) -> Trainer {
    let mut trainer = Trainer::new(job_set, fold);
    for _ in 0..EPOCHS {
        trainer.train_epoch();
    }
    trainer
}

/// The digests of a job set's results when nothing disturbs it.
#[derive(Debug, PartialEq)]
pub(crate) struct Results {
    pub(crate) oof: Digest,
    pub(crate) submission: Digest,
}

/// The results of these out-of-fold tables and predictions, in the order of their folds.
pub(crate) fn results(tables: &[ScoreTable], predictions: &[ScoreTable]) -> Results {
    let merged = ScoreTable { class_count: 28, rows: tables.iter().flat_map(|table| table.rows.clone()).collect() };
    let spec = spec();
    let rule = build_report(&merged, &spec.class_names(), &spec).unwrap().decision_rule();
    let ids: Vec<_> = test_rows().into_iter().map(|row| row.id).collect();
    let mut submission = Vec::new();
    write_submission(&ids, &mean_scores(predictions).unwrap(), &rule, &spec, &mut submission).unwrap();
    Results { oof: Digest::of(&csv(&merged)), submission: Digest::of(&submission) }
}
