//! What workers and the coordinator say to each other in the simulation, and what the fake trainer makes.

use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId};
use fivefold_common::job::{FailureCause, JobKind};

/// Epochs of a fold.
pub(crate) const EPOCHS: u32 = 8;

/// What a worker asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Register,
    Acquire { request_id: String },
    Report { lease: (JobId, Attempt), sequence: u64, step: u32, epochs: Vec<u32> },
    Upload { lease: (JobId, Attempt), kind: &'static str, content: String },
    Download { lease: (JobId, Attempt), digest: Digest },
    Record { lease: (JobId, Attempt), digest: Digest, epoch: u32 },
    Complete { lease: (JobId, Attempt), digest: Digest, checkpoint: Option<Digest> },
    Fail { lease: (JobId, Attempt), cause: FailureCause },
    Release { lease: (JobId, Attempt) },
}

impl Call {
    /// The lease that it names.
    pub(crate) fn lease(&self) -> Option<(JobId, Attempt)> {
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
        give_back: bool,
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
    pub(crate) lease: (JobId, Attempt),
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
    pub(crate) fn oof(&self) -> String {
        format!("out-of-fold scores of {}", self.state)
    }

    pub(crate) fn predictions(&self) -> String {
        format!("predictions of {}", self.state)
    }
}

/// What a fold's trainer is in the end when nothing disturbs it.
pub(crate) fn undisturbed(job_set: &JobSetId, fold: Fold) -> Trainer {
    let mut trainer = Trainer::new(job_set, fold);
    for _ in 0..EPOCHS {
        trainer.train_epoch();
    }
    trainer
}

/// The content of a job set's merged table, from the digests of its folds' tables in their order.
pub(crate) fn merged(tables: &[Digest]) -> String {
    let parts: Vec<_> = tables.iter().map(Digest::to_string).collect();
    format!("merged from {}", parts.join(" "))
}
