//! A data set, workers in this process, and what tests wait for.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fivefold_client::{Connection, Credentials, RetryPolicy};
use fivefold_common::ids::Digest;
use fivefold_common::manifest::{FoldTable, Manifest};
use fivefold_common::spec::JobSetSpec;
use fivefold_program::recorder::Recorder;
use fivefold_proto::convert::spec_to_wire;
use fivefold_proto::v1;
use fivefold_train::{Device, ImageFolder};
use fivefold_worker::cache_folder::{CacheFolder, CacheFolders};
use fivefold_worker::daemon;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_coordinator::{Coordinator, Server, State};

pub(crate) const SIZE: u32 = 32;
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn spec() -> JobSetSpec {
    JobSetSpec {
        folds: 2,
        base_width: 4,
        image_size: SIZE,
        batch_size: 4,
        train_batch_per_epoch: 8,
        valid_batch_per_epoch: 2,
        epochs: 2,
        tta: 2,
        intraop_threads: 1,
        checkpoint_every_batches: 3,
        ..JobSetSpec::default()
    }
}

/// Lists, folds and images of 24 + 8 + 4 rows.
pub(crate) struct Data {
    pub(crate) folder: TempDir,
    pub(crate) train: Vec<u8>,
    pub(crate) hpa: Vec<u8>,
    pub(crate) test: Vec<u8>,
    folds: Vec<u8>,
}

impl Data {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = |source: &str, count: usize, header: &str| {
            let mut csv = format!("{header}\n");
            for row in 0..count {
                let id = format!("{source}-{row}");
                for (place, colour) in ["red", "green", "blue"].iter().enumerate() {
                    let path = folder.path().join(source).join(format!("{id}_{colour}.png"));
                    write_png(&path, (row * 3 + place) as u32);
                }
                csv += &format!("{id},{} {}\n", row % 5, 5 + row % 7);
            }
            csv.into_bytes()
        };
        let train = list("train", 24, "Id,Target");
        let hpa = list("hpa", 8, "Id,Target");
        let test = list("test", 4, "Id,Predicted");
        let read = |csv: &[u8]| Manifest::read_labelled_csv("list", &JobSetSpec::default(), csv).unwrap();
        let mut folds = Vec::new();
        FoldTable::split(&spec(), &read(&train), Some(&read(&hpa))).unwrap().write_csv(&mut folds).unwrap();
        Self { folder, train, hpa, test, folds }
    }

    /// Puts a lease of fold 1 into the coordinator's queue.
    pub(crate) fn queue_lease(&self, coordinator: &Coordinator, attempt: u32) {
        let lease = self.lease(coordinator, attempt);
        coordinator.state().queue.push_back(lease);
    }

    /// Stores the lists with the coordinator, and returns a lease of fold 1.
    pub(crate) fn lease(&self, coordinator: &Coordinator, attempt: u32) -> v1::Lease {
        let store = |bytes: &[u8]| {
            let digest = Digest::of(bytes).to_string();
            coordinator.state().artifacts.insert(digest.clone(), bytes.to_vec());
            digest
        };
        v1::Lease {
            job_id: 7,
            attempt,
            lease_seconds: 5,
            job_set_id: "js-abcdefgh".into(),
            kind: v1::JobKind::Train.into(),
            fold: 1,
            spec: Some(spec_to_wire(&spec())),
            manifests: Some(v1::Manifests {
                train_digest: store(&self.train),
                hpa_digest: store(&self.hpa),
                test_digest: store(&self.test),
                weights_digest: String::new(),
                folds_digest: String::new(),
                warm_start_job_set_id: String::new(),
                images_digest: String::new(),
            }),
            folds_digest: store(&self.folds),
            checkpoints: Vec::new(),
        }
    }
}

pub(crate) fn write_png(path: &Path, seed: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), SIZE, SIZE);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..SIZE * SIZE).map(|place| (place.wrapping_mul(seed * 2 + 1) >> 3) as u8).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// A worker in this process.
pub(crate) struct Worker {
    leaving: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    _scratch: TempDir,
}

impl Worker {
    /// A worker with a folder of images.
    pub(crate) fn start(url: &str, data: &Path) -> Self {
        let nowhere = CacheFolder { path: data.join("not needed"), limit_bytes: None };
        Self::start_with(url, Some(data), nowhere)
    }

    /// A worker with or without a folder of images, and with one for those of pushed data sets.
    pub(crate) fn start_with(url: &str, data: Option<&Path>, pushed: CacheFolder) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let leaving = CancellationToken::new();
        let worker = daemon::Worker {
            name: "worker".into(),
            name_lock: None,
            images: data.map(|data| Arc::new(ImageFolder::open(data).unwrap())),
            cache: CacheFolders { decoded: None, pushed },
            scratch: scratch.path().to_owned(),
            device: Device::Cpu,
            recorder: Recorder::default(),
            decode_threads: 2,
        };
        let (address, credentials) = (url.parse().unwrap(), Credentials::default());
        let connection = Connection::new(&address, &credentials, RetryPolicy::unattended(), "test").unwrap();
        let token = leaving.clone();
        let task = tokio::spawn(async move { daemon::run(&connection, &worker, &token).await });
        Self { leaving, task, _scratch: scratch }
    }

    pub(crate) async fn leave(self) {
        self.leaving.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

pub(crate) async fn until(coordinator: &Coordinator, what: &str, holds: impl Fn(&State) -> bool) {
    let start = Instant::now();
    while !holds(&coordinator.state()) {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}: {}", coordinator.state().summary());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Trains the fold undisturbed, and returns the coordinator's state.
pub(crate) async fn undisturbed(data: &Data) -> Coordinator {
    let coordinator = Coordinator::default();
    data.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = Worker::start(&server.url, data.folder.path());
    until(&coordinator, "the fold is complete", |state| state.completed.is_some()).await;
    worker.leave().await;
    server.stop();
    coordinator
}

pub(crate) fn oof(coordinator: &Coordinator) -> Vec<u8> {
    let state = coordinator.state();
    let digest = state.completed.as_ref().unwrap().result.as_ref().unwrap().digest.clone();
    state.artifacts[&digest].clone()
}
