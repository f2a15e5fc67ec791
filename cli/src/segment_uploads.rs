//! The upload of packed images: only the segments that the coordinator lacks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fivefold_client::{Connection, Source};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::Digest;
use fivefold_common::size::size_text;
use fivefold_proto::v1::{FindMissingArtifactsRequest, GetDiskUsageRequest};

use crate::bar::Bar;
use crate::console::explain;

/// Digests in one call.
const DIGESTS_PER_CALL: usize = 10_000;
/// The coordinator keeps what nothing refers to for an hour after it was asked for.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// A segment of a pack on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
}

/// What was uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uploaded {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

/// Uploads the segments that the coordinator lacks, with a bar. All of them are kept for an hour from then on.
pub(crate) async fn upload_segments(coordinator: &Connection, segments: &[SegmentFile]) -> anyhow::Result<Uploaded> {
    let missing = missing_segments(coordinator, segments).await?;
    let uploaded = Uploaded { segments: missing.len(), bytes: missing.iter().map(|segment| segment.bytes).sum() };
    if missing.is_empty() {
        return Ok(uploaded);
    }
    require_room(coordinator, uploaded.bytes).await?;
    explain(|| format!("uploading {} segments, {}", uploaded.segments, size_text(uploaded.bytes)));
    let bar = Arc::new(Bar::of_bytes("uploading images", uploaded.bytes));
    let done_bytes = Arc::new(AtomicU64::new(0));
    let mut asked_at = Instant::now();
    for segment in missing {
        let before = done_bytes.load(Ordering::Relaxed);
        let (shown, done) = (bar.clone(), done_bytes.clone());
        let transfers = coordinator.transfers().with_progress(move |progress| {
            done.store(before + progress.done_bytes, Ordering::Relaxed);
            shown.set(before + progress.done_bytes);
        });
        upload(&transfers, segment).await?;
        done_bytes.store(before + segment.bytes, Ordering::Relaxed);
        if asked_at.elapsed() > ASK_AGAIN {
            missing_segments(coordinator, segments).await?;
            asked_at = Instant::now();
        }
    }
    drop(bar);
    // What was held at the beginning of a long upload may have been deleted since.
    let lost = missing_segments(coordinator, segments).await?;
    for segment in lost {
        upload(&coordinator.transfers(), segment).await?;
    }
    Ok(uploaded)
}

async fn upload(transfers: &fivefold_client::Transfers, segment: &SegmentFile) -> anyhow::Result<()> {
    let path = segment.path.display();
    let source = Source::from(segment.path.as_path());
    let artifact =
        transfers.upload(ArtifactKind::Segment, source).await.with_context(|| format!("cannot upload {path}"))?;
    if artifact.digest != segment.digest {
        bail!("{path} is damaged: `fivefold pack verify` names what is; delete the file, then push again");
    }
    Ok(())
}

/// The segments that the coordinator lacks, in their order. It keeps the others for an hour.
async fn missing_segments<'a>(
    coordinator: &Connection,
    segments: &'a [SegmentFile],
) -> anyhow::Result<Vec<&'a SegmentFile>> {
    let mut missing = HashSet::new();
    for some in segments.chunks(DIGESTS_PER_CALL) {
        let digests = some.iter().map(|segment| segment.digest.to_string()).collect();
        let request = FindMissingArtifactsRequest { digests };
        let answer = coordinator.call(request, async |c, r| c.data_sets().find_missing_artifacts(r).await).await?;
        missing.extend(answer.digests);
    }
    Ok(segments.iter().filter(|segment| missing.contains(&segment.digest.to_string())).collect())
}

/// Refuses an upload for which the coordinator's disk has no room.
async fn require_room(coordinator: &Connection, bytes: u64) -> anyhow::Result<()> {
    let usage = coordinator.call(GetDiskUsageRequest {}, async |c, r| c.job_sets().get_disk_usage(r).await).await?;
    if usage.free_bytes < bytes {
        bail!(
            "the coordinator's disk has {} free, and {} of images are to be uploaded: free some space (`fivefold disk` \
             shows what can be freed), then push again",
            size_text(usage.free_bytes),
            size_text(bytes)
        );
    }
    Ok(())
}
