//! The use cases on the real queue against a model in memory: random operations, and after each one both have to say the same. A
//! counter-example shrinks to a short list of operations.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Attempt, Fold, LeaseRef};
use fivefold_common::job::{FailureCause, JobEvent, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Answer, Completion, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{ImageAccess, NewWorker};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::model::{Model, ModelJob, ModelSet, end_attempt, end_set, fit_model, give_up, held, is_free};
use crate::rig::{Rig, TRAIN_LIST, csv, fold_rows, score_table, submission};

mod model;
#[path = "../rig/mod.rs"]
mod rig;

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
    /// A worker starts again.
    Register {
        worker: usize,
    },
    /// What happens by itself.
    Sweep,
    Cancel {
        set: usize,
    },
    Finish {
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
        2 => (0..WORKERS.len()).prop_map(|worker| Operation::Register { worker }),
        3 => Just(Operation::Sweep),
        1 => (0..3usize).prop_map(|set| Operation::Cancel { set }),
        1 => (0..3usize).prop_map(|set| Operation::Finish { set }),
        1 => (0..3usize, prop::option::of(fold())).prop_map(|(set, fold)| Operation::Retry { set, fold }),
        2 => (0..3usize).prop_map(|set| Operation::Fit { set }),
        1 => (0..3usize, fold()).prop_map(|(set, fold)| Operation::Retrain { set, fold }),
        1 => (0..3usize, any::<bool>()).prop_map(|(set, paused)| Operation::Pause { set, paused }),
        1 => (0..WORKERS.len(), prop::bool::weighted(0.3)).prop_map(|(worker, draining)| Operation::Drain { worker, draining }),
        4 => (-30..400i64).prop_map(|seconds| Operation::ClockJump { seconds }),
        1 => Just(Operation::Restart),
    ]
}

/// The real thing, on a file.
struct Real {
    file: PathBuf,
    rig: Rig,
}

const SETTINGS: Settings =
    Settings { lease_seconds: LEASE_SECONDS, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

impl Real {
    async fn open(file: &Path) -> Real {
        Real { file: file.to_owned(), rig: Rig::open(file, SETTINGS).await }
    }

    /// As after a crash: only the file and the blobs are left.
    async fn reopen(&mut self) {
        let queue = SqliteQueue::open(&self.file, Durability::System).await.unwrap();
        let Rig { blobs, clock, .. } = self.rig.clone();
        self.rig = Rig::new(std::sync::Arc::new(queue), blobs, clock, SETTINGS);
    }
}

fn is_stale<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::StaleAttempt(_)))
}

async fn submit(real: &Rig, model: &mut Model) {
    let number = model.sets.len();
    if number == 3 {
        return;
    }
    let submission = submission(&format!("submit-{number}"), model.spec.clone(), None);
    let id = app::submit(&real.coordinator, submission.clone()).await.unwrap();
    assert_eq!(app::submit(&real.coordinator, submission).await.unwrap(), id, "the same request, the same job set");
    for job in app::job_set(&real.coordinator, &id).await.unwrap().jobs {
        model.jobs.push(ModelJob {
            id: job.id,
            set: number,
            fold: job.fold,
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
    let (state, exclusions) = (JobSetState::Training, HashMap::new());
    model.sets.push(ModelSet { id, state, paused: false, kept: None, fits: Vec::new(), exclusions });
}

async fn take_lease(real: &Rig, model: &mut Model, worker: usize, is_repeated: bool) {
    if !is_repeated || model.requests[worker].is_empty() {
        model.request_count += 1;
        model.requests[worker] = format!("wait-{}", model.request_count);
    }
    let (name, request, now) = (WORKERS[worker], model.requests[worker].clone(), model.now);
    let expires_ms = now.plus_seconds(LEASE_SECONDS).0;
    let leased = app::acquire(&real.coordinator, name, &request).await.unwrap();
    let leased = leased.map(|leased| leased.lease);
    let held = |job: &ModelJob| job.state == JobState::Leased && job.worker == name && job.request == request;
    if let Some(job) = model.jobs.iter_mut().find(|job| held(job)) {
        job.expires_ms = expires_ms;
        let expected = LeaseRef { job: job.id, attempt: Attempt(job.attempt) };
        assert_eq!(leased, Some(expected), "the same wait, the same lease");
        return;
    }
    let (sets, draining) = (&model.sets, model.draining[worker]);
    let free = model.jobs.iter_mut().filter(|job| is_free(job, sets, now, name) && !draining);
    let chosen = free.min_by_key(|job| (job.failed_on.iter().any(|failed| failed == name), job.id));
    let Some(job) = chosen else {
        assert!(leased.is_none(), "{leased:?} should not be leased");
        return;
    };
    job.on(JobEvent::Leased);
    job.attempt += 1;
    (job.worker, job.request, job.expires_ms) = (name.to_owned(), request, expires_ms);
    let expected = LeaseRef { job: job.id, attempt: Attempt(job.attempt) };
    assert_eq!(leased, Some(expected));
    model.leases.insert(0, expected);
}

async fn report(real: &Rig, model: &mut Model, lease: LeaseRef) {
    let answer = app::report(&real.coordinator, lease, 1, None, Vec::new()).await;
    let is_cancelled =
        |job: &ModelJob| job.id == lease.job && job.attempt == lease.attempt.0 && job.state == JobState::Cancelled;
    if model.jobs.iter().any(is_cancelled) {
        assert_eq!(answer.unwrap(), Answer::Cancelled);
        return;
    }
    match held(&mut model.jobs, lease) {
        Some(job) => {
            job.on(JobEvent::Reported);
            job.expires_ms = model.now.plus_seconds(LEASE_SECONDS).0;
            let at = WORKERS.iter().position(|name| *name == job.worker).unwrap();
            model.seen_ms[at] = model.now.0;
            let draining = model.draining[at];
            let Answer::Stored(reported) = answer.unwrap() else { panic!("cancelled") };
            assert_eq!(reported.release, model.sets[job.set].paused || draining);
        }
        None => assert!(is_stale(&answer), "{answer:?}"),
    }
}

async fn complete(real: &Rig, model: &mut Model, lease: LeaseRef) {
    let fold = model.jobs.iter().find(|job| job.id == lease.job).unwrap().fold;
    let table = score_table(fold_rows(&model.spec, fold), fold, &lease.to_string());
    let digest = real.upload(ArtifactKind::Oof, csv(&table)).await;
    let checkpoint = Some(real.upload(ArtifactKind::Checkpoint, format!("weights of {lease}")).await);
    let completion = Completion { lease, table: digest, checkpoint, made_by_json: "{}".into() };
    let completed = app::complete(&real.coordinator, completion).await;
    let before = model.jobs.iter().find(|job| job.id == lease.job).unwrap();
    if before.state == JobState::Succeeded && before.result_digest() == Some(digest) {
        completed.unwrap();
        return;
    }
    match held(&mut model.jobs, lease) {
        Some(job) => {
            completed.unwrap();
            job.on(JobEvent::Completed);
            job.result = Some((table, digest));
            let set = job.set;
            end_set(model, set);
        }
        None => assert!(is_stale(&completed), "{completed:?}"),
    }
}

async fn fail(real: &Rig, model: &mut Model, lease: LeaseRef, cause: FailureCause) {
    let failed = app::fail(&real.coordinator, lease, cause, "why").await;
    if held(&mut model.jobs, lease).is_none() {
        assert!(is_stale(&failed), "{failed:?}");
        return;
    }
    assert_eq!(failed.unwrap(), end_attempt(model, lease, cause));
}

/// What the coordinator does by itself: leases expire, and complete job sets are fitted.
async fn sweep(real: &Rig, model: &mut Model) {
    let now = model.now;
    let due = |job: &ModelJob| job.state == JobState::Leased && job.expires_ms < now.0;
    let due = model.jobs.iter().filter(|job| due(job));
    let mut expected: Vec<_> = due.map(|job| LeaseRef { job: job.id, attempt: Attempt(job.attempt) }).collect();
    let mut ended = app::sweep(&real.coordinator).await.unwrap();
    expected.sort();
    ended.sort();
    assert_eq!(ended, expected);
    for lease in ended {
        end_attempt(model, lease, FailureCause::WorkerLost);
    }
    for set in 0..model.sets.len() {
        give_up(model, set, 2 * LEASE_SECONDS);
    }
    for set in 0..model.sets.len() {
        fit_model(model, set);
    }
}

async fn cancel(real: &Rig, model: &mut Model, set: usize) {
    let cancelled = app::cancel(&real.coordinator, &model.sets[set].id).await;
    match model.sets[set].state {
        JobSetState::Succeeded | JobSetState::Failed => {
            assert!(matches!(cancelled, Err(Error::WrongState(_))), "{cancelled:?}");
            return;
        }
        JobSetState::Cancelled => return cancelled.unwrap(),
        JobSetState::Training | JobSetState::Predicting => cancelled.unwrap(),
    }
    (model.sets[set].state, model.sets[set].paused) = (JobSetState::Cancelled, false);
    for job in model.jobs.iter_mut().filter(|job| job.set == set) {
        if job.state.is_unfinished() {
            job.on(JobEvent::Cancelled);
        }
    }
}

async fn finish(real: &Rig, model: &mut Model, set: usize) {
    let finished = app::finish(&real.coordinator, &model.sets[set].id).await;
    let jobs = || model.jobs.iter().filter(|job| job.set == set);
    let trained: Vec<Fold> = jobs().filter(|job| job.state == JobState::Succeeded).map(|job| job.fold).collect();
    if model.sets[set].state == JobSetState::Succeeded || trained.is_empty() {
        assert!(matches!(finished, Err(Error::WrongState(_))), "{finished:?}");
        return;
    }
    finished.unwrap();
    let wanted: Vec<Fold> = jobs().map(|job| job.fold).filter(|fold| model.sets[set].has(*fold)).collect();
    if trained != wanted {
        model.sets[set].kept = Some(trained);
    } else if model.sets[set].state == JobSetState::Training {
        return;
    }
    model.sets[set].state = JobSetState::Training;
    for job in model.jobs.iter_mut().filter(|job| job.set == set && job.state.is_unfinished()) {
        job.on(JobEvent::Cancelled);
    }
}

async fn retry(real: &Rig, model: &mut Model, set: usize, fold: Option<Fold>) {
    let retried = app::retry(&real.coordinator, &model.sets[set].id, fold).await;
    let before = &model.sets[set];
    let (kept, state) = (before.kept.clone(), before.state);
    let has = |fold: &Fold| kept.as_ref().is_none_or(|kept| kept.contains(fold));
    let ended = |job: &ModelJob| {
        job.set == set
            && fold.is_none_or(|fold| job.fold == fold)
            && (has(&job.fold) || fold.is_some() || state == JobSetState::Succeeded)
            && matches!(job.state, JobState::Failed | JobState::Cancelled)
    };
    let set_ended = matches!(state, JobSetState::Failed | JobSetState::Cancelled);
    let wants_workers = fold.is_none() && state != JobSetState::Succeeded;
    let lifts = !before.exclusions.is_empty() && (model.jobs.iter().any(ended) || wants_workers);
    if !model.jobs.iter().any(ended) && !lifts && (fold.is_some() || !set_ended) {
        assert!(matches!(retried, Err(Error::WrongState(_))), "{retried:?}");
        return;
    }
    retried.unwrap();
    if lifts {
        model.sets[set].exclusions.clear();
    }
    if !model.jobs.iter().any(ended) && !set_ended {
        return;
    }
    let joined = model.jobs.iter().filter(|job| job.set == set && (has(&job.fold) || ended(job)));
    let joined: Vec<Fold> = joined.map(|job| job.fold).collect();
    model.sets[set].kept = Some(joined).filter(|joined| joined.len() < FOLDS);
    for job in model.jobs.iter_mut().filter(|job| ended(job)) {
        job.on(JobEvent::Retried);
        (job.not_before_ms, job.worker, job.request) = (0, String::new(), String::new());
        job.failures.clear();
    }
    model.sets[set].state = JobSetState::Training;
}

async fn fit(real: &Rig, model: &mut Model, set: usize) {
    app::advance(&real.coordinator, &model.sets[set].id).await.unwrap();
    fit_model(model, set);
}

async fn retrain(real: &Rig, model: &mut Model, set: usize, fold: Fold) {
    let retrained = app::retrain(&real.coordinator, &model.sets[set].id, fold).await;
    let job = model.jobs.iter_mut().find(|job| job.set == set && job.fold == fold).unwrap();
    let set = &mut model.sets[set];
    if matches!(set.state, JobSetState::Failed | JobSetState::Cancelled) || job.state != JobState::Succeeded {
        assert!(matches!(retrained, Err(Error::WrongState(_))), "{retrained:?}");
        return;
    }
    retrained.unwrap();
    job.on(JobEvent::Retrained);
    (job.not_before_ms, job.worker, job.request, job.result) = (0, String::new(), String::new(), None);
    job.failures.clear();
    if set.state.has_ended() {
        set.exclusions.clear();
    }
    set.state = JobSetState::Training;
}

async fn pause(real: &Rig, model: &mut Model, set: usize, paused: bool) {
    let (coordinator, id) = (&real.coordinator, &model.sets[set].id);
    let changed = if paused { app::pause(coordinator, id).await } else { app::resume(coordinator, id).await };
    if model.sets[set].state == JobSetState::Training {
        changed.unwrap();
        if model.sets[set].paused && !paused {
            model.sets[set].exclusions.clear();
        }
        model.sets[set].paused = paused;
    } else {
        assert!(matches!(changed, Err(Error::WrongState(_))), "{changed:?}");
    }
}

async fn restart(real: &mut Real, model: &mut Model) {
    real.reopen().await;
    app::resume_work(&real.rig.coordinator).await.unwrap();
    for job in model.jobs.iter_mut().filter(|job| job.state == JobState::Leased) {
        job.expires_ms = job.expires_ms.max(model.now.plus_seconds(LEASE_SECONDS).0);
    }
    for since_ms in model.sets.iter_mut().flat_map(|set| set.exclusions.values_mut()) {
        *since_ms = model.now.0;
    }
}

async fn register(real: &Rig, model: &mut Model, worker: usize) {
    let name = WORKERS[worker];
    let new = NewWorker { name: name.into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&real.coordinator, new).await.unwrap();
    model.seen_ms[worker] = model.now.0;
    for set in &mut model.sets {
        set.exclusions.remove(name);
    }
}

async fn apply(real: &mut Real, model: &mut Model, operation: &Operation) {
    let lease = |place: usize| model.leases.get(place).copied();
    let rig = &real.rig;
    match *operation {
        Operation::Submit => submit(rig, model).await,
        Operation::Lease { worker, is_repeated } => take_lease(rig, model, worker, is_repeated).await,
        Operation::Report { lease: place } => {
            if let Some(lease) = lease(place) {
                report(rig, model, lease).await;
            }
        }
        Operation::Complete { lease: place } => {
            if let Some(lease) = lease(place) {
                complete(rig, model, lease).await;
            }
        }
        Operation::Fail { lease: place, cause } => {
            if let Some(lease) = lease(place) {
                fail(rig, model, lease, cause).await;
            }
        }
        Operation::Register { worker } => register(rig, model, worker).await,
        Operation::Sweep => sweep(rig, model).await,
        Operation::Cancel { set } if set < model.sets.len() => cancel(rig, model, set).await,
        Operation::Finish { set } if set < model.sets.len() => finish(rig, model, set).await,
        Operation::Retry { set, fold } if set < model.sets.len() => retry(rig, model, set, fold).await,
        Operation::Fit { set } if set < model.sets.len() => fit(rig, model, set).await,
        Operation::Retrain { set, fold } if set < model.sets.len() => retrain(rig, model, set, fold).await,
        Operation::Pause { set, paused } if set < model.sets.len() => pause(rig, model, set, paused).await,
        Operation::Cancel { .. }
        | Operation::Finish { .. }
        | Operation::Retry { .. }
        | Operation::Fit { .. }
        | Operation::Retrain { .. }
        | Operation::Pause { .. } => {}
        Operation::Drain { worker, draining } => {
            app::drain(&rig.coordinator, WORKERS[worker], draining).await.unwrap();
            model.draining[worker] = draining;
        }
        Operation::ClockJump { seconds } => {
            model.now = Timestamp((model.now.0 + seconds * 1000).max(0));
            rig.clock.set(model.now);
        }
        Operation::Restart => restart(real, model).await,
    }
}

async fn compare(real: &Rig, model: &Model) {
    for (worker, draining) in WORKERS.into_iter().zip(model.draining) {
        let any_free = model.jobs.iter().any(|job| is_free(job, &model.sets, model.now, worker) && !draining);
        assert_eq!(
            app::has_free_job(&real.coordinator, worker, ImageAccess::Folder).await.unwrap(),
            any_free,
            "{worker}"
        );
    }
    for (number, set) in model.sets.iter().enumerate() {
        let job_set = app::job_set(&real.coordinator, &set.id).await.unwrap();
        assert_eq!((job_set.state, job_set.paused), (set.state, set.paused), "job set {number}");
        let kept: Option<Vec<Fold>> = job_set.kept_folds.map(|kept| kept.iter().collect());
        assert_eq!(kept, set.kept, "job set {number}");
        let excluded = job_set.exclusions.iter().map(|exclusion| (exclusion.worker.clone(), exclusion.since.0));
        assert_eq!(excluded.collect::<HashMap<_, _>>(), set.exclusions, "job set {number}");
        let mut fits: Vec<_> = job_set.fits.iter().map(|record| record.fit.oof.digest).collect();
        let mut expected = set.fits.clone();
        fits.sort();
        expected.sort();
        assert_eq!(fits, expected, "job set {number}");
        for (real, job) in job_set.jobs.iter().zip(model.jobs.iter().filter(|job| job.set == number)) {
            assert_eq!(real.state, job.state, "job {}", job.id);
            assert_eq!((real.id, real.attempt.map_or(0, |attempt| attempt.0)), (job.id, job.attempt));
            assert_eq!(real.result.as_ref().map(|result| result.table.digest), job.result_digest());
            if job.state == JobState::Leased {
                assert_eq!(real.worker.as_ref(), Some(&job.worker));
            }
            if matches!(job.state, JobState::Failed | JobState::Cancelled) {
                assert!(!real.state_reason.is_empty(), "job {} does not say why", job.id);
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
        seen_ms: [0; WORKERS.len()],
        leases: Vec::new(),
        requests: Default::default(),
        request_count: 0,
    };
    real.rig.clock.set(model.now);
    for worker in 0..WORKERS.len() {
        register(&real.rig, &mut model, worker).await;
    }
    real.rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    submit(&real.rig, &mut model).await;
    for operation in operations {
        apply(&mut real, &mut model, operation).await;
        compare(&real.rig, &model).await;
    }
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
        let mut connection =
            SqliteConnectOptions::new().filename(&empty).create_if_missing(true).connect().await.unwrap();
        sqlx::migrate!("../migrations").run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
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
