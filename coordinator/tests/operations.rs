//! What an operator does while folds are running: pause, drain; and what is done with a fold that stands still.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::Config;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;

use crate::site::{Site, reference, scores, spec};

mod site;

#[tokio::test]
async fn a_paused_job_set_gets_its_folds_back_and_goes_on_when_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    assert!(!site.report(&lease, 1, Vec::new()).await.unwrap().release);

    let pause = v1::PauseJobSetRequest { job_set_id: id.clone(), at_time: None };
    assert!(site.job_sets.clone().pause_job_set(pause.clone()).await.unwrap().into_inner().job_set.unwrap().paused);
    assert!(site.job_sets.clone().pause_job_set(pause.clone()).await.is_ok(), "asking twice is asking once");
    // The worker is told with its next report, and releases the fold; nobody gets one.
    assert!(site.report(&lease, 2, Vec::new()).await.unwrap().release);
    let release = v1::ReleaseLeaseRequest { lease: reference(&lease) };
    site.workers.clone().release_lease(release).await.unwrap();
    assert!(site.acquire("w", "b", 0).await.is_none());

    let resume = v1::ResumeJobSetRequest { job_set_id: id.clone() };
    assert!(!site.job_sets.clone().resume_job_set(resume).await.unwrap().into_inner().job_set.unwrap().paused);
    let again = site.acquire("w", "c", 10).await.unwrap();
    assert_eq!((again.job_id, again.attempt), (lease.job_id, 2));

    site.job_sets.clone().cancel_job_set(v1::CancelJobSetRequest { job_set_id: id }).await.unwrap();
    let refused = site.job_sets.clone().pause_job_set(pause).await.unwrap_err();
    assert!(has_reason(&refused, Reason::WrongState), "{refused:?}");
    site.stop().await;
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let register = v1::RegisterWorkerRequest {
        name: "old".into(),
        device: "cpu".into(),
        version: "0.0.1".into(),
        ..Default::default()
    };
    let refused = site.workers.clone().register_worker(register).await.unwrap_err();
    assert!(has_reason(&refused, Reason::WrongState) && refused.message().contains("same version"), "{refused:?}");
    // Or it registered with the coordinator's last version, and goes on after the upgrade.
    site.register("old").await;
    let acquire = v1::AcquireLeaseRequest { worker_name: "old".into(), request_id: "a".into(), ..Default::default() };
    let refused = site.workers.clone().acquire_lease(acquire).await.unwrap_err();
    assert!(has_reason(&refused, Reason::WrongState) && refused.message().contains("same version"), "{refused:?}");
    site.stop().await;
}

#[tokio::test]
async fn a_drained_worker_releases_its_job_and_gets_nothing_until_it_may_again() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    site.submit("r1", &spec()).await.unwrap();
    site.register("leaving").await;
    site.register("staying").await;
    let leaving = site.acquire("leaving", "a", 10).await.unwrap();
    let staying = site.acquire("staying", "b", 10).await.unwrap();
    let mut workers = site.workers.clone();
    workers.drain_worker(v1::DrainWorkerRequest { worker_name: "leaving".into() }).await.unwrap();
    assert!(site.report(&leaving, 1, Vec::new()).await.unwrap().release);
    assert!(!site.report(&staying, 1, Vec::new()).await.unwrap().release);
    workers.release_lease(v1::ReleaseLeaseRequest { lease: reference(&leaving) }).await.unwrap();
    assert!(site.acquire("leaving", "c", 0).await.is_none());
    let listed = workers.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let draining: Vec<_> = listed.iter().map(|worker| (worker.name.as_str(), worker.draining)).collect();
    assert_eq!(draining, [("leaving", true), ("staying", false)]);

    workers.undrain_worker(v1::UndrainWorkerRequest { worker_name: "leaving".into() }).await.unwrap();
    assert_eq!(site.acquire("leaving", "d", 10).await.unwrap().job_id, leaving.job_id);
    let unknown = v1::DrainWorkerRequest { worker_name: "nobody".into() };
    assert!(has_reason(&workers.drain_worker(unknown).await.unwrap_err(), Reason::NotFound));
    site.stop().await;
}

/// Waits for a lease as a process that holds the lock on the name `w`.
async fn acquire_under(site: &Site, request_id: &str, lock: (&str, u64)) -> Option<v1::Lease> {
    let request = v1::AcquireLeaseRequest {
        worker_name: "w".into(),
        wait_seconds: 10,
        request_id: request_id.into(),
        protocol: fivefold_proto::PROTOCOL,
        has_image_folder: true,
        name_lock: Some(v1::NameLock { id: lock.0.into(), taken_centiseconds: lock.1 }),
    };
    site.workers.clone().acquire_lease(request).await.unwrap().into_inner().lease
}

#[tokio::test]
async fn a_worker_that_was_started_again_gets_its_fold_back() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 600).await;
    let two_folds = JobSetSpec { folds: 2, ..spec() };
    let id = site.submit("r1", &two_folds).await.unwrap().id;
    site.register("w").await;
    let first = acquire_under(&site, "a", ("lock", 100)).await.unwrap();
    // The answer was lost: the same process asks again, and another one on another machine has the same name.
    assert_eq!(acquire_under(&site, "a", ("lock", 100)).await.unwrap(), first);
    let elsewhere = acquire_under(&site, "b", ("another lock", 200)).await.unwrap();
    assert_ne!(elsewhere.job_id, first.job_id);
    site.report(&first, 1, Vec::new()).await.unwrap();

    let again = acquire_under(&site, "c", ("lock", 101)).await.unwrap();
    assert_eq!((again.job_id, again.attempt), (first.job_id, 2));
    let refused = site.complete(&first, &scores(&first)).await.unwrap_err();
    assert!(has_reason(&refused, Reason::StaleAttempt), "{refused:?}");
    site.report(&again, 1, Vec::new()).await.unwrap();
    site.report(&elsewhere, 1, Vec::new()).await.unwrap();
    // A request of the first process that comes late ends nothing.
    let released = v1::ReleaseLeaseRequest { lease: reference(&elsewhere) };
    site.workers.clone().release_lease(released).await.unwrap();
    assert_eq!(acquire_under(&site, "d", ("lock", 100)).await.unwrap().job_id, elsewhere.job_id);
    site.report(&again, 2, Vec::new()).await.unwrap();
    let events = site.wait_until(&id, |set| set.jobs[0].attempt == 2).await;
    assert_eq!(events.jobs[0].state(), v1::job::State::Leased);
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_leaves_is_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 600).await;
    site.register("w").await;
    let is_gone = async || {
        let listed = site.workers.clone().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner();
        listed.workers[0].gone
    };
    assert!(!is_gone().await);
    let leave = v1::UnregisterWorkerRequest { name: "w".into() };
    site.workers.clone().unregister_worker(leave.clone()).await.unwrap();
    assert!(is_gone().await);
    assert!(site.acquire("w", "a", 0).await.is_none());
    assert!(!is_gone().await, "it is back with its next call");
    site.workers.clone().unregister_worker(leave).await.unwrap();
    site.register("w").await;
    assert!(!is_gone().await);
    site.stop().await;
}

#[tokio::test]
async fn a_fold_that_stands_still_is_marked_and_then_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start_with(Config { stall_seconds: 4, ..Config::new(folder.path()) }).await;
    let one_fold = JobSetSpec { fold: vec![0], ..spec() };
    let id = site.submit("r1", &one_fold).await.unwrap().id;
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    site.report(&lease, 7, Vec::new()).await.unwrap();
    let marked = site.wait_until(&id, |set| set.jobs[0].stalled_since_time.is_some()).await;
    assert_eq!(marked.jobs[0].attempt, 1);
    // A step, and it is not stalled any more; then none, under a lease of a minute.
    site.report(&lease, 8, Vec::new()).await.unwrap();
    assert!(site.job_set(&id).await.jobs[0].stalled_since_time.is_none());
    let taken = site.wait_until(&id, |set| set.jobs[0].state() == v1::job::State::Queued).await;
    assert!(taken.jobs[0].state_reason.contains("stood still on w: no step for 4 s"), "{}", taken.jobs[0].state_reason);
    let refused = site.complete(&lease, &scores(&lease)).await.unwrap_err();
    assert!(has_reason(&refused, Reason::StaleAttempt), "{refused:?}");
    site.stop().await;
}

/// Trains and predicts everything that is queued, with `score` for the labels that a row has.
async fn do_all_jobs(site: &Site, id: &str, score: f32) -> usize {
    for done in 0.. {
        let state = site.wait_until(id, |set| is_finished(set) || has_queued(set)).await;
        if is_finished(&state) {
            return done;
        }
        let lease = site.acquire("w", &format!("{score} {done}"), 10).await.unwrap();
        let mut table = scores(&lease);
        for given in table.rows.iter_mut().flat_map(|row| &mut row.scores).filter(|given| **given > 0.5) {
            *given = score;
        }
        let mut completion = site.upload_results(&lease, &table).await;
        if let Some(checkpoint) = &mut completion.checkpoint {
            let weights = format!("weights of fold {}, attempt {}", lease.fold, lease.attempt);
            checkpoint.digest = site.upload(v1::ArtifactKind::Checkpoint, weights.as_bytes()).await.to_string();
        }
        site.workers.clone().complete_job(completion).await.unwrap();
    }
    unreachable!()
}

fn is_finished(set: &v1::JobSet) -> bool {
    set.state() == v1::job_set::State::Succeeded
}

fn has_queued(set: &v1::JobSet) -> bool {
    set.jobs.iter().any(|job| job.state() == v1::job::State::Queued)
}

#[tokio::test]
async fn a_fold_that_is_trained_again_leads_to_a_new_fit_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("w").await;
    let retrain = |fold| v1::RetrainFoldRequest { job_set_id: id.clone(), fold };
    let refused = site.job_sets.clone().retrain_fold(retrain(1)).await.unwrap_err();
    assert!(has_reason(&refused, Reason::WrongState), "a fold that is not trained yet: {refused:?}");

    assert_eq!(do_all_jobs(&site, &id, 0.9).await, 6, "three folds are trained and predicted");
    let first = site.job_set(&id).await;
    assert_eq!((first.fits.len(), first.fits[0].results.len()), (1, 3));

    let training = site.job_sets.clone().retrain_fold(retrain(1)).await.unwrap().into_inner().job_set.unwrap();
    assert_eq!((training.state(), training.results.len()), (v1::job_set::State::Training, 0));
    assert_eq!(training.fits, first.fits, "the fit that was made stays");
    assert_eq!(do_all_jobs(&site, &id, 0.8).await, 2, "only that fold is trained and predicted again");

    let second = site.job_set(&id).await;
    assert_eq!(second.fits.len(), 2);
    assert_eq!(second.fits[0], first.fits[0]);
    assert_eq!(second.fits[1].results, second.results);
    // The submission holds labels alone, and those are the same.
    for (before, after) in first.results.iter().zip(&second.results).take(2) {
        assert_ne!(before.digest, after.digest, "{:?} is of the new fold", after.kind());
    }
    for fit in &second.fits {
        for result in &fit.results {
            assert!(!site.download(&result.digest).await.is_empty());
        }
    }
    site.stop().await;
}
