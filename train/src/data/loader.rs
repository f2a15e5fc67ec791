//! Batches of decoded images, read ahead by several threads and delivered in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use fivefold_common::manifest::LabelledRow;
use fivefold_images::{ImageError, ImageLayout, ImageProblem};
use fivefold_pack::Buffers;
use tch::Tensor;

use crate::data::image_source::ImageSource;

/// How many batches are decoded ahead of the caller.
const BATCHES_AHEAD: usize = 3;

/// A batch of decoded images.
#[derive(Debug)]
pub struct Batch {
    /// The places of the images in the rows, as planned.
    pub rows: Vec<u32>,
    /// The images, u8 `[N, C, S, S]` on the CPU: a plane for each channel.
    pub images: Tensor,
}

/// The labels of a batch as targets: f32 `[N, class_count]` on the CPU, 0 or 1. `batch` has places in `rows`.
pub fn batch_targets(rows: &[LabelledRow], batch: &[u32], class_count: usize) -> Tensor {
    let mut values = vec![0.0_f32; batch.len() * class_count];
    for (&row, targets) in batch.iter().zip(values.chunks_exact_mut(class_count)) {
        for label in rows[row as usize].labels.iter() {
            targets[usize::from(label)] = 1.0;
        }
    }
    Tensor::from_slice(&values).reshape([batch.len() as i64, class_count as i64])
}

/// Reads batches of `images` of a `layout` with `threads` threads, at least one. `plan` has the places of each batch in
/// `rows`.
///
/// Batches arrive in the order of the plan, whatever the number of threads. An image that cannot be read ends the
/// iterator: the batches before it arrive, then its error. Only a few batches are in memory at a time. Dropping the
/// iterator stops its threads after their current images.
///
/// # Panics
/// When a place of the plan is out of range.
pub fn load_batches(
    images: ImageSource,
    rows: Arc<[LabelledRow]>,
    plan: Vec<Vec<u32>>,
    layout: ImageLayout,
    threads: usize,
) -> Batches {
    assert!(
        plan.iter().flatten().all(|&row| (row as usize) < rows.len()),
        "the plan goes beyond its {} rows",
        rows.len()
    );
    let threads = threads.max(1);
    let layout = Arc::new(layout);
    let (jobs, job_receiver) = crossbeam_channel::unbounded();
    let stop = Arc::new(AtomicBool::new(false));
    let workers = (0..threads)
        .map(|_| {
            let (images, layout, rows) = (images.clone(), layout.clone(), rows.clone());
            let (jobs, stop) = (job_receiver.clone(), stop.clone());
            std::thread::spawn(move || decode(&images, &layout, &rows, &jobs, &stop))
        })
        .collect();
    let mut batches =
        Batches { images, layout, plan: plan.into_iter(), pending: VecDeque::new(), jobs: Some(jobs), stop, workers };
    // Enough to keep every thread busy where batches are small.
    let largest = batches.plan.as_slice().iter().map(Vec::len).max().unwrap_or(1).max(1);
    for _ in 0..BATCHES_AHEAD + threads.div_ceil(largest) {
        batches.start_next();
    }
    batches
}

/// The iterator of [`load_batches`].
#[derive(Debug)]
pub struct Batches {
    images: ImageSource,
    layout: Arc<ImageLayout>,
    plan: std::vec::IntoIter<Vec<u32>>,
    pending: VecDeque<PendingBatch>,
    /// `None` when the plan is used up, or after an error.
    jobs: Option<Sender<Job>>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// A batch in work.
#[derive(Debug)]
struct PendingBatch {
    rows: Vec<u32>,
    finished: Receiver<Result<Tensor, ImageError>>,
}

/// One image to decode.
struct Job {
    row: u32,
    place: usize,
    batch: Arc<UnfinishedBatch>,
}

/// A batch that is being filled.
struct UnfinishedBatch {
    /// Of its images: `[N, C, S, S]`.
    shape: [i64; 4],
    filled: Mutex<Filled>,
    finished: Sender<Result<Tensor, ImageError>>,
}

struct Filled {
    images: Vec<u8>,
    missing: usize,
    /// The error of the earliest image with one, and the place of that image.
    error: Option<(usize, ImageError)>,
}

impl Batches {
    /// Sends the next batch of the plan to the threads.
    fn start_next(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        let Some(rows) = self.plan.next() else {
            self.jobs = None;
            return;
        };
        let (finished, receiver) = crossbeam_channel::bounded(1);
        let images = vec![0; rows.len() * self.layout.image_bytes()];
        let filled = Mutex::new(Filled { images, missing: rows.len(), error: None });
        let side = i64::from(self.layout.size());
        let shape = [rows.len() as i64, self.layout.channel_count() as i64, side, side];
        let batch = Arc::new(UnfinishedBatch { shape, filled, finished });
        if rows.is_empty() {
            batch.finish();
        }
        for (place, &row) in rows.iter().enumerate() {
            // Fails only when every thread has ended; then the channel of the batch reports it.
            let _ = jobs.send(Job { row, place, batch: batch.clone() });
        }
        self.pending.push_back(PendingBatch { rows, finished: receiver });
    }

    fn stop_threads(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.pending.clear();
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let PendingBatch { rows, finished } = self.pending.pop_front()?;
        // The channel is closed when the last thread panicked.
        let images = finished.recv().unwrap_or_else(|_| Err(panicked(self.images.folder().to_owned())));
        self.start_next();
        if images.is_err() {
            self.stop_threads();
        }
        Some(images.map(|images| Batch { rows, images }))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop_threads();
        for worker in self.workers.drain(..) {
            // A panic was reported when it happened.
            let _ = worker.join();
        }
        self.images.end_pass();
    }
}

/// Decodes one image after another until there are no more jobs or `stop` is set.
fn decode(images: &ImageSource, layout: &ImageLayout, rows: &[LabelledRow], jobs: &Receiver<Job>, stop: &AtomicBool) {
    let mut buffers = Buffers::default();
    for Job { row, place, batch } in jobs {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let row = &rows[row as usize];
        let name = (row.source, row.id.as_str());
        let image = catch_unwind(AssertUnwindSafe(|| images.read_image(layout, name, &mut buffers)));
        let path = || images.folder().join(row.source.to_string()).join(&row.id);
        let image = image.unwrap_or_else(|_| Err(panicked(path())));
        batch.fill(place, image);
    }
}

fn panicked(path: PathBuf) -> ImageError {
    ImageError { path, problem: ImageProblem::Panicked }
}

impl UnfinishedBatch {
    /// Puts an image into its place. The last one finishes the batch.
    fn fill(&self, place: usize, image: Result<Vec<u8>, ImageError>) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        filled.missing -= 1;
        match image {
            Ok(image) => filled.images[place * image.len()..][..image.len()].copy_from_slice(&image),
            Err(error) if filled.error.as_ref().is_none_or(|(first, _)| place < *first) => {
                filled.error = Some((place, error));
            }
            Err(_) => {}
        }
        let last = filled.missing == 0;
        drop(filled);
        if last {
            self.finish();
        }
    }

    /// Delivers the batch, or its earliest error.
    fn finish(&self) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let images = std::mem::take(&mut filled.images);
        let finished = match filled.error.take() {
            Some((_, error)) => Err(error),
            None => Ok(Tensor::from_slice(&images).view(self.shape)),
        };
        // Fails when the iterator was dropped.
        let _ = self.finished.send(finished);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use fivefold_common::labels::Labels;
    use fivefold_common::scores::Source;
    use fivefold_common::spec::JobSetSpec;

    use fivefold_images::ImageFolder;

    use super::*;

    const SIZE: u32 = 8;

    struct Data {
        root: tempfile::TempDir,
        folder: Arc<ImageFolder>,
        rows: Arc<[LabelledRow]>,
    }

    fn write_grey(path: &Path, value: u8) {
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), SIZE, SIZE);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[value; (SIZE * SIZE) as usize]).unwrap();
    }

    /// Images whose red plane has the number of the row as its value, and the next planes the next numbers.
    fn data(count: u8) -> Data {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("train");
        std::fs::create_dir(&folder).unwrap();
        let mut rows = Vec::new();
        for value in 0..count {
            for (colour, step) in ["red", "green", "blue"].into_iter().zip(0..) {
                write_grey(&folder.join(format!("i{value}_{colour}.png")), value + step);
            }
            rows.push(LabelledRow { id: format!("i{value}"), source: Source::Train, labels: Labels::default() });
        }
        let rows = rows.into();
        Data { folder: Arc::new(ImageFolder::open(root.path()).unwrap()), rows, root }
    }

    impl Data {
        fn load(&self, plan: &[Vec<u32>], threads: usize) -> Batches {
            let spec = JobSetSpec { image_size: SIZE, ..JobSetSpec::default() };
            let layout = ImageLayout::of(&spec).unwrap();
            load_batches(self.folder.clone().into(), self.rows.clone(), plan.to_vec(), layout, threads)
        }
    }

    fn plan(batches: u32) -> Vec<Vec<u32>> {
        (0..batches).map(|batch| (0..3 + batch % 3).map(|place| (batch * 7 + place * 5) % 40).collect()).collect()
    }

    #[test]
    fn batches_arrive_in_order_whatever_the_number_of_threads() {
        let data = data(40);
        let plan = plan(25);
        for threads in [1, 2, 7] {
            let batches: Vec<Batch> = data.load(&plan, threads).map(Result::unwrap).collect();
            assert_eq!(batches.len(), plan.len());
            for (batch, rows) in batches.iter().zip(&plan) {
                assert_eq!(batch.rows, *rows);
                assert_eq!(batch.images.size(), [rows.len() as i64, 3, i64::from(SIZE), i64::from(SIZE)]);
                for (place, &row) in rows.iter().enumerate() {
                    for channel in 0..3 {
                        let plane = batch.images.get(place as i64).get(channel);
                        assert!(plane.eq(i64::from(row) + channel).all().int64_value(&[]) == 1);
                    }
                }
            }
        }
    }

    #[test]
    fn an_unreadable_image_ends_the_batches_at_its_place() {
        let data = data(40);
        std::fs::remove_file(data.root.path().join("train/i9_blue.png")).unwrap();
        std::fs::write(data.root.path().join("train/i8_red.png"), b"nothing").unwrap();
        let plan = vec![vec![1, 2], vec![3, 4], vec![5, 9, 8], vec![6, 7]];
        for threads in [1, 4] {
            let mut batches = data.load(&plan, threads);
            assert_eq!(batches.next().unwrap().unwrap().rows, [1, 2]);
            assert_eq!(batches.next().unwrap().unwrap().rows, [3, 4]);
            let error = batches.next().unwrap().unwrap_err();
            assert!(error.path.ends_with("train/i9_blue.png"), "{error}");
            assert!(batches.next().is_none());
        }
    }

    #[test]
    fn only_a_few_batches_are_read_ahead() {
        let data = data(40);
        let plan = vec![vec![0, 1, 2, 3]; 1000];
        let mut batches = data.load(&plan, 4);
        batches.next().unwrap().unwrap();
        assert_eq!(batches.pending.len(), BATCHES_AHEAD + 1);
        assert_eq!(batches.plan.len(), 1000 - 1 - BATCHES_AHEAD - 1);
        // Nearly all is still to do; dropping waits for the current images only.
        let start = Instant::now();
        drop(batches);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(Arc::strong_count(&data.folder), 1, "a thread is still running");
    }

    #[test]
    fn empty_batches_and_plans_are_allowed() {
        let data = data(1);
        assert!(data.load(&[], 2).next().is_none());
        let batches: Vec<Batch> = data.load(&[vec![], vec![0]], 2).map(Result::unwrap).collect();
        assert_eq!(batches[0].images.size(), [0, 3, 8, 8]);
        assert_eq!(batches[1].rows, [0]);
    }
}
