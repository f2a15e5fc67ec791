//! Batches of decoded images, read ahead by threads of their own and delivered in the plan's order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use fivefold_common::manifest::LabelledRow;
use tch::Tensor;

use crate::dataset::{CHANNELS, ImageFolder, image_bytes};
use crate::image_file::{ImageError, ImageProblem};

/// How many batches are decoded or waiting at once, beside the one that the trainer has.
const BATCHES_AHEAD: usize = 3;

/// One batch of decoded images.
#[derive(Debug)]
pub struct Batch {
    /// The rows that the images belong to, as the plan has them.
    pub rows: Vec<u32>,
    /// The images, u8 `[N, 3, S, S]` on the CPU: red, green and blue planes.
    pub images: Tensor,
}

/// Reads the images of `plan` (for each batch the places of its rows in `rows`) with `threads` threads, at least one.
///
/// Batches come in the plan's order whatever the number of threads. The first image that cannot be read ends the iterator:
/// it comes as the error of its batch, after all batches before. No more than a few batches are in memory at once.
/// Dropping the iterator ends its threads after the image that each is at.
///
/// Panics where the plan names a place that `rows` does not have.
pub fn load_batches(
    folder: Arc<ImageFolder>,
    rows: Arc<[LabelledRow]>,
    plan: Vec<Vec<u32>>,
    image_size: u32,
    threads: usize,
) -> Batches {
    assert!(
        plan.iter().flatten().all(|&row| (row as usize) < rows.len()),
        "the plan goes beyond its {} rows",
        rows.len()
    );
    let threads = threads.max(1);
    let (jobs, job_receiver) = crossbeam_channel::unbounded();
    let stop = Arc::new(AtomicBool::new(false));
    let workers = (0..threads)
        .map(|_| {
            let (folder, rows, jobs, stop) = (folder.clone(), rows.clone(), job_receiver.clone(), stop.clone());
            std::thread::spawn(move || decode(&folder, &rows, image_size, &jobs, &stop))
        })
        .collect();
    let mut batches = Batches {
        folder,
        plan: plan.into_iter(),
        image_size,
        pending: VecDeque::new(),
        jobs: Some(jobs),
        stop,
        workers,
    };
    // Enough that no thread waits while the trainer works on small batches.
    let smallest = batches.plan.as_slice().iter().map(Vec::len).min().unwrap_or(1).max(1);
    for _ in 0..BATCHES_AHEAD + threads.div_ceil(smallest) {
        batches.start_next();
    }
    batches
}

/// The iterator of [`load_batches`].
#[derive(Debug)]
pub struct Batches {
    folder: Arc<ImageFolder>,
    plan: std::vec::IntoIter<Vec<u32>>,
    image_size: u32,
    pending: VecDeque<PendingBatch>,
    /// `None` when all is asked for or given up.
    jobs: Option<Sender<Job>>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// A batch that the threads have been handed.
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

/// A batch that threads are filling.
struct UnfinishedBatch {
    image_size: u32,
    image_count: i64,
    filled: Mutex<Filled>,
    finished: Sender<Result<Tensor, ImageError>>,
}

struct Filled {
    images: Vec<u8>,
    missing: usize,
    /// The error of the earliest image that has one.
    error: Option<(usize, ImageError)>,
}

impl Batches {
    /// Hands the next batch of the plan to the threads.
    fn start_next(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        let Some(rows) = self.plan.next() else {
            self.jobs = None;
            return;
        };
        let (finished, receiver) = crossbeam_channel::bounded(1);
        let images = vec![0; rows.len() * image_bytes(self.image_size)];
        let filled = Mutex::new(Filled { images, missing: rows.len(), error: None });
        let batch =
            Arc::new(UnfinishedBatch { image_size: self.image_size, image_count: rows.len() as i64, filled, finished });
        if rows.is_empty() {
            batch.finish();
        }
        for (place, &row) in rows.iter().enumerate() {
            // Fails only when every thread is gone; then the batch's own channel says so.
            let _ = jobs.send(Job { row, place, batch: batch.clone() });
        }
        self.pending.push_back(PendingBatch { rows, finished: receiver });
    }

    fn give_up(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.pending.clear();
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let PendingBatch { rows, finished } = self.pending.pop_front()?;
        // Nobody will finish the batch when its last thread ended in a panic.
        let images = finished.recv().unwrap_or_else(|_| Err(panicked(self.folder.root().to_owned())));
        self.start_next();
        if images.is_err() {
            self.give_up();
        }
        Some(images.map(|images| Batch { rows, images }))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.give_up();
        for worker in self.workers.drain(..) {
            // A thread that panicked has said so already.
            let _ = worker.join();
        }
    }
}

/// A thread's life: one image after the other until there are no more jobs, or nobody wants them.
fn decode(folder: &ImageFolder, rows: &[LabelledRow], size: u32, jobs: &Receiver<Job>, stop: &AtomicBool) {
    for Job { row, place, batch } in jobs {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let row = &rows[row as usize];
        let image = catch_unwind(AssertUnwindSafe(|| folder.read_image(row.source, &row.id, size)));
        let image = image.unwrap_or_else(|_| Err(panicked(folder.root().join(row.source.to_string()).join(&row.id))));
        batch.fill(place, image);
    }
}

fn panicked(path: PathBuf) -> ImageError {
    ImageError { path, problem: ImageProblem::Panicked }
}

impl UnfinishedBatch {
    /// Puts one image into its place; the last one finishes the batch.
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
        let side = i64::from(self.image_size);
        let finished = match filled.error.take() {
            Some((_, error)) => Err(error),
            None => Ok(Tensor::from_slice(&images).view([self.image_count, CHANNELS as i64, side, side])),
        };
        // Fails when nobody waits any more.
        let _ = self.finished.send(finished);
    }
}
