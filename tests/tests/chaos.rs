//! Faults in the real programs: signals at random moments, cut and stalled connections, crashes of the coordinator.
//! After each round, results must equal those of an undisturbed run bit for bit, and the state folder must be complete.
//! The disturbed workers share a cache of images, the undisturbed ones have none.
//!
//! Reads `ROUNDS` and `SEED` from the environment (`make chaos ROUNDS=20 SEED=7`). Each round prints its seed and its
//! faults.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use fivefold_common::randomness::{Purpose, Stream};
use fivefold_proto::v1;
use fivefold_tests::proxy::Proxy;
use fivefold_tests::{Program, Signal, Site, fivefold, report_numbers, tiny_data};

const SPEC: &str = r#"
name = "chaos"
folds = 3
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 250
valid_batch_per_epoch = 4
epochs = 2
tta = 4
intraop_threads = 1
checkpoint_every_batches = 15
max_attempts = 50
"#;
const WORKERS: [&str; 2] = ["ada", "ben"];
const FAULTS: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillWorker(usize),
    TerminateWorker(usize),
    PauseWorker(usize),
    KillCoordinator,
    CutConnections,
    StallNetwork,
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn succeeded(job_set: &v1::JobSet) -> bool {
    job_set.state() == v1::job_set::State::Succeeded
}

fn assert_same_results(calm: &Path, stormy: &Path) {
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in ["oof.csv", "submission.csv", "fold-0.safetensors", "fold-1.safetensors", "fold-2.safetensors"] {
        assert!(read(calm, name) == read(stormy, name), "{name} differs from that of the undisturbed run");
    }
    assert_eq!(report_numbers(calm).unwrap(), report_numbers(stormy).unwrap());
}

/// The metrics of every epoch of every fold.
async fn metrics(site: &Site, id: &str) -> Vec<v1::EpochMetrics> {
    let mut all = Vec::new();
    for fold in 0..3 {
        all.extend(site.metrics(id, fold).await.unwrap());
    }
    all
}

impl Fault {
    fn draw(random: &mut Stream) -> Fault {
        let worker = random.below(2) as usize;
        match random.below(6) {
            0 => Fault::KillWorker(worker),
            1 => Fault::TerminateWorker(worker),
            2 => Fault::PauseWorker(worker),
            3 => Fault::KillCoordinator,
            4 => Fault::CutConnections,
            _ => Fault::StallNetwork,
        }
    }
}

async fn undisturbed(folder: &Path, data: &Path) -> Vec<v1::EpochMetrics> {
    let (site, _coordinator) = Site::start(&folder.join("site"), data, 30).unwrap();
    let _workers = WORKERS.map(|name| site.start_worker_with(name, &["--cache", "off"]).unwrap());
    let id = site.submit(SPEC).unwrap();
    site.wait_until(&id, "the undisturbed job set succeeds", succeeded).await.unwrap();
    site.results(&id, folder).unwrap();
    metrics(&site, &id).await
}

async fn disturbed(folder: &Path, data: &Path, random: &mut Stream) -> Vec<v1::EpochMetrics> {
    let (mut site, coordinator) = Site::start(&folder.join("site"), data, 2).unwrap();
    let mut coordinator = Some(coordinator);
    let proxy = Proxy::start(&site.url).await.unwrap();
    site.worker_url = proxy.url.clone();
    // Shared, and filled by whichever worker lives.
    let cache = site.folder.join("cache").display().to_string();
    let start = |site: &Site, name| site.start_worker_with(name, &["--cache", &cache]).unwrap();
    let mut workers: Vec<Program> = WORKERS.iter().map(|name| start(&site, name)).collect();
    let id = site.submit(SPEC).unwrap();
    for _ in 0..FAULTS {
        // Only spreads the faults over time; the test waits for nothing here.
        tokio::time::sleep(Duration::from_millis(200 + random.below(1800))).await;
        if site.job_set(&id).await.is_some_and(|job_set| succeeded(&job_set)) {
            break;
        }
        let fault = Fault::draw(random);
        println!("  {fault:?}");
        let length = Duration::from_millis(500 + random.below(3000));
        match fault {
            Fault::KillWorker(worker) => {
                workers[worker].signal(Signal::Kill).unwrap();
                workers[worker].wait().unwrap();
                workers[worker] = start(&site, WORKERS[worker]);
            }
            Fault::TerminateWorker(worker) => {
                workers[worker].signal(Signal::Terminate).unwrap();
                assert_eq!(workers[worker].wait().unwrap(), Some(0), "the exit code of a worker after SIGTERM");
                workers[worker] = start(&site, WORKERS[worker]);
            }
            // Shorter or longer than the lease.
            Fault::PauseWorker(worker) => {
                workers[worker].signal(Signal::Stop).unwrap();
                tokio::time::sleep(length).await;
                workers[worker].signal(Signal::Continue).unwrap();
            }
            Fault::KillCoordinator => {
                coordinator.take().unwrap().kill().unwrap();
                coordinator = Some(site.restart_coordinator().unwrap());
            }
            Fault::CutConnections => proxy.cut(),
            Fault::StallNetwork => {
                proxy.stall();
                tokio::time::sleep(length).await;
                proxy.go_on();
            }
        }
    }
    site.wait_until(&id, "the disturbed job set succeeds", succeeded).await.unwrap();
    site.results(&id, folder).unwrap();
    let metrics = metrics(&site, &id).await;
    drop(workers);
    let packed = fivefold(&["pack", "verify", &cache]).unwrap();
    assert!(packed.starts_with("Read ") && !packed.starts_with("Read 0 "), "{packed}");
    // The start deletes unreferenced files; then every stored byte is read.
    coordinator.take().unwrap().kill().unwrap();
    site.restart_coordinator().unwrap().kill().unwrap();
    let checked =
        fivefold_tests::coordinator(&["check", "--state", &site.folder.join("state").display().to_string()]).unwrap();
    assert!(checked.contains(" 0 unreferenced files"), "{checked}");
    metrics
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_change_nothing() {
    let (rounds, seed) = (from_environment("ROUNDS", 1), from_environment("SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let calm = folder.path().join("calm");
    let calm_metrics = undisturbed(&calm, &data).await;
    assert_eq!(calm_metrics.len(), 6, "two epochs of three folds");
    for round in 0..rounds {
        let seed = seed + round;
        println!("round {round}: SEED={seed}");
        let stormy = folder.path().join(format!("round-{round}"));
        let metrics = disturbed(&stormy, &data, &mut Stream::new(seed, 0, 0, Purpose::Synthetic, 0)).await;
        assert_eq!(metrics, calm_metrics, "each epoch has its metrics once");
        assert_same_results(&calm, &stormy);
        std::fs::remove_dir_all(&stormy).unwrap();
    }
}
