//! The use cases without a server: the real queue on a file, blobs in memory, and a clock that is set by hand.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of it, so an expectation would not always hold"
)]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use bytes::{Bytes, BytesMut};
use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::manifest::{FoldRows, FoldTable, LabelledRow, Manifest};
use fivefold_common::scores::{ScoreRow, ScoreTable, Source};
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Coordinator, Counts, DueJobSets, ScoreTables, Settings, Submission};
use fivefold_coordinator::blobs::{Blobs, Chunks, Claim, Claims, DiskSpace};
use fivefold_coordinator::clock::{Clock, Timestamp};
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::Queue;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use tokio_stream::StreamExt as _;

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Blobs in memory. An upload comes whole.
#[derive(Debug)]
pub(crate) struct MemoryBlobs {
    blobs: Mutex<BTreeMap<Digest, Bytes>>,
    /// How often each was read.
    reads: Mutex<BTreeMap<Digest, usize>>,
    free_bytes: AtomicU64,
}

/// Of the disk on which the blobs would be.
pub(crate) const DISK_BYTES: u64 = 1_000_000_000_000;

impl Default for MemoryBlobs {
    fn default() -> Self {
        Self { blobs: Mutex::default(), reads: Mutex::default(), free_bytes: AtomicU64::new(DISK_BYTES) }
    }
}

impl MemoryBlobs {
    pub(crate) fn leave_free(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn digests(&self) -> HashSet<Digest> {
        self.blobs.lock().unwrap().keys().copied().collect()
    }

    pub(crate) fn reads(&self, digest: Digest) -> usize {
        self.reads.lock().unwrap().get(&digest).copied().unwrap_or(0)
    }

    pub(crate) fn get(&self, digest: Digest) -> Option<Bytes> {
        self.blobs.lock().unwrap().get(&digest).cloned()
    }
}

#[async_trait::async_trait]
impl Blobs for MemoryBlobs {
    async fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        *self.reads.lock().unwrap().entry(digest).or_default() += 1;
        self.get(digest).ok_or_else(|| Error::Stored(format!("blob {digest} is lost")))
    }

    async fn read_from(&self, digest: Digest, offset_bytes: u64) -> Result<Chunks, Error> {
        let rest = self.read(digest).await?.slice(usize::try_from(offset_bytes).unwrap()..);
        Ok(Box::pin(tokio_stream::iter([Ok(rest)])))
    }

    async fn put(&self, claim: &Claim, bytes: Bytes) -> Result<(), Error> {
        assert_eq!(Digest::of(&bytes), claim.digest());
        self.blobs.lock().unwrap().insert(claim.digest(), bytes);
        Ok(())
    }

    async fn held_bytes(&self, _: Digest) -> Result<u64, Error> {
        Ok(0)
    }

    async fn all_held_bytes(&self) -> Result<u64, Error> {
        Ok(0)
    }

    async fn disk_space(&self) -> Result<DiskSpace, Error> {
        Ok(DiskSpace { free_bytes: self.free_bytes.load(Ordering::Relaxed), total_bytes: DISK_BYTES })
    }

    async fn upload(&self, claim: &Claim, size_bytes: u64, _: u64, mut chunks: Chunks) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        assert_eq!(bytes.len() as u64, size_bytes);
        self.put(claim, bytes.freeze()).await
    }

    async fn delete(&self, claim: &Claim) -> Result<(), Error> {
        self.blobs.lock().unwrap().remove(&claim.digest());
        Ok(())
    }

    async fn tidy(&self, named: &HashSet<Digest>) -> Result<usize, Error> {
        let mut blobs = self.blobs.lock().unwrap();
        let before = blobs.len();
        blobs.retain(|digest, _| named.contains(digest));
        Ok(before - blobs.len())
    }
}

/// A coordinator without a server.
#[derive(Debug, Clone)]
pub(crate) struct Rig {
    pub(crate) coordinator: Coordinator,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) blobs: Arc<MemoryBlobs>,
}

impl Rig {
    /// Opens a database, which is brought up to date.
    pub(crate) async fn open(file: &Path, settings: Settings) -> Rig {
        // The disk is not what is tested.
        let queue = SqliteQueue::open(file, Durability::System).await.unwrap();
        Rig::new(Arc::new(queue), Arc::default(), Arc::default(), settings)
    }

    pub(crate) fn new(
        queue: Arc<dyn Queue>,
        blobs: Arc<MemoryBlobs>,
        clock: Arc<ManualClock>,
        settings: Settings,
    ) -> Rig {
        let coordinator = Coordinator {
            queue,
            blobs: blobs.clone(),
            clock: clock.clone(),
            claims: Claims::default(),
            due: DueJobSets::default(),
            score_tables: ScoreTables::default(),
            counts: Counts::default(),
            settings,
        };
        Rig { coordinator, clock, blobs }
    }

    /// The digests of the artifacts that the queue knows.
    pub(crate) async fn known(&self) -> HashSet<Digest> {
        let artifacts = self.coordinator.queue.artifacts().await.unwrap();
        artifacts.iter().map(|artifact| artifact.digest).collect()
    }

    /// Uploads an artifact, as one of a worker without tokens.
    pub(crate) async fn upload(&self, kind: ArtifactKind, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let artifact = Artifact { kind, digest: Digest::of(&bytes), size_bytes: bytes.len() as u64 };
        let chunks = Box::pin(tokio_stream::iter([Ok(bytes)]));
        app::upload(&self.coordinator, artifact, 0, chunks).await.unwrap();
        artifact.digest
    }
}

/// A list whose rows can be split into up to five folds.
pub(crate) static TRAIN_LIST: LazyLock<String> = LazyLock::new(|| {
    let rows = (0..10).map(|row| format!("t{row},{}\n", row % 2)).collect::<String>();
    format!("Id,Target\n{rows}")
});

pub(crate) const TEST_LIST: &str = "Id,Predicted\nx1,0\nx0,0\n";

/// What is submitted with [`TRAIN_LIST`], and [`TEST_LIST`] where wanted, which have to be uploaded.
pub(crate) fn submission(request_id: &str, spec: JobSetSpec, test: Option<Digest>) -> Submission {
    Submission {
        request_id: request_id.to_owned(),
        request_digest: Digest::of(request_id.as_bytes()),
        spec,
        train: Digest::of(TRAIN_LIST.as_bytes()),
        hpa: None,
        test,
        weights: None,
        folds: None,
        images: None,
        warm_start_of: None,
    }
}

/// The out-of-fold rows of a fold.
pub(crate) fn fold_rows(spec: &JobSetSpec, fold: Fold) -> Vec<LabelledRow> {
    let list = Manifest::read_labelled_csv("list", spec, TRAIN_LIST.as_bytes()).unwrap();
    let folds = FoldTable::split(spec, &list, None).unwrap();
    FoldRows::of(spec, fold, &list, None, &folds).unwrap().valid
}

pub(crate) fn test_rows() -> Vec<LabelledRow> {
    let row = |id: &str| LabelledRow { id: id.into(), source: Source::Test, labels: Default::default() };
    vec![row("x1"), row("x0")]
}

/// A score table whose scores depend on `content` alone.
pub(crate) fn score_table(rows: Vec<LabelledRow>, fold: Fold, content: &str) -> ScoreTable {
    let score = |row: LabelledRow| {
        let bytes = Digest::of(format!("{content} {}", row.id).as_bytes());
        let scores = bytes.as_bytes()[..LABEL_COUNT].iter().map(|byte| f32::from(*byte) / 255.0).collect();
        ScoreRow { id: row.id, source: row.source, fold, target: row.labels, scores }
    };
    ScoreTable { class_count: LABEL_COUNT, rows: rows.into_iter().map(score).collect() }
}

pub(crate) fn csv(table: &ScoreTable) -> Vec<u8> {
    let mut csv = Vec::new();
    table.write_csv(&mut csv).unwrap();
    csv
}
