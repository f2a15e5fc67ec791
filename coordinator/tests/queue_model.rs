//! The queue's SQL against a model in memory: random operations, and after each one both have to say the same. A counter-example
//! shrinks to a short list of operations.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fivefold_common::ids::{Attempt, Digest, Fold, JobId, JobSetId};
use fivefold_common::job::{FailureCause, JobEvent, JobState, RetryDecision, next, retry_decision};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::ending::{self, JobResult};
use fivefold_coordinator::queue::job_sets::{self, NewJobSet};
use fivefold_coordinator::queue::{artifacts, fits, lease, report, workers};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Acquire as _, ConnectOptions as _, Connection as _, SqliteConnection};

const CASES: u32 = 700;
/// From one on, so that a counter-example can shrink to a few.
const OPERATIONS: std::ops::Range<usize> = 1..340;
const WORKERS: [&str; 3] = ["ada", "ben", "cyd"];
const LEASE_SECONDS: u32 = 60;
const FOLDS: usize = 3;

#[derive(Debug, Clone)]
enum Operation {
    Submit,
    Lease {
        worker: usize,
        is_repeated: bool,
    },
    /// Of any lease that was ever given: most are stale.
    Report {
        lease: usize,
    },
    Complete {
        lease: usize,
    },
    Fail {
        lease: usize,
        cause: FailureCause,
    },
    Expire,
    Cancel {
        set: usize,
    },
    Retry {
        set: usize,
        fold: Option<Fold>,
    },
    /// What the coordinator does when every fold is trained, and tries when they are not.
    Fit {
        set: usize,
    },
    Retrain {
        set: usize,
        fold: Fold,
    },
    Pause {
        set: usize,
        paused: bool,
    },
    Drain {
        worker: usize,
        draining: bool,
    },
    /// Of the machine's clock, also backwards.
    ClockJump {
        seconds: i64,
    },
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let fold = || (0..FOLDS as u8).prop_map(Fold);
    let lease = || prop_oneof![3 => 0..3usize, 1 => 3..40usize];
    let cause = proptest::sample::select(FailureCause::ALL.to_vec());
    prop_oneof![
        1 => Just(Operation::Submit),
        8 => (0..WORKERS.len(), prop::bool::weighted(0.2)).prop_map(|(worker, is_repeated)| Operation::Lease { worker, is_repeated }),
        5 => lease().prop_map(|lease| Operation::Report { lease }),
        2 => lease().prop_map(|lease| Operation::Complete { lease }),
        4 => (lease(), cause).prop_map(|(lease, cause)| Operation::Fail { lease, cause }),
        3 => Just(Operation::Expire),
        1 => (0..3usize).prop_map(|set| Operation::Cancel { set }),
        1 => (0..3usize, prop::option::of(fold())).prop_map(|(set, fold)| Operation::Retry { set, fold }),
        2 => (0..3usize).prop_map(|set| Operation::Fit { set }),
        1 => (0..3usize, fold()).prop_map(|(set, fold)| Operation::Retrain { set, fold }),
        1 => (0..3usize, any::<bool>()).prop_map(|(set, paused)| Operation::Pause { set, paused }),
        1 => (0..WORKERS.len(), prop::bool::weighted(0.3)).prop_map(|(worker, draining)| Operation::Drain { worker, draining }),
        4 => (-30..400i64).prop_map(|seconds| Operation::ClockJump { seconds }),
        1 => Just(Operation::Restart),
    ]
}

#[derive(Debug, Clone)]
struct ModelJob {
    id: i64,
    set: usize,
    fold: Fold,
    state: JobState,
    attempt: u32,
    worker: String,
    request: String,
    expires_ms: i64,
    not_before_ms: i64,
    failures: HashMap<FailureCause, u32>,
    failed_on: Vec<String>,
    result: Option<Digest>,
}

impl ModelJob {
    /// Moves by the one table of what may follow what.
    fn on(&mut self, event: JobEvent) {
        self.state = next(self.state, event).unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetState {
    Training,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug)]
struct ModelSet {
    id: JobSetId,
    state: SetState,
    paused: bool,
    /// The OOF digest of every fit.
    fits: Vec<Digest>,
}

struct Model {
    now: Timestamp,
    spec: JobSetSpec,
    jobs: Vec<ModelJob>,
    sets: Vec<ModelSet>,
    draining: [bool; WORKERS.len()],
    /// Every lease that was given, newest first.
    leases: Vec<(JobId, Attempt)>,
    requests: [String; WORKERS.len()],
    request_count: usize,
}

/// The real thing, on a file.
struct Real {
    file: PathBuf,
    connection: SqliteConnection,
}

impl Real {
    async fn open(file: &Path) -> Real {
        // What is tested is not the disk.
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off);
        Real { file: file.to_owned(), connection: options.connect().await.unwrap() }
    }
}

/// Runs an operation in a transaction, as the coordinator does: what fails leaves nothing behind.
macro_rules! write {
    ($real:expr, |$c:ident| $work:expr) => {{
        let mut transaction = $real.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let outcome = {
            let mut savepoint = transaction.begin().await.unwrap();
            let $c = &mut *savepoint;
            let outcome = $work.await;
            if outcome.is_ok() {
                savepoint.commit().await.unwrap()
            } else {
                savepoint.rollback().await.unwrap()
            }
            outcome
        };
        transaction.commit().await.unwrap();
        outcome
    }};
}

fn is_stale<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::StaleAttempt { .. }))
}

async fn submit(real: &mut Real, model: &mut Model) {
    let number = model.sets.len();
    if number == 3 {
        return;
    }
    let id = JobSetId::from_entropy(number as u64 * 7919 + 1);
    let digest = Digest::of(b"a list");
    let new = NewJobSet {
        id: id.clone(),
        request_id: format!("submit-{number}"),
        request_digest: digest,
        spec: model.spec.clone(),
        train: digest,
        hpa: None,
        test: None,
        weights: None,
        folds: digest,
    };
    let now = model.now;
    write!(real, |c| async {
        artifacts::record(&mut *c, now, digest, "manifest", 6).await?;
        job_sets::insert(c, now, &new).await
    })
    .unwrap();
    for row in job_sets::jobs(&mut real.connection, &id).await.unwrap() {
        model.jobs.push(ModelJob {
            id: row.id,
            set: number,
            fold: Fold(row.fold as u8),
            state: JobState::Queued,
            attempt: 0,
            worker: String::new(),
            request: String::new(),
            expires_ms: 0,
            not_before_ms: 0,
            failures: HashMap::new(),
            failed_on: Vec::new(),
            result: None,
        });
    }
    model.sets.push(ModelSet { id, state: SetState::Training, paused: false, fits: Vec::new() });
}

async fn take_lease(real: &mut Real, model: &mut Model, worker: usize, is_repeated: bool) {
    if !is_repeated || model.requests[worker].is_empty() {
        model.request_count += 1;
        model.requests[worker] = format!("wait-{}", model.request_count);
    }
    let (name, request, now) = (WORKERS[worker], model.requests[worker].clone(), model.now);
    let expires_ms = now.plus_seconds(LEASE_SECONDS).0;
    let leased = write!(real, |c| lease::acquire(c, now, name, &request, LEASE_SECONDS)).unwrap();
    let held = |job: &ModelJob| job.state == JobState::Leased && job.worker == name && job.request == request;
    if let Some(job) = model.jobs.iter_mut().find(|job| held(job)) {
        job.expires_ms = expires_ms;
        let leased = leased.unwrap();
        assert_eq!((leased.id, leased.attempt), (job.id, i64::from(job.attempt)), "the same wait, the same lease");
        return;
    }
    let (sets, draining) = (&model.sets, model.draining[worker]);
    let free = model.jobs.iter_mut().filter(|job| {
        job.state == JobState::Queued && job.not_before_ms <= now.0 && !sets[job.set].paused && !draining
    });
    let chosen = free.min_by_key(|job| (job.failed_on.iter().any(|failed| failed == name), job.id));
    let Some(job) = chosen else {
        assert!(leased.is_none(), "{leased:?} should not be leased");
        return;
    };
    job.on(JobEvent::Leased);
    job.attempt += 1;
    (job.worker, job.request, job.expires_ms) = (name.to_owned(), request, expires_ms);
    let leased = leased.unwrap();
    assert_eq!((leased.id, leased.attempt), (job.id, i64::from(job.attempt)));
    model.leases.insert(0, (JobId(job.id), Attempt(job.attempt)));
}

/// The job of a lease, if the lease is held.
fn held(jobs: &mut [ModelJob], (job, attempt): (JobId, Attempt)) -> Option<&mut ModelJob> {
    jobs.iter_mut().find(|held| held.id == job.0 && held.attempt == attempt.0 && held.state == JobState::Leased)
}

async fn report(real: &mut Real, model: &mut Model, lease: (JobId, Attempt)) {
    let now = model.now;
    let stored = write!(real, |c| report::store(c, now, LEASE_SECONDS, lease, 1, None, &[]));
    match held(&mut model.jobs, lease) {
        Some(job) => {
            job.on(JobEvent::Reported);
            job.expires_ms = now.plus_seconds(LEASE_SECONDS).0;
            let draining = WORKERS.iter().position(|name| *name == job.worker).is_some_and(|at| model.draining[at]);
            assert_eq!(stored.unwrap().give_back, model.sets[job.set].paused || draining);
        }
        None => assert!(is_stale(&stored), "{stored:?}"),
    }
}

async fn complete(real: &mut Real, model: &mut Model, lease: (JobId, Attempt)) {
    let now = model.now;
    let digest = Digest::of(format!("{} {}", lease.0, lease.1).as_bytes());
    let result = JobResult { digest, checkpoint_digest: None, made_by_json: "{}".into() };
    let completed = write!(real, |c| async {
        artifacts::record(&mut *c, now, digest, "oof", 1).await?;
        ending::complete(c, now, lease, &result).await
    });
    let before = model.jobs.iter().find(|job| job.id == lease.0.0).unwrap();
    if before.state == JobState::Succeeded && before.result == Some(digest) {
        completed.unwrap();
        return;
    }
    match held(&mut model.jobs, lease) {
        Some(job) => {
            completed.unwrap();
            job.on(JobEvent::Completed);
            job.result = Some(digest);
            let set = job.set;
            end_set(model, set);
        }
        None => assert!(is_stale(&completed), "{completed:?}"),
    }
}

async fn fail(real: &mut Real, model: &mut Model, lease: (JobId, Attempt), cause: FailureCause) {
    let now = model.now;
    let failed = write!(real, |c| ending::fail(c, now, lease, cause, "why"));
    let Some(job) = held(&mut model.jobs, lease) else {
        assert!(is_stale(&failed), "{failed:?}");
        return;
    };
    let count = job.failures.entry(cause).or_default();
    *count += 1;
    let expected = retry_decision(&model.spec, cause, *count);
    assert_eq!(failed.unwrap(), expected);
    if !matches!(cause, FailureCause::WorkerLost | FailureCause::Drained) {
        job.failed_on.push(job.worker.clone());
    }
    (job.worker, job.request) = (String::new(), String::new());
    match expected {
        RetryDecision::RetryAfter { seconds } => {
            job.on(JobEvent::AttemptFailed);
            job.not_before_ms = now.plus_seconds(seconds).0;
        }
        RetryDecision::GiveUp => {
            job.on(JobEvent::LastAttemptFailed);
            job.not_before_ms = now.0;
        }
    }
    let set = job.set;
    end_set(model, set);
}

/// A job set has ended when one of its jobs failed or was cancelled, and none can go on.
fn end_set(model: &mut Model, set: usize) {
    let states: Vec<JobState> = model.jobs.iter().filter(|job| job.set == set).map(|job| job.state).collect();
    let goes_on = states.iter().any(|state| matches!(state, JobState::Queued | JobState::Leased));
    if model.sets[set].state != SetState::Training || goes_on {
        return;
    }
    if states.contains(&JobState::Failed) {
        (model.sets[set].state, model.sets[set].paused) = (SetState::Failed, false);
    } else if states.contains(&JobState::Cancelled) {
        (model.sets[set].state, model.sets[set].paused) = (SetState::Cancelled, false);
    }
}

/// What the coordinator does twice a second.
async fn expire(real: &mut Real, model: &mut Model) {
    let now = model.now;
    let due = |job: &ModelJob| job.state == JobState::Leased && job.expires_ms < now.0;
    let mut expected: Vec<_> =
        model.jobs.iter().filter(|job| due(job)).map(|job| (JobId(job.id), Attempt(job.attempt))).collect();
    let mut expired = lease::expired(&mut real.connection, now).await.unwrap();
    expected.sort_by_key(|lease| lease.0.0);
    expired.sort_by_key(|lease| lease.0.0);
    assert_eq!(expired, expected);
    for lease in expired {
        fail(real, model, lease, FailureCause::WorkerLost).await;
    }
}

async fn cancel(real: &mut Real, model: &mut Model, set: usize) {
    let now = model.now;
    let id = model.sets[set].id.clone();
    let cancelled = write!(real, |c| job_sets::cancel(c, now, &id));
    match model.sets[set].state {
        SetState::Succeeded => {
            assert!(matches!(cancelled, Err(Error::WrongState(_))), "{cancelled:?}");
            return;
        }
        SetState::Cancelled => return cancelled.unwrap(),
        SetState::Training | SetState::Failed => cancelled.unwrap(),
    }
    (model.sets[set].state, model.sets[set].paused) = (SetState::Cancelled, false);
    for job in model.jobs.iter_mut().filter(|job| job.set == set) {
        if !matches!(job.state, JobState::Succeeded | JobState::Cancelled) {
            job.on(JobEvent::Cancelled);
        }
    }
}

async fn retry(real: &mut Real, model: &mut Model, set: usize, fold: Option<Fold>) {
    let now = model.now;
    let id = model.sets[set].id.clone();
    let retried = write!(real, |c| job_sets::retry(c, now, &id, fold));
    let ended = |job: &ModelJob| {
        job.set == set
            && fold.is_none_or(|fold| job.fold == fold)
            && matches!(job.state, JobState::Failed | JobState::Cancelled)
    };
    let set_ended = matches!(model.sets[set].state, SetState::Failed | SetState::Cancelled);
    if !model.jobs.iter().any(ended) && (fold.is_some() || !set_ended) {
        assert!(matches!(retried, Err(Error::WrongState(_))), "{retried:?}");
        return;
    }
    retried.unwrap();
    for job in model.jobs.iter_mut().filter(|job| ended(job)) {
        job.on(JobEvent::Retried);
        (job.not_before_ms, job.worker, job.request) = (0, String::new(), String::new());
        job.failures.clear();
    }
    model.sets[set].state = SetState::Training;
}

async fn fit(real: &mut Real, model: &mut Model, set: usize) {
    let now = model.now;
    let id = model.sets[set].id.clone();
    let results: Vec<_> = model.jobs.iter().filter(|job| job.set == set).map(|job| job.result).collect();
    let oof = Digest::of(format!("{results:?}").as_bytes());
    let report = Digest::of(format!("the report of {oof}").as_bytes());
    write!(real, |c| async {
        artifacts::record(&mut *c, now, oof, "oof", 1).await?;
        artifacts::record(&mut *c, now, report, "report", 1).await?;
        fits::store(c, now, &id, (oof, report), (0.5, 0.7)).await
    })
    .unwrap();
    let set = &mut model.sets[set];
    if set.state == SetState::Training && results.iter().all(Option::is_some) {
        (set.state, set.paused) = (SetState::Succeeded, false);
        if !set.fits.contains(&oof) {
            set.fits.push(oof);
        }
    }
}

async fn retrain(real: &mut Real, model: &mut Model, set: usize, fold: Fold) {
    let now = model.now;
    let id = model.sets[set].id.clone();
    let retrained = write!(real, |c| fits::retrain(c, now, &id, fold));
    let job = model.jobs.iter_mut().find(|job| job.set == set && job.fold == fold).unwrap();
    let set = &mut model.sets[set];
    if matches!(set.state, SetState::Failed | SetState::Cancelled) || job.state != JobState::Succeeded {
        assert!(matches!(retrained, Err(Error::WrongState(_))), "{retrained:?}");
        return;
    }
    retrained.unwrap();
    job.on(JobEvent::Retrained);
    (job.not_before_ms, job.worker, job.request, job.result) = (0, String::new(), String::new(), None);
    job.failures.clear();
    set.state = SetState::Training;
}

async fn pause(real: &mut Real, model: &mut Model, set: usize, paused: bool) {
    let now = model.now;
    let id = model.sets[set].id.clone();
    let changed = write!(real, |c| job_sets::set_paused(c, now, &id, paused));
    if model.sets[set].state == SetState::Training {
        changed.unwrap();
        model.sets[set].paused = paused;
    } else {
        assert!(matches!(changed, Err(Error::WrongState(_))), "{changed:?}");
    }
}

async fn restart(real: &mut Real, model: &mut Model) {
    let file = real.file.clone();
    let reopened = Real::open(&file).await;
    std::mem::replace(real, reopened).connection.close().await.unwrap();
    let now = model.now;
    write!(real, |c| lease::extend_all(c, now, LEASE_SECONDS)).unwrap();
    for job in model.jobs.iter_mut().filter(|job| job.state == JobState::Leased) {
        job.expires_ms = job.expires_ms.max(now.plus_seconds(LEASE_SECONDS).0);
    }
}

async fn apply(real: &mut Real, model: &mut Model, operation: &Operation) {
    let lease = |place: usize| model.leases.get(place).copied();
    match *operation {
        Operation::Submit => submit(real, model).await,
        Operation::Lease { worker, is_repeated } => take_lease(real, model, worker, is_repeated).await,
        Operation::Report { lease: place } => {
            if let Some(lease) = lease(place) {
                report(real, model, lease).await;
            }
        }
        Operation::Complete { lease: place } => {
            if let Some(lease) = lease(place) {
                complete(real, model, lease).await;
            }
        }
        Operation::Fail { lease: place, cause } => {
            if let Some(lease) = lease(place) {
                fail(real, model, lease, cause).await;
            }
        }
        Operation::Expire => expire(real, model).await,
        Operation::Cancel { set } if set < model.sets.len() => cancel(real, model, set).await,
        Operation::Retry { set, fold } if set < model.sets.len() => retry(real, model, set, fold).await,
        Operation::Fit { set } if set < model.sets.len() => fit(real, model, set).await,
        Operation::Retrain { set, fold } if set < model.sets.len() => retrain(real, model, set, fold).await,
        Operation::Pause { set, paused } if set < model.sets.len() => pause(real, model, set, paused).await,
        Operation::Cancel { .. }
        | Operation::Retry { .. }
        | Operation::Fit { .. }
        | Operation::Retrain { .. }
        | Operation::Pause { .. } => {}
        Operation::Drain { worker, draining } => {
            write!(real, |c| workers::set_draining(c, WORKERS[worker], draining)).unwrap();
            model.draining[worker] = draining;
        }
        Operation::ClockJump { seconds } => model.now = Timestamp((model.now.0 + seconds * 1000).max(0)),
        Operation::Restart => restart(real, model).await,
    }
}

async fn compare(real: &mut Real, model: &Model) {
    for (number, set) in model.sets.iter().enumerate() {
        let row = job_sets::row(&mut real.connection, &set.id).await.unwrap();
        let state = match row.state.as_str() {
            "training" => SetState::Training,
            "succeeded" => SetState::Succeeded,
            "failed" => SetState::Failed,
            "cancelled" => SetState::Cancelled,
            other => panic!("state {other}"),
        };
        assert_eq!((state, row.paused == 1), (set.state, set.paused), "job set {number}");
        let fits = fits::of_job_set(&mut real.connection, &set.id).await.unwrap();
        let (mut fits, mut expected): (Vec<_>, Vec<_>) =
            (fits.into_iter().map(|fit| fit.oof_digest).collect(), set.fits.iter().map(Digest::to_string).collect());
        fits.sort();
        expected.sort();
        assert_eq!(fits, expected, "job set {number}");
        let rows = job_sets::jobs(&mut real.connection, &set.id).await.unwrap();
        for (row, job) in rows.iter().zip(model.jobs.iter().filter(|job| job.set == number)) {
            assert_eq!(row.state, job.state.word(), "job {}", job.id);
            assert_eq!((row.id, row.attempt), (job.id, i64::from(job.attempt)));
            assert_eq!(row.result_digest, job.result.map(|digest| digest.to_string()));
            if job.state == JobState::Leased {
                assert_eq!(row.worker_name, job.worker);
            }
            if matches!(job.state, JobState::Failed | JobState::Cancelled) {
                assert!(!row.state_reason.is_empty(), "job {} does not say why", job.id);
            }
        }
    }
}

async fn run(operations: &[Operation], file: &Path) {
    let mut real = Real::open(file).await;
    let mut model = Model {
        now: Timestamp(1_000_000),
        spec: JobSetSpec { folds: FOLDS as u32, max_attempts: 2, non_finite_retries: 1, ..JobSetSpec::default() },
        jobs: Vec::new(),
        sets: Vec::new(),
        draining: [false; WORKERS.len()],
        leases: Vec::new(),
        requests: Default::default(),
        request_count: 0,
    };
    for name in WORKERS {
        let now = model.now;
        write!(real, |c| workers::register(c, now, name, "cpu", "0")).unwrap();
    }
    submit(&mut real, &mut model).await;
    for operation in operations {
        apply(&mut real, &mut model, operation).await;
        compare(&mut real, &model).await;
    }
    real.connection.close().await.unwrap();
}

#[test]
fn the_queue_does_what_its_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (done, case) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let operations = prop::collection::vec(operation(), OPERATIONS);
    let empty = folder.path().join("empty.sqlite");
    runtime.block_on(async {
        let mut real = Real::open(&empty).await;
        sqlx::migrate!("../migrations").run(&mut real.connection).await.unwrap();
        real.connection.close().await.unwrap();
    });
    TestRunner::new(config)
        .run(&operations, |operations| {
            let file = folder.path().join(format!("{}.sqlite", case.fetch_add(1, Ordering::Relaxed)));
            std::fs::copy(&empty, &file).unwrap();
            runtime.block_on(run(&operations, &file));
            done.fetch_add(operations.len(), Ordering::Relaxed);
            std::fs::remove_file(file).unwrap();
            Ok(())
        })
        .unwrap();
    let done = done.into_inner();
    println!("{done} operations");
    assert!(done >= 100_000, "{done}");
}
