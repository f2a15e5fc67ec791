//! Workers that cannot use the images of a job set.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Presence, Settings};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::{ImageAccess, JobSet, NewWorker};

use crate::rig::{Rig, TRAIN_LIST, submission};

mod rig;

const LEASE_SECONDS: u32 = 60;
const MISSING: &str = "3 image files are missing";

/// A coordinator with a job set of two folds.
struct Site {
    rig: Rig,
    _folder: tempfile::TempDir,
    id: JobSetId,
}

async fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        Settings { lease_seconds: LEASE_SECONDS, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };
    let rig = Rig::open(&folder.path().join("q.sqlite"), settings).await;
    rig.clock.set(Timestamp(1_000_000));
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let spec = JobSetSpec { fold: vec![0, 1], ..JobSetSpec::default() };
    let id = app::submit(&rig.coordinator, submission("r", spec, None)).await.unwrap();
    Site { rig, _folder: folder, id }
}

impl Site {
    fn pass(&self, seconds: u32) {
        let now = self.rig.coordinator.clock.now();
        self.rig.clock.set(now.plus_seconds(seconds));
    }

    async fn register(&self, name: &str) {
        let worker =
            NewWorker { name: name.into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
        app::register_worker(&self.rig.coordinator, worker).await.unwrap();
    }

    /// Asks for a job, as a worker that is there does.
    async fn acquire(&self, name: &str) -> Option<LeaseRef> {
        app::see_worker(&self.rig.coordinator, name).await.unwrap();
        let request_id = format!("{name} at {}", self.rig.coordinator.clock.now().0);
        app::acquire(&self.rig.coordinator, name, &request_id).await.unwrap().map(|leased| leased.lease)
    }

    /// Gives a fold to a worker that lacks the images.
    async fn fail_on(&self, name: &str) -> LeaseRef {
        let lease = self.acquire(name).await.unwrap();
        app::fail(&self.rig.coordinator, lease, FailureCause::BadData, MISSING).await.unwrap();
        lease
    }

    /// Lets time pass in which these workers ask for jobs.
    async fn wait(&self, seconds: u32, workers: &[&str]) {
        for _ in 0..seconds / 30 {
            self.pass(30);
            for name in workers {
                assert_eq!(self.acquire(name).await, None);
            }
            app::sweep(&self.rig.coordinator).await.unwrap();
        }
    }

    async fn job_set(&self) -> JobSet {
        app::job_set(&self.rig.coordinator, &self.id).await.unwrap()
    }
}

#[tokio::test]
async fn a_worker_without_the_images_gets_no_more_folds_and_another_one_does() {
    let site = site().await;
    for name in ["ada", "ben"] {
        site.register(name).await;
    }
    let failed = site.fail_on("ada").await;
    site.pass(1);
    assert_eq!(site.acquire("ada").await, None, "nor the other fold");
    assert!(!app::has_free_job(&site.rig.coordinator, "ada", ImageAccess::Folder).await.unwrap());
    let job_set = site.job_set().await;
    let reason = &job_set.job(failed.job).unwrap().state_reason;
    assert!(reason.starts_with("waiting for another worker than ada") && reason.contains(MISSING), "{reason}");
    let [ada, ben] = &app::workers(&site.rig.coordinator).await.unwrap()[..] else { panic!("two workers") };
    assert_eq!((&ada.worker.excluded_from, ben.worker.excluded_from.len()), (&vec![site.id.clone()], 0));

    assert!(app::has_free_job(&site.rig.coordinator, "ben", ImageAccess::Folder).await.unwrap());
    assert_ne!(site.acquire("ben").await.unwrap().job, failed.job, "that one waits for a moment");
    site.pass(600);
    // Its lease has expired, so that both are free.
    app::sweep(&site.rig.coordinator).await.unwrap();
    assert!(site.acquire("ben").await.is_some());
    site.pass(3 * LEASE_SECONDS);
    site.acquire("ben").await;
    assert_eq!(site.acquire("ada").await, None);
}

#[tokio::test]
async fn a_restart_of_the_worker_or_a_retry_lets_it_try_again() {
    let site = site().await;
    site.register("ada").await;
    site.fail_on("ada").await;
    site.pass(60);
    assert_eq!(site.acquire("ada").await, None);
    site.register("ada").await;
    site.fail_on("ada").await;
    site.pass(60);
    assert_eq!(site.acquire("ada").await, None);
    app::retry(&site.rig.coordinator, &site.id, None).await.unwrap();
    assert!(site.acquire("ada").await.is_some());
}

#[tokio::test]
async fn a_job_set_that_no_worker_can_use_fails_with_the_reason() {
    let site = site().await;
    for name in ["ada", "ben"] {
        site.register(name).await;
        site.fail_on(name).await;
    }
    site.wait(2 * LEASE_SECONDS, &["ada", "ben"]).await;
    assert_eq!(site.job_set().await.state, JobSetState::Training, "somebody may mend it");
    site.wait(60, &["ada", "ben"]).await;
    let job_set = site.job_set().await;
    assert_eq!(job_set.state, JobSetState::Failed);
    for job in &job_set.jobs {
        assert_eq!(job.state, JobState::Failed);
        assert!(
            job.state_reason.contains(MISSING) && job.state_reason.contains("fivefold retry"),
            "{}",
            job.state_reason
        );
    }
    app::retry(&site.rig.coordinator, &site.id, None).await.unwrap();
    assert!(site.acquire("ada").await.is_some());
}

#[tokio::test]
async fn a_job_set_waits_for_workers_that_are_away_or_busy() {
    let site = site().await;
    site.register("ada").await;
    site.fail_on("ada").await;
    // Its images are being mended.
    site.wait(20 * LEASE_SECONDS, &[]).await;
    assert_eq!(site.job_set().await.state, JobSetState::Training);

    // Another worker trains one of the folds.
    site.register("ben").await;
    let lease = site.acquire("ben").await.unwrap();
    for sequence in 1..20 {
        app::report(&site.rig.coordinator, lease, sequence, None, Vec::new()).await.unwrap();
        site.wait(30, &["ada"]).await;
    }
    let states: Vec<JobState> = site.job_set().await.jobs.iter().map(|job| job.state).collect();
    assert!(states.contains(&JobState::Queued) && states.contains(&JobState::Leased), "{states:?}");

    // It is started again, which takes a while.
    site.wait(10 * LEASE_SECONDS, &["ada"]).await;
    assert_eq!(site.job_set().await.state, JobSetState::Training);
    assert!(site.acquire("ben").await.is_some());
}

#[tokio::test]
async fn a_restart_of_the_coordinator_gives_every_worker_time_to_come_back() {
    let site = site().await;
    site.register("ada").await;
    site.fail_on("ada").await;
    site.pass(3 * LEASE_SECONDS);
    app::resume_work(&site.rig.coordinator).await.unwrap();
    site.wait(2 * LEASE_SECONDS, &["ada"]).await;
    assert_eq!(site.job_set().await.state, JobSetState::Training);
    site.wait(60, &["ada"]).await;
    assert_eq!(site.job_set().await.state, JobSetState::Failed);
}

#[tokio::test]
async fn workers_that_left_are_gone_and_then_forgotten() {
    let site = site().await;
    for name in ["ada", "ben", "cyd"] {
        site.register(name).await;
    }
    app::drain(&site.rig.coordinator, "cyd", true).await.unwrap();
    let lease = site.acquire("ada").await.unwrap();
    site.pass(LEASE_SECONDS + 1);
    let workers = app::workers(&site.rig.coordinator).await.unwrap();
    let presences: Vec<Presence> = workers.iter().map(|view| view.presence).collect();
    assert_eq!(presences, [Presence::Present, Presence::Gone, Presence::Gone], "one holds a lease");
    site.pass(25 * 3600);
    app::forget_workers(&site.rig.coordinator).await.unwrap();
    let names = async || {
        let workers = app::workers(&site.rig.coordinator).await.unwrap();
        workers.into_iter().map(|view| view.worker.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["ada", "cyd"], "a drained worker stays drained");
    app::release(&site.rig.coordinator, lease).await.unwrap();
    app::forget_workers(&site.rig.coordinator).await.unwrap();
    assert_eq!(names().await, ["cyd"]);
}
