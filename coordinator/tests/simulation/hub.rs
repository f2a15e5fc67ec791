//! The coordinator of the simulation: the queue's own SQL on a real file, without the network around it. A crash leaves the file
//! as the system had it at that moment, in the middle of a transaction or after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId};
use fivefold_common::job::{FailureCause, JobKind};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::checkpoints::{self, NewCheckpoint};
use fivefold_coordinator::queue::ending::{self, JobResult};
use fivefold_coordinator::queue::job_sets::{self, NewJobSet};
use fivefold_coordinator::queue::{artifacts, fits, lease, report, stalled, workers};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::protocol::{Answer, Call, EPOCHS, Lease, merged};

pub(crate) const LEASE_SECONDS: u32 = 1200;
const STALL_SECONDS: i64 = 3 * 3600;
const UNNAMED_SECONDS: i64 = 7200;

/// The blobs on the coordinator's disk.
pub(crate) type Blobs = BTreeMap<Digest, String>;

/// A user's wish.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Submit { request_id: String, id: JobSetId, spec: Box<JobSetSpec> },
    Cancel(JobSetId),
    Retry(JobSetId),
    Pause(JobSetId, bool),
    Retrain(JobSetId, Fold),
    Drain(String, bool),
}

/// A running coordinator.
pub(crate) struct Hub {
    folder: PathBuf,
    generation: u32,
    pub(crate) connection: SqliteConnection,
    pub(crate) blobs: Blobs,
}

fn file(folder: &Path, generation: u32) -> PathBuf {
    folder.join(format!("{generation}.sqlite"))
}

async fn open(file: &Path) -> SqliteConnection {
    // What is tested is not the disk; what a dead process had written is there, synced or not.
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .locking_mode(SqliteLockingMode::Exclusive);
    options.connect().await.unwrap()
}

impl Hub {
    pub(crate) async fn new(folder: &Path) -> Hub {
        let mut connection = open(&file(folder, 0)).await;
        sqlx::migrate!("../migrations").run(&mut connection).await.unwrap();
        Hub { folder: folder.to_owned(), generation: 0, connection, blobs: Blobs::new() }
    }

    /// Answers a worker; the answer is there when what it says is committed.
    pub(crate) async fn answer(&mut self, now: Timestamp, worker: &str, call: &Call) -> Answer {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let answered = do_call(&mut transaction, &mut self.blobs, now, worker, call).await;
        match answered {
            Ok(answer) => {
                transaction.commit().await.unwrap();
                answer
            }
            Err(error) => {
                transaction.rollback().await.unwrap();
                match (error, call) {
                    (Error::StaleAttempt { job, attempt }, Call::Report { .. })
                        if report::is_cancelled(&mut self.connection, job, attempt).await.unwrap() =>
                    {
                        Answer::Cancelled
                    }
                    (Error::StaleAttempt { .. }, _) => Answer::Stale,
                    (Error::NotFound { what: "worker", .. }, _) => Answer::Unknown,
                    (error, call) => panic!("{call:?} of {worker}: {error}"),
                }
            }
        }
    }

    /// Does what a user wants, or says why not.
    pub(crate) async fn grant(&mut self, now: Timestamp, wish: &Wish) -> Result<(), Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let granted = do_wish(&mut transaction, &mut self.blobs, now, wish).await;
        match granted {
            Ok(()) => transaction.commit().await.unwrap(),
            Err(_) => transaction.rollback().await.unwrap(),
        }
        granted
    }

    /// What is done without being asked. Returns the attempts that it ended.
    pub(crate) async fn upkeep(&mut self, now: Timestamp) -> Vec<(JobId, Attempt)> {
        let mut ended = Vec::new();
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let c = &mut *transaction;
        for (job, attempt) in lease::expired(&mut *c, now).await.unwrap() {
            ending::fail(c, now, (job, attempt), FailureCause::WorkerLost, "").await.unwrap();
            ended.push((job, attempt));
        }
        stalled::mark(c, now, Timestamp(now.0 - STALL_SECONDS * 250)).await.unwrap();
        for lease in stalled::overdue(&mut *c, Timestamp(now.0 - STALL_SECONDS * 1000)).await.unwrap() {
            ending::fail(c, now, lease, FailureCause::Stalled, "no step").await.unwrap();
            ended.push(lease);
        }
        for id in job_sets::unfinished(&mut *c).await.unwrap() {
            advance(c, &mut self.blobs, now, &id).await;
        }
        let before = Timestamp(now.0 - UNNAMED_SECONDS * 1000);
        for digest in artifacts::unnamed(&mut *c, before).await.unwrap() {
            assert!(artifacts::forget(c, digest, before).await.unwrap(), "nothing names it");
            self.blobs.remove(&digest);
        }
        transaction.commit().await.unwrap();
        ended
    }

    /// Dies, in the middle of `during` if there is such a call, and leaves its files.
    pub(crate) async fn crash(mut self, now: Timestamp, during: Option<(&str, &Call)>) -> Remains {
        let generation = self.generation + 1;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        if let Some((worker, call)) = during {
            // Whatever it comes to: it is not committed.
            let _ = do_call(&mut transaction, &mut self.blobs, now, worker, call).await;
        }
        let (from, to) = (file(&self.folder, self.generation), file(&self.folder, generation));
        for suffix in ["", "-wal"] {
            let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if name(&from).exists() {
                std::fs::copy(name(&from), name(&to)).unwrap();
            }
        }
        drop(transaction);
        drop(self.connection);
        for suffix in ["", "-wal", "-shm"] {
            // What is not there need not go.
            let _ = std::fs::remove_file(format!("{}{suffix}", from.display()));
        }
        Remains { folder: self.folder, generation, blobs: self.blobs }
    }
}

/// What a coordinator that died leaves.
pub(crate) struct Remains {
    folder: PathBuf,
    generation: u32,
    blobs: Blobs,
}

impl Remains {
    /// Starts a coordinator on it, as the real one starts.
    pub(crate) async fn start(self, now: Timestamp) -> Hub {
        let Remains { folder, generation, mut blobs } = self;
        let mut connection = open(&file(&folder, generation)).await;
        let named = artifacts::digests(&mut connection).await.unwrap();
        blobs.retain(|digest, _| named.contains(&digest.to_string()));
        artifacts::touch_all(&mut connection, now).await.unwrap();
        lease::extend_all(&mut connection, now, LEASE_SECONDS).await.unwrap();
        Hub { folder, generation, connection, blobs }
    }
}

async fn do_call(
    c: &mut SqliteConnection,
    blobs: &mut Blobs,
    now: Timestamp,
    worker: &str,
    call: &Call,
) -> Result<Answer, Error> {
    match call {
        Call::Register => workers::register(c, now, worker, "none", "0").await.map(|()| Answer::Done),
        Call::Acquire { request_id } => {
            workers::seen(&mut *c, now, worker).await?;
            let Some(leased) = lease::acquire(c, now, worker, request_id, LEASE_SECONDS).await? else {
                return Ok(Answer::Leased(None));
            };
            let lease = (JobId(leased.id), Attempt(leased.attempt as u32));
            let job_set = ending::stored_id(&leased.job_set_id)?;
            let (kind, fold) = (leased.kind.parse().unwrap(), Fold(leased.fold as u8));
            let checkpoints = match kind {
                JobKind::Train => {
                    let held = checkpoints::of_job(c, lease.0).await?;
                    held.iter().map(|held| (held.digest.parse().unwrap(), held.epoch as u32)).collect()
                }
                JobKind::Predict => {
                    let jobs = job_sets::jobs(c, &job_set).await?;
                    let trained = jobs.iter().find(|job| job.kind == "train" && job.fold == leased.fold).unwrap();
                    vec![(trained.result_checkpoint_digest.as_deref().unwrap().parse().unwrap(), EPOCHS)]
                }
            };
            Ok(Answer::Leased(Some(Lease { lease, job_set, kind, fold, checkpoints })))
        }
        Call::Report { lease, sequence, step, epochs } => {
            let progress = report::Progress { step: *step, ..report::Progress::default() };
            let epochs: Vec<_> = epochs.iter().map(|epoch| metrics(*epoch)).collect();
            let stored = report::store(c, now, LEASE_SECONDS, *lease, *sequence, Some(progress), &epochs).await?;
            assert!(stored.sequence >= *sequence, "a report that is answered is stored");
            Ok(Answer::Reported { give_back: stored.give_back })
        }
        Call::Upload { lease, kind, content } => {
            lease::require(&mut *c, lease.0, lease.1).await?;
            let digest = Digest::of(content.as_bytes());
            blobs.insert(digest, content.clone());
            artifacts::record(c, now, digest, kind, content.len() as u64).await?;
            Ok(Answer::Done)
        }
        Call::Download { lease, digest } => {
            lease::require(c, lease.0, lease.1).await?;
            Ok(Answer::Content(blobs.get(digest).cloned()))
        }
        Call::Record { lease, digest, epoch } => {
            let checkpoint = NewCheckpoint { digest: *digest, role: "last", epoch: *epoch, step: 0, macro_f1: None };
            checkpoints::record(c, now, lease.0, lease.1, checkpoint).await.map(|()| Answer::Done)
        }
        Call::Complete { lease, digest, checkpoint } => {
            ending::of_attempt(&mut *c, lease.0, lease.1).await?;
            let result = JobResult { digest: *digest, checkpoint_digest: *checkpoint, made_by_json: "{}".into() };
            ending::complete(c, now, *lease, &result).await.map(|()| Answer::Done)
        }
        Call::Fail { lease, cause } => ending::fail(c, now, *lease, *cause, "why").await.map(|_| Answer::Done),
        Call::Release { lease } => ending::fail(c, now, *lease, FailureCause::Drained, "").await.map(|_| Answer::Done),
    }
}

async fn do_wish(c: &mut SqliteConnection, blobs: &mut Blobs, now: Timestamp, wish: &Wish) -> Result<(), Error> {
    match wish {
        Wish::Submit { request_id, id, spec } => {
            let list = put(c, blobs, now, "manifest", "a list".into()).await;
            if job_sets::of_request(&mut *c, request_id).await?.is_some() {
                return Ok(());
            }
            let new = NewJobSet {
                id: id.clone(),
                request_id: request_id.clone(),
                request_digest: Digest::of(request_id.as_bytes()),
                spec: JobSetSpec::clone(spec),
                train: list,
                hpa: None,
                test: Some(list),
                weights: None,
                folds: list,
            };
            job_sets::insert(c, now, &new).await
        }
        Wish::Cancel(id) => job_sets::cancel(c, now, id).await,
        Wish::Retry(id) => job_sets::retry(c, now, id, None).await,
        Wish::Pause(id, paused) => job_sets::set_paused(c, now, id, *paused).await,
        Wish::Retrain(id, fold) => fits::retrain(c, now, id, *fold).await,
        Wish::Drain(worker, draining) => workers::set_draining(c, worker, *draining).await,
    }
}

/// Takes a job set's next step, as the coordinator's results do.
async fn advance(c: &mut SqliteConnection, blobs: &mut Blobs, now: Timestamp, id: &JobSetId) {
    let row = job_sets::row(&mut *c, id).await.unwrap();
    let jobs = job_sets::jobs(&mut *c, id).await.unwrap();
    let kind = if row.state == "training" { "train" } else { "predict" };
    let due: Vec<_> = jobs.iter().filter(|job| job.kind == kind).collect();
    if due.iter().any(|job| job.state != "succeeded") {
        return;
    }
    let tables: Vec<Digest> = due.iter().map(|job| job.result_digest.as_deref().unwrap().parse().unwrap()).collect();
    for table in &tables {
        assert!(blobs.contains_key(table), "a result of {id} is lost");
    }
    let merged = put(c, blobs, now, if kind == "train" { "oof" } else { "submission" }, merged(&tables)).await;
    if kind == "train" {
        let report = put(c, blobs, now, "report", format!("the report of {merged}")).await;
        fits::store(c, now, id, (merged, report), (0.5, 0.7)).await.unwrap();
    } else {
        fits::store_submission(c, now, id, merged).await.unwrap();
    }
}

async fn put(c: &mut SqliteConnection, blobs: &mut Blobs, now: Timestamp, kind: &str, content: String) -> Digest {
    let digest = Digest::of(content.as_bytes());
    artifacts::record(c, now, digest, kind, content.len() as u64).await.unwrap();
    blobs.insert(digest, content);
    digest
}

pub(crate) fn metrics(epoch: u32) -> report::EpochMetrics {
    report::EpochMetrics {
        epoch: i64::from(epoch),
        train_loss: 1.0 / f64::from(epoch + 1),
        valid_loss: 0.0,
        valid_macro_f1: 0.0,
        valid_threshold: 0.0,
        learning_rate: 0.0,
        duration_seconds: 0.0,
    }
}
