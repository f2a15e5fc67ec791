//! How worker processes end, and that two of them do not share a name.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use fivefold_proto::v1::job;
use fivefold_tests::{PATIENCE, Program, Signal, Site, tiny_data};

const SPEC: &str = "
name = 'leaving'
folds = 2
fold = [0]
base_width = 4
image_size = 32
batch_size = 4
train_batch_per_epoch = 2000
valid_batch_per_epoch = 2
epochs = 50
intraop_threads = 1
";

/// A worker in the middle of a fold.
async fn training(site: &Site, arguments: &[&str]) -> Program {
    let worker = site.start_worker_with("ada", arguments).unwrap();
    let id = site.submit(SPEC).unwrap();
    let is_training = |jobs: &[fivefold_proto::v1::Job]| {
        jobs.iter().any(|job| job.state() == job::State::Leased && job.progress.as_ref().is_some_and(|at| at.step > 0))
    };
    site.wait_until(&id, "it trains", |job_set| is_training(&job_set.jobs)).await.unwrap();
    worker
}

#[tokio::test]
async fn a_worker_leaves_in_time_though_its_coordinator_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let mut worker = training(&site, &["--leave-seconds", "2"]).await;
    coordinator.kill().unwrap();
    worker.signal(Signal::Terminate).unwrap();
    let asked = Instant::now();
    assert_eq!(worker.wait().unwrap(), Some(1));
    // Without the limit it tries for two minutes.
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    let log = std::fs::read_to_string(site.folder.join("ada.log")).unwrap();
    assert!(log.contains("could not be saved and released within --leave-seconds 2"), "{log}");
}

/// Waits until a worker's log has the words.
fn until_logged(site: &Site, words: &str) {
    let begun = Instant::now();
    let log = || std::fs::read_to_string(site.folder.join("ada.log")).unwrap();
    while !log().contains(words) {
        assert!(begun.elapsed() < PATIENCE, "no {words:?} in {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_idle_worker_leaves_without_a_word_about_jobs_though_its_coordinator_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let mut worker = site.start_worker_with("ada", &["--leave-seconds", "60"]).unwrap();
    until_logged(&site, "is waiting for a job");
    coordinator.kill().unwrap();
    until_logged(&site, "waiting for it");
    worker.signal(Signal::Terminate).unwrap();
    assert_eq!(worker.wait().unwrap(), Some(0));
    let log = std::fs::read_to_string(site.folder.join("ada.log")).unwrap();
    assert!(log.contains("worker ada is leaving") && !log.contains("runs out by itself"), "{log}");
}

#[tokio::test]
async fn a_second_worker_of_a_given_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let _first = training(&site, &[]).await;
    let mut second = site.start_worker("ada").unwrap();
    assert_eq!(second.wait().unwrap(), Some(1));
    let log = std::fs::read_to_string(site.folder.join("ada.log")).unwrap();
    assert!(log.contains("--name ada: another worker of this name runs here"), "{log}");
}
