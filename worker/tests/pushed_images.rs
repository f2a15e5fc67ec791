//! Pushed data sets against a coordinator in memory: a worker with an empty disk fetches the images that it needs, and its
//! results are those of a worker with the folder.

#![expect(clippy::unwrap_used, reason = "tests")]

mod fake_coordinator;
mod rig;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use fake_coordinator::{CHUNK_BYTES, Coordinator, Server};
use fivefold_common::checkpoint::TrainingPoint;
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_pack::{Build, ImageIndex, ImageKey, IndexedSegment, Segment};
use fivefold_proto::convert::spec_to_wire;
use fivefold_proto::v1;
use fivefold_train::rows_by_first_need;
use fivefold_worker::cache_folder::CacheFolder;
use tempfile::TempDir;

use crate::rig::{Data, Worker, oof, spec, undisturbed, until};

/// A data set whose images are packed, in segments of about two images, and what a worker with the folder makes of it.
struct Pushed {
    data: Data,
    index: ImageIndex,
    segments: HashMap<Digest, Vec<u8>>,
    calm: Coordinator,
}

impl Pushed {
    async fn new() -> Self {
        let data = Data::new();
        let calm = undisturbed(&data).await;
        let folder = Arc::new(ImageFolder::open(data.folder.path()).unwrap());
        let images = PackedImages::new(folder.clone(), ImageLayout::of(&spec()).unwrap()).unwrap();
        let source = |key: &ImageKey| *Source::ALL.iter().find(|source| source.to_string() == key.list).unwrap();
        let keys: Vec<ImageKey> = [(Source::Train, 24), (Source::Hpa, 8), (Source::Test, 4)]
            .into_iter()
            .flat_map(|(source, count)| (0..count).map(move |row| (source, row)))
            .map(|(source, row)| PackedImages::key(source, &format!("{source}-{row}")))
            .collect();
        let pack = tempfile::tempdir().unwrap();
        let build = Build {
            folder: pack.path(),
            identity: &images.identity(),
            threads: 2,
            segment_bytes: 1500,
            stamp: |key: &ImageKey| images.stamp(source(key), &key.id),
            decode: |key: &ImageKey, image: &mut [u8]| {
                folder.read_image_into(images.layout(), source(key), &key.id, image)
            },
        };
        let built = build.run(&keys, &AtomicBool::new(false), |_| {}).unwrap();
        assert_eq!(built.progress.packed, 36);
        let mut segments = BTreeMap::new();
        for path in segment_paths(pack.path()) {
            let (segment, bytes) = (Segment::open(&path).unwrap(), std::fs::read(&path).unwrap());
            let images = segment.index().records.iter().map(|record| record.key.clone()).collect();
            let digest = segment.digest();
            segments.insert(digest, (IndexedSegment { digest, bytes: bytes.len() as u64, images }, bytes));
        }
        let index = ImageIndex {
            identity: images.identity(),
            segments: segments.values().map(|(segment, _)| segment.clone()).collect(),
        };
        let segments = segments.into_iter().map(|(digest, (_, bytes))| (digest, bytes)).collect();
        Self { data, index, segments, calm }
    }

    /// A lease of fold 1 with pushed images, which the coordinator has.
    fn lease(&self, coordinator: &Coordinator, attempt: u32) -> v1::Lease {
        let mut lease = self.data.lease(coordinator, attempt);
        let index = self.index.to_json().unwrap();
        let digest = Digest::of(&index).to_string();
        let mut state = coordinator.state();
        state.artifacts.insert(digest.clone(), index);
        state.artifacts.extend(self.segments.iter().map(|(digest, bytes)| (digest.to_string(), bytes.clone())));
        lease.manifests.as_mut().unwrap().images_digest = digest;
        lease
    }

    fn queue_lease(&self, coordinator: &Coordinator, attempt: u32) {
        let lease = self.lease(coordinator, attempt);
        coordinator.state().queue.push_back(lease);
    }

    /// The segments that fold 1 needs, in the order of need.
    fn needed(&self) -> Vec<Digest> {
        let read = |csv: &[u8]| Manifest::read_labelled_csv("list", &JobSetSpec::default(), csv).unwrap();
        let (train, hpa) = (read(&self.data.train), read(&self.data.hpa));
        let folds = FoldTable::split(&spec(), &train, Some(&hpa)).unwrap();
        let rows = FoldRows::of(&spec(), Fold(1), &train, Some(&hpa), &folds).unwrap();
        let start = TrainingPoint { epoch: 0, step: 0 };
        let mut digests = Vec::new();
        for row in rows_by_first_need(&spec(), Fold(1), start, &rows.train, &rows.valid) {
            let key = PackedImages::key(row.source, &row.id);
            let segment = self.index.segments.iter().find(|segment| segment.images.contains(&key)).unwrap();
            if !digests.contains(&segment.digest) {
                digests.push(segment.digest);
            }
        }
        digests
    }

    /// Checks that the coordinator has the result of a worker with the folder, bit for bit.
    fn expect_same_result(&self, coordinator: &Coordinator) {
        assert!(coordinator.state().failed.is_none(), "{}", coordinator.state().summary());
        assert_eq!(oof(coordinator), oof(&self.calm));
        let model = |coordinator: &Coordinator| {
            coordinator.state().completed.as_ref().unwrap().checkpoint.as_ref().unwrap().digest.clone()
        };
        assert_eq!(model(coordinator), model(&self.calm));
    }

    /// How often each segment was asked for from its beginning.
    fn fetched(&self, coordinator: &Coordinator) -> HashMap<Digest, usize> {
        let mut counts = HashMap::new();
        for (digest, offset_bytes) in &coordinator.state().downloads {
            let digest: Digest = digest.parse().unwrap();
            if *offset_bytes == 0 && self.segments.contains_key(&digest) {
                *counts.entry(digest).or_default() += 1;
            }
        }
        counts
    }
}

fn segment_paths(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "segment")).collect()
}

/// A worker without a folder of images, whose cache has a limit.
fn worker_with(server: &Server, cache: &TempDir, limit_bytes: Option<u64>) -> Worker {
    Worker::start_with(&server.url, None, CacheFolder { path: cache.path().to_owned(), limit_bytes })
}

fn worker(server: &Server, cache: &TempDir) -> Worker {
    worker_with(server, cache, None)
}

/// Trains fold 1 with a cache, and returns the coordinator.
async fn train(pushed: &Pushed, cache: &TempDir, limit_bytes: Option<u64>) -> Coordinator {
    let coordinator = Coordinator::default();
    pushed.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = worker_with(&server, cache, limit_bytes);
    until(&coordinator, "the job has ended", |state| state.completed.is_some() || state.failed.is_some()).await;
    worker.leave().await;
    server.stop();
    coordinator
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_an_empty_disk_trains_and_predicts_as_one_with_the_folder() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let coordinator = train(&pushed, &cache, None).await;
    pushed.expect_same_result(&coordinator);
    assert_eq!(coordinator.state().registered, [false]);
    assert_eq!(pushed.calm.state().registered, [true]);
    let needed = pushed.needed();
    let expected: HashMap<Digest, usize> = needed.iter().map(|digest| (*digest, 1)).collect();
    assert_eq!(pushed.fetched(&coordinator), expected, "what the fold needs, each once");
    assert!(needed.len() > 8 && needed.len() < pushed.segments.len(), "others have test images alone");

    let checkpoint = pushed.calm.state().completed.as_ref().unwrap().checkpoint.clone().unwrap();
    let mut scores = Vec::new();
    for is_pushed in [false, true] {
        let again = Coordinator::default();
        again.state().artifacts.clone_from(&pushed.calm.state().artifacts);
        let lease = if is_pushed { pushed.lease(&again, 1) } else { pushed.data.lease(&again, 1) };
        let checkpoints = vec![checkpoint.clone()];
        again.state().queue.push_back(v1::Lease { kind: v1::JobKind::Predict.into(), checkpoints, ..lease });
        let server = Server::start(&again, 0).await;
        let worker = match is_pushed {
            true => worker(&server, &cache),
            false => Worker::start(&server.url, pushed.data.folder.path()),
        };
        until(&again, "the job is complete", |state| state.completed.is_some()).await;
        worker.leave().await;
        server.stop();
        scores.push(oof(&again));
        let all: HashSet<Digest> = needed.iter().chain(pushed.fetched(&again).keys()).copied().collect();
        assert_eq!(all.len() == pushed.segments.len(), is_pushed);
    }
    assert_eq!(scores[0], scores[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn training_begins_before_the_last_segment_is_there() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let last = *pushed.needed().last().unwrap();
    let coordinator = Coordinator::default();
    coordinator.state().withheld.insert(last.to_string());
    pushed.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = worker(&server, &cache);
    until(&coordinator, "a checkpoint is recorded", |state| !state.recorded.is_empty()).await;
    assert!(!segment_paths(cache.path()).iter().any(|path| path.to_str().unwrap().contains(&last.to_string())));
    coordinator.state().withheld.clear();
    until(&coordinator, "the fold is complete", |state| state.completed.is_some()).await;
    worker.leave().await;
    server.stop();
    pushed.expect_same_result(&coordinator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_images_leaves_at_once_and_another_one_resumes_fold_and_download() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let last = pushed.needed().last().unwrap().to_string();
    let coordinator = Coordinator::default();
    coordinator.state().withheld.insert(last.clone());
    pushed.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let first = worker(&server, &cache);
    let is_begun = |state: &fake_coordinator::State| {
        !state.recorded.is_empty() && state.downloads.contains(&(last.clone(), CHUNK_BYTES as u64))
    };
    until(&coordinator, "training and the last download have begun", is_begun).await;
    first.leave().await;
    assert_eq!(coordinator.state().released, 1, "{}", coordinator.state().summary());

    // The coordinator is another process by now.
    let port = server.port;
    server.stop();
    let server = Server::start(&coordinator, port).await;
    let mut lease = pushed.lease(&coordinator, 2);
    lease.checkpoints = coordinator.state().newest_checkpoints();
    coordinator.state().queue.push_back(lease);
    coordinator.state().withheld.clear();
    let second = worker(&server, &cache);
    until(&coordinator, "the fold is complete", |state| state.completed.is_some()).await;
    second.leave().await;
    server.stop();
    pushed.expect_same_result(&coordinator);
    assert!(pushed.fetched(&coordinator).values().all(|count| *count == 1), "{:?}", coordinator.state().downloads);
    let left = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<String> = left.map(|name| name.into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.ends_with(".segment") || name == "room.lock"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_wait_for_images() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let coordinator = Coordinator::default();
    coordinator.state().withheld.extend(pushed.segments.keys().map(Digest::to_string));
    pushed.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = worker(&server, &cache);
    until(&coordinator, "images are on their way", |state| state.downloads.iter().any(|(_, offset)| *offset > 0)).await;
    coordinator.state().current_attempt = Some(2);
    until(&coordinator, "the worker asks for other work", |state| state.waits > 1).await;
    worker.leave().await;
    server.stop();
    let state = coordinator.state();
    assert!(state.completed.is_none() && state.failed.is_none() && state.released == 0, "{}", state.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_a_cache_and_fetch_each_segment_once() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let coordinator = Coordinator::default();
    for attempt in [1, 2] {
        pushed.queue_lease(&coordinator, attempt);
    }
    let server = Server::start(&coordinator, 0).await;
    let workers = [worker(&server, &cache), worker(&server, &cache)];
    until(&coordinator, "both folds are complete", |state| state.completions == 2).await;
    for worker in workers {
        worker.leave().await;
    }
    server.stop();
    pushed.expect_same_result(&coordinator);
    let fetched = pushed.fetched(&coordinator);
    assert!(fetched.len() == pushed.needed().len() && fetched.values().all(|count| *count == 1), "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_another_process_waits_for_in_vain_is_downloaded_here_too() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let part = cache.path().join(format!("{}.segment.part", pushed.needed()[0]));
    let other = std::fs::File::create(&part).unwrap();
    other.lock().unwrap();
    other.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    pushed.expect_same_result(&train(&pushed, &cache, None).await);
    assert!(part.exists(), "it is not this worker's");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_segments_are_fetched_again() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    train(&pushed, &cache, None).await;
    let needed = pushed.needed();
    let path = |digest: Digest| cache.path().join(format!("{digest}.segment"));
    let (flipped, cut, deleted) = (needed[0], needed[3], *needed.last().unwrap());
    let mut bytes = std::fs::read(path(flipped)).unwrap();
    bytes[8] ^= 1;
    std::fs::write(path(flipped), bytes).unwrap();
    std::fs::File::options().write(true).open(path(cut)).unwrap().set_len(100).unwrap();
    std::fs::remove_file(path(deleted)).unwrap();
    let again = train(&pushed, &cache, None).await;
    pushed.expect_same_result(&again);
    assert_eq!(pushed.fetched(&again), [(flipped, 1), (cut, 1), (deleted, 1)].into());
    assert_eq!(Digest::of(&std::fs::read(path(flipped)).unwrap()), flipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_images_make_room_and_a_lack_of_room_is_named() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let unused = cache.path().join(format!("{}.segment", Digest::of(b"of an earlier data set")));
    std::fs::write(&unused, [0; 100_000]).unwrap();
    std::fs::File::open(&unused).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let needed_bytes: u64 = pushed.needed().iter().map(|digest| pushed.segments[digest].len() as u64).sum();
    let coordinator = train(&pushed, &cache, Some(needed_bytes - 1)).await;
    let failed = coordinator.state().failed.take().unwrap();
    // The next try here would fail too: another worker has to take the job.
    assert_eq!(failed.cause(), v1::FailureCause::BadData);
    let folder = cache.path().display().to_string();
    assert!(
        failed.message.contains(&folder) && failed.message.contains("allow more with --cache-size"),
        "{}",
        failed.message
    );
    assert!(pushed.fetched(&coordinator).is_empty() && unused.exists());
    pushed.expect_same_result(&train(&pushed, &cache, Some(needed_bytes)).await);
    assert!(!unused.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_images_cannot_be_had_fail() {
    let (pushed, cache) = (Pushed::new().await, tempfile::tempdir().unwrap());
    let coordinator = Coordinator::default();
    let server = Server::start(&coordinator, 0).await;
    let worker = worker(&server, &cache);
    let failure = async |lease: v1::Lease| {
        coordinator.state().queue.push_back(lease);
        until(&coordinator, "the job has failed", |state| state.failed.is_some()).await;
        let failed = coordinator.state().failed.take().unwrap();
        (failed.cause(), failed.message)
    };
    let (cause, message) = failure(pushed.data.lease(&coordinator, 1)).await;
    assert_eq!(cause, v1::FailureCause::Error);
    assert!(message.contains("start it with --data DIR"), "{message}");

    let other = JobSetSpec { image_size: 16, ..spec() };
    let lease = v1::Lease { spec: Some(spec_to_wire(&other)), ..pushed.lease(&coordinator, 2) };
    let (cause, message) = failure(lease).await;
    assert_eq!(cause, v1::FailureCause::BadData);
    assert!(
        message.contains("the pushed images are 3 x 32 x 32") && message.contains("ask for 3 x 16 x 16"),
        "{message}"
    );

    let mut lease = pushed.lease(&coordinator, 3);
    let lost = Digest::of(b"never pushed").to_string();
    lease.manifests.as_mut().unwrap().images_digest = lost;
    assert_eq!(failure(lease).await.0, v1::FailureCause::Error);

    // Of the images of the fold, one is not pushed; and a segment is none.
    let mut index = pushed.index.clone();
    let needed = pushed.needed()[0];
    let place = index.segments.iter().position(|segment| segment.digest == needed).unwrap();
    let mut lease = pushed.lease(&coordinator, 4);
    let removed = index.segments.remove(place);
    let json = index.to_json().unwrap();
    lease.manifests.as_mut().unwrap().images_digest = Digest::of(&json).to_string();
    coordinator.state().artifacts.insert(Digest::of(&json).to_string(), json);
    let (cause, message) = failure(lease).await;
    assert_eq!(cause, v1::FailureCause::BadData);
    assert!(message.contains("is not among the pushed images"), "{message}");

    let bytes = b"no segment".to_vec();
    let digest = Digest::of(&bytes);
    index.segments.push(IndexedSegment { digest, bytes: 10, images: removed.images });
    index.segments.sort_by_key(|segment| segment.digest);
    let json = index.to_json().unwrap();
    let mut lease = pushed.lease(&coordinator, 5);
    lease.manifests.as_mut().unwrap().images_digest = Digest::of(&json).to_string();
    coordinator.state().artifacts.extend([(digest.to_string(), bytes), (Digest::of(&json).to_string(), json)]);
    let (cause, message) = failure(lease).await;
    assert_eq!(cause, v1::FailureCause::BadData);
    assert!(message.contains("segment") && message.contains("is no segment of packed images"), "{message}");
    worker.leave().await;
    server.stop();
}
