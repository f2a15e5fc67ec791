//! The coordinator of the simulation: the use cases on a real file, without the network around them. A crash leaves the file
//! as the system had it at that moment: in the middle of a transaction, after it, or between two steps of a use case.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::checkpoint::{Checkpoint, CheckpointRole, TrainingPoint};
use fivefold_common::ids::{Digest, Fold, JobSetId, LeaseRef};
use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::{EpochMetrics, EpochReport, Phase, Progress};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Completion, Coordinator, Party, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{ImageAccess, NewWorker, Reported, Task};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::mortal::MortalQueue;
use crate::protocol::{Answer, Call, EPOCHS, Lease};
use crate::rig::{ManualClock, MemoryBlobs, Rig, TEST_LIST, TRAIN_LIST, submission};

pub(crate) const LEASE_SECONDS: u32 = 1200;
const SETTINGS: Settings =
    Settings { lease_seconds: LEASE_SECONDS, stall_seconds: 3 * 3600, unreferenced_seconds: 7200, retain_days: 0 };

/// A user's wish.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Submit { request_id: String, spec: Box<JobSetSpec> },
    Cancel(JobSetId),
    Finish(JobSetId),
    Retry(JobSetId),
    Pause(JobSetId, bool),
    Retrain(JobSetId, Fold),
    Drain(String, bool),
}

/// What a coordinator has outside of its process.
struct State {
    folder: PathBuf,
    /// Counts the crashes.
    generation: u32,
    blobs: Arc<MemoryBlobs>,
    clock: Arc<ManualClock>,
}

impl State {
    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.sqlite", self.generation))
    }

    /// A connection beside the coordinator's.
    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.file()).connect().await.unwrap()
    }
}

/// A running coordinator.
pub(crate) struct Hub {
    state: State,
    queue: Arc<MortalQueue>,
    rig: Rig,
}

impl Hub {
    pub(crate) async fn new(folder: &Path) -> Hub {
        let state = State {
            folder: folder.to_owned(),
            generation: 0,
            blobs: Arc::default(),
            clock: Arc::new(ManualClock::default()),
        };
        Hub::open(state).await
    }

    async fn open(state: State) -> Hub {
        // The disk is not what is tested: what a dead process had written is there, synced or not.
        let queue = SqliteQueue::open(&state.file(), Durability::System).await.unwrap();
        let queue = Arc::new(MortalQueue::new(queue));
        let rig = Rig::new(queue.clone(), state.blobs.clone(), state.clock.clone(), SETTINGS);
        Hub { state, queue, rig }
    }

    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.rig.coordinator
    }

    pub(crate) fn blobs(&self) -> HashSet<Digest> {
        self.state.blobs.digests()
    }

    /// Whether the database is sound, as SQLite says.
    pub(crate) async fn integrity(&self) -> String {
        let mut connection = self.state.connect().await;
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap()
    }

    /// Answers a worker; the answer is there when what it says is committed.
    pub(crate) async fn answer(&mut self, now: Timestamp, worker: &str, call: &Call) -> Answer {
        self.state.clock.set(now);
        match do_call(&self.rig, worker, call).await {
            Ok(answer) => answer,
            Err(Error::StaleAttempt(_)) => Answer::Stale,
            Err(Error::NotFound { what: "worker", .. }) => Answer::Unknown,
            Err(error) => panic!("{call:?} of {worker}: {error}"),
        }
    }

    /// Does what a user wants, or says why not. A submission has an id.
    pub(crate) async fn grant(&mut self, now: Timestamp, wish: &Wish) -> Result<Option<JobSetId>, Error> {
        self.state.clock.set(now);
        do_wish(&self.rig, wish).await
    }

    /// The state of a job set, and whether folds of it were left out.
    pub(crate) async fn job_set_state(&self, id: &JobSetId) -> (JobSetState, bool) {
        let job_set = app::job_set(self.coordinator(), id).await.unwrap();
        (job_set.state, job_set.kept_folds.is_some())
    }

    /// What is done without being asked. Returns the attempts that it ended.
    pub(crate) async fn upkeep(&mut self, now: Timestamp) -> Vec<LeaseRef> {
        self.state.clock.set(now);
        let ended = app::sweep(self.coordinator()).await.unwrap();
        app::clean(self.coordinator()).await.unwrap();
        ended
    }

    /// Dies and leaves its files: in the middle of a transaction; and of a call if there is one, after so many steps of it.
    pub(crate) async fn crash(mut self, now: Timestamp, during: Option<(&str, &Call, u32)>) -> Remains {
        self.state.clock.set(now);
        if let Some((worker, call, steps)) = during {
            self.queue.die_after(steps);
            // Whatever it comes to: nobody is told.
            let _ = do_call(&self.rig, worker, call).await;
        }
        let from = self.state.file();
        self.state.generation += 1;
        copy_in_a_transaction(&from, &self.state.file()).await;
        drop((self.queue, self.rig));
        for suffix in ["", "-wal", "-shm"] {
            // What is not there need not go.
            let _ = std::fs::remove_file(format!("{}{suffix}", from.display()));
        }
        Remains { state: self.state }
    }
}

/// Copies a database while a transaction is being written: its pages are in the file, its commit is not.
async fn copy_in_a_transaction(from: &Path, to: &Path) {
    let mut connection = SqliteConnectOptions::new().filename(from).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA cache_size = 1").execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for unfinished in [
        "UPDATE jobs SET attempt = attempt + 1000, state_reason = hex(randomblob(500))",
        "UPDATE job_sets SET paused = 1 - paused, state_reason = hex(zeroblob(500))",
        "DELETE FROM checkpoints",
    ] {
        sqlx::raw_sql(unfinished).execute(&mut *transaction).await.unwrap();
    }
    for suffix in ["", "-wal"] {
        std::fs::copy(format!("{}{suffix}", from.display()), format!("{}{suffix}", to.display())).unwrap();
    }
    transaction.rollback().await.unwrap();
}

/// What a coordinator that died leaves.
pub(crate) struct Remains {
    state: State,
}

impl Remains {
    /// Starts a coordinator on it, as the real one starts.
    pub(crate) async fn start(self, now: Timestamp) -> Hub {
        self.state.clock.set(now);
        let hub = Hub::open(self.state).await;
        app::start_blobs(hub.coordinator()).await.unwrap();
        app::resume_work(hub.coordinator()).await.unwrap();
        hub
    }
}

async fn do_call(rig: &Rig, worker: &str, call: &Call) -> Result<Answer, Error> {
    let coordinator = &rig.coordinator;
    match call {
        Call::Register => {
            let worker = NewWorker {
                name: worker.to_owned(),
                device: "none".into(),
                version: "0".into(),
                images: ImageAccess::Folder,
            };
            app::register_worker(coordinator, worker).await.map(|()| Answer::Done)
        }
        Call::Acquire { request_id } => {
            app::see_worker(coordinator, worker).await?;
            let Some(leased) = app::acquire(coordinator, worker, request_id).await? else {
                return Ok(Answer::Leased(None));
            };
            let (kind, checkpoints) = match leased.task {
                Task::Train { checkpoints } => {
                    (JobKind::Train, checkpoints.iter().map(|held| (held.digest, held.point.epoch)).collect())
                }
                Task::Predict { checkpoint } => (JobKind::Predict, vec![(checkpoint.digest, EPOCHS)]),
            };
            let (lease, job_set, fold) = (leased.lease, leased.job_set, leased.fold);
            Ok(Answer::Leased(Some(Lease { lease, job_set, kind, fold, checkpoints })))
        }
        Call::Report { lease, sequence, step, epochs } => {
            let progress = Progress { step: *step, ..Progress::start_of(Phase::Training) };
            let epochs = epochs.iter().map(|epoch| metrics(*epoch)).collect();
            match app::report(coordinator, *lease, *sequence, Some(progress), epochs).await? {
                app::Answer::Stored(Reported { sequence: stored, release }) => {
                    assert!(stored >= *sequence, "a report that is answered is stored");
                    Ok(Answer::Reported { release })
                }
                app::Answer::Cancelled => Ok(Answer::Cancelled),
            }
        }
        Call::Upload { lease, kind, content } => upload(rig, *lease, *kind, content).await,
        Call::Download { lease, digest } => {
            app::allow_download(coordinator, *lease, *digest).await?;
            Ok(Answer::Content(rig.blobs.get(*digest).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())))
        }
        Call::Record { lease, digest, epoch } => {
            let point = TrainingPoint { epoch: *epoch, step: 0 };
            let role = CheckpointRole::Last;
            let checkpoint = Checkpoint { digest: *digest, size_bytes: 0, role, point, macro_f1: None };
            app::record_checkpoint(coordinator, *lease, &checkpoint).await.map(|()| Answer::Done)
        }
        Call::Complete { lease, digest, checkpoint } => {
            let made_by_json = "{}".to_owned();
            let completion = Completion { lease: *lease, table: *digest, checkpoint: *checkpoint, made_by_json };
            app::complete(coordinator, completion).await.map(|()| Answer::Done)
        }
        Call::Fail { lease, cause } => app::fail(coordinator, *lease, *cause, "why").await.map(|_| Answer::Done),
        Call::Release { lease } => app::release(coordinator, *lease).await.map(|()| Answer::Done),
    }
}

async fn upload(rig: &Rig, lease: LeaseRef, kind: ArtifactKind, content: &str) -> Result<Answer, Error> {
    app::allow_upload(&rig.coordinator, Party::Worker, Some(lease), kind).await?;
    let artifact = Artifact { kind, digest: Digest::of(content.as_bytes()), size_bytes: content.len() as u64 };
    let chunks = Box::pin(tokio_stream::iter([Ok(content.to_owned().into())]));
    app::upload(&rig.coordinator, artifact, 0, chunks).await?;
    Ok(Answer::Done)
}

async fn do_wish(rig: &Rig, wish: &Wish) -> Result<Option<JobSetId>, Error> {
    let coordinator = &rig.coordinator;
    match wish {
        Wish::Submit { request_id, spec } => {
            rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
            let test = rig.upload(ArtifactKind::Manifest, TEST_LIST).await;
            let submission = submission(request_id, JobSetSpec::clone(spec), Some(test));
            return app::submit(coordinator, submission).await.map(Some);
        }
        Wish::Cancel(id) => app::cancel(coordinator, id).await?,
        Wish::Finish(id) => app::finish(coordinator, id).await?,
        Wish::Retry(id) => app::retry(coordinator, id, None).await?,
        Wish::Pause(id, true) => app::pause(coordinator, id).await?,
        Wish::Pause(id, false) => app::resume(coordinator, id).await?,
        Wish::Retrain(id, fold) => app::retrain(coordinator, id, *fold).await?,
        Wish::Drain(worker, draining) => app::drain(coordinator, worker, *draining).await?,
    }
    Ok(None)
}

pub(crate) fn metrics(epoch: u32) -> EpochReport {
    let metrics = EpochMetrics {
        epoch,
        train_loss: 1.0 / f64::from(epoch + 1),
        valid_loss: 0.0,
        macro_f1: 0.0,
        threshold: Some(0.0),
        objective: None,
        learning_rate: 0.0,
    };
    EpochReport { metrics, duration_seconds: 0.0 }
}
