//! Images of a pushed data set: their segments are fetched in the background, in the order of need, while the job runs.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fivefold_client::{Fetched, TransferError, Transfers};
use fivefold_common::durable_file::WriteError;
use fivefold_common::progress::{Phase, Progress};
use fivefold_common::size::size_text;
use fivefold_images::ImageLayout;
use fivefold_pack::pushed_images::{ArrivalError, NeededSegment};
use fivefold_pack::{ImageIndex, ImageKey, PushedImages, PushedImagesError};
use fivefold_train::{Stop, StopFlag};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::cache_folder::CacheFolder;
use crate::failure::AttemptError;
use crate::prepare::blocking;

/// Segments that are downloaded at a time.
const DOWNLOADS: usize = 3;
/// How long a segment is left alone that another process downloads.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(250);
/// A segment that another process downloads is downloaded here too once nothing has come for this time.
const ABANDONED: Duration = Duration::from_secs(60);
/// The time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The images of a job, and what fetches them until this is dropped.
pub(crate) struct Fetching {
    download: Arc<Download>,
    /// Changes with every segment that arrives. It is closed when nothing more is fetched.
    arrivals: watch::Receiver<()>,
    /// `None` once its outcome was taken.
    task: Option<JoinHandle<Result<(), AttemptError>>>,
}

/// What the tasks share that fetch the images of a job.
struct Download {
    images: Arc<PushedImages>,
    transfers: Transfers,
    /// The bytes received of each segment.
    received_bytes: Vec<AtomicU64>,
    /// A segment is wanted again.
    loss: Arc<Notify>,
}

impl Fetching {
    /// Starts to fetch the images `needed`, which are in the order of their first need. `index` is the file of their index.
    ///
    /// # Errors
    /// When the index cannot be used, its images are of another kind than the settings say, or there is no room.
    pub(crate) async fn start(
        attempt: &Attempt<'_>,
        index: PathBuf,
        layout: &ImageLayout,
        needed: Vec<ImageKey>,
    ) -> Result<Self, AttemptError> {
        let json = blocking(move || std::fs::read(&index).with_context(|| index.display().to_string())).await?;
        let index = ImageIndex::parse(&json);
        let index =
            index.map_err(|problem| AttemptError::BadData(format!("the index of the pushed images: {problem}")))?;
        let expected = layout.identity();
        if index.identity != expected {
            let problem = format!("the pushed images are {}, but the settings ask for {expected}", index.identity);
            return Err(AttemptError::BadData(problem));
        }
        let loss = Arc::new(Notify::new());
        let CacheFolder { path, limit_bytes } = attempt.worker.cache.pushed.clone();
        let told = loss.clone();
        let open = move || PushedImages::open(&path, limit_bytes, &index, &needed, move || told.notify_one());
        let images = Arc::new(blocking(move || Ok(open())).await?.map_err(cannot_hold)?);
        log_start(attempt, &images);
        let received_bytes = images.segments().iter().map(|_| AtomicU64::new(0)).collect();
        let download = Arc::new(Download { images, transfers: attempt.transfers(), received_bytes, loss });
        let (arrived, arrivals) = watch::channel(());
        let until = Until { stop: attempt.stop.clone(), release: attempt.release.clone(), gone: attempt.gone.clone() };
        let task = Some(tokio::spawn(fetch(download.clone(), arrived, until)));
        Ok(Self { download, arrivals, task })
    }

    /// The images.
    pub(crate) fn images(&self) -> Arc<PushedImages> {
        self.download.images.clone()
    }

    /// Waits for some images, and reports what has arrived as progress. `Break` when a stop was asked for.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub(crate) async fn wait_for(
        &mut self,
        attempt: &Attempt<'_>,
        images: &[ImageKey],
    ) -> Result<ControlFlow<()>, AttemptError> {
        loop {
            attempt.reporter.progress(self.progress());
            if attempt.stop.asked().is_some() {
                return Ok(ControlFlow::Break(()));
            }
            if self.download.images.are_here(images.iter()) {
                return Ok(ControlFlow::Continue(()));
            }
            tokio::select! {
                changed = self.arrivals.changed() => if changed.is_err() && let Some(error) = self.failure().await {
                    return Err(error);
                },
                () = tokio::time::sleep(REPORT_INTERVAL) => {}
            }
        }
    }

    /// Whether the training waits for images.
    pub(crate) fn is_awaited(&self) -> bool {
        self.download.images.is_awaited()
    }

    /// How many images are there. Those of a segment that is on its way count by its bytes.
    pub(crate) fn progress(&self) -> Progress {
        let Download { images, received_bytes, .. } = &*self.download;
        let wanted: HashSet<usize> = images.wanted().into_iter().collect();
        let (mut here, mut all) = (0, 0);
        for (number, NeededSegment { bytes, images, .. }) in images.segments().iter().enumerate() {
            let count = images.len() as u64;
            let received = received_bytes[number].load(Ordering::Relaxed).min(*bytes);
            here += if wanted.contains(&number) { count * received / bytes } else { count };
            all += count;
        }
        Progress { step: here as u32, step_count: all as u32, ..Progress::start_of(Phase::Preparing) }
    }

    /// Why nothing more is fetched, if that failed.
    pub(crate) async fn failure(&mut self) -> Option<AttemptError> {
        let is_over = self.download.images.is_closed() || self.arrivals.has_changed().is_err();
        match self.task.take_if(|_| is_over)?.await {
            Ok(fetched) => fetched.err(),
            Err(error) => Some(anyhow!("the transfer of the images ended early: {error}").into()),
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What ends the transfer before its job.
struct Until {
    stop: StopFlag,
    release: CancellationToken,
    gone: CancellationToken,
}

/// Ends the waits for images when the transfer ends, however it does.
struct Closing(Arc<PushedImages>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close("nothing more is fetched");
    }
}

/// Fetches what is wanted until the job is stopped.
async fn fetch(download: Arc<Download>, arrived: watch::Sender<()>, until: Until) -> Result<(), AttemptError> {
    let images = download.images.clone();
    let _closing = Closing(images.clone());
    let error = tokio::select! {
        error = fetch_all(&download, &arrived) => error,
        () = until.release.cancelled() => {
            // Before the waits of the training end, so that it does not take this for a failure.
            until.stop.ask(Stop::SaveAndStop);
            images.close("the job is stopped");
            return Ok(());
        }
        () = until.gone.cancelled() => {
            until.stop.ask(Stop::Discard);
            images.close("the lease is gone");
            return Ok(());
        }
    };
    images.close(&error.to_string());
    Err(error)
}

/// Fetches what is wanted, also what is lost later on, and returns the first failure.
async fn fetch_all(download: &Arc<Download>, arrived: &watch::Sender<()>) -> AttemptError {
    let mut running = JoinSet::new();
    // Segments that are being downloaded, here or by another process.
    let mut under_way = HashSet::new();
    let mut elsewhere = Vec::new();
    loop {
        for number in download.images.wanted() {
            if running.len() == DOWNLOADS {
                break;
            }
            if under_way.insert(number) {
                let download = download.clone();
                running.spawn(async move { (number, download.fetch_segment(number).await) });
            }
        }
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok((number, Ok(Fetched::Here))) => {
                    under_way.remove(&number);
                    arrived.send_replace(());
                }
                Ok((number, Ok(Fetched::Elsewhere))) => elsewhere.push(number),
                Ok((_, Err(error))) => return error,
                Err(error) => return anyhow!("a download ended early: {error}").into(),
            },
            () = download.loss.notified() => {}
            () = tokio::time::sleep(ELSEWHERE_PAUSE), if !elsewhere.is_empty() => {
                elsewhere.drain(..).for_each(|number| _ = under_way.remove(&number));
            }
        }
    }
}

impl Download {
    /// Downloads a segment, unless another process does.
    async fn fetch_segment(self: Arc<Self>, number: usize) -> Result<Fetched, AttemptError> {
        let NeededSegment { digest, bytes, path, .. } = &self.images.segments()[number];
        let counted = self.clone();
        let transfers = self.transfers.clone().with_progress(move |progress| {
            counted.received_bytes[number].store(progress.done_bytes, Ordering::Relaxed);
        });
        let fetched = loop {
            let result = match transfers.fetch_once(*digest, path).await {
                Ok(Fetched::Elsewhere) if is_abandoned(path) => {
                    transfers.download(*digest, path).await.map(|()| Fetched::Here)
                }
                result => result,
            };
            match result {
                Ok(fetched) => break fetched,
                Err(error) if is_disk_full(&error) => self.free(*bytes).await?,
                Err(error) => return Err(error.into()),
            }
        };
        if fetched == Fetched::Here {
            let images = self.images.clone();
            let arrived = blocking(move || Ok(images.arrived(number))).await?;
            arrived.map_err(|error| match error {
                ArrivalError::Wrong(_) => AttemptError::BadData(error.to_string()),
                ArrivalError::Unreadable(_) => AttemptError::Other(error.into()),
            })?;
        }
        Ok(fetched)
    }

    /// Deletes unused segments from a full disk.
    async fn free(&self, bytes: u64) -> Result<(), AttemptError> {
        let images = self.images.clone();
        let freed_bytes = blocking(move || Ok(images.free_unused(bytes)?)).await?;
        if freed_bytes == 0 {
            return Err(cannot_hold(self.images.disk_full()));
        }
        tracing::info!("the disk is full: {} of unused images are deleted", size_text(freed_bytes));
        Ok(())
    }
}

/// Whether the other process that downloads to `path` gets nothing. It may work for another coordinator.
fn is_abandoned(path: &Path) -> bool {
    let part = path.with_added_extension("part");
    let written = std::fs::metadata(part).and_then(|metadata| metadata.modified());
    written.is_ok_and(|time| time.elapsed().is_ok_and(|silence| silence > ABANDONED))
}

fn is_disk_full(error: &TransferError) -> bool {
    match error {
        TransferError::File { error, .. } | TransferError::Write(WriteError { error, .. }) => {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        }
        _ => false,
    }
}

fn cannot_hold(error: PushedImagesError) -> AttemptError {
    match error {
        PushedImagesError::NotPushed(_) => AttemptError::BadData(error.to_string()),
        // It will be the same on the next try here: another worker has to take the fold.
        PushedImagesError::OverLimit { .. } => {
            AttemptError::BadData(format!("{error}; allow more with --cache-size, and start the worker again"))
        }
        PushedImagesError::DiskFull { .. } => AttemptError::BadData(format!(
            "{error}; free some, or name a folder on another disk with --cache, and start the worker again"
        )),
        PushedImagesError::Folder(_) | PushedImagesError::Write(_) => AttemptError::Other(error.into()),
    }
}

fn log_start(attempt: &Attempt<'_>, images: &PushedImages) {
    let (segments, wanted) = (images.segments(), images.wanted());
    let wanted_bytes: u64 = wanted.iter().map(|number| segments[*number].bytes).sum();
    tracing::info!(
        "{}: {} of {} segments of images are to be fetched ({}), into {}",
        attempt.lease,
        wanted.len(),
        segments.len(),
        size_text(wanted_bytes),
        images.folder().display()
    );
}
