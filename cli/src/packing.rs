//! The images of a data set being packed on this machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fivefold_common::scores::Source;
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageError, ImageProblem};
use fivefold_pack::{Build, BuildError, Built, ImageKey, SEGMENT_BYTES};

use crate::bar::Bar;
use crate::console::notify;

/// How many problems are printed.
const SHOWN_PROBLEMS: usize = 5;

/// Stops the work on a thread when its command is dropped, as by Ctrl-C.
pub(crate) struct StopWhenDropped(pub(crate) Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Packs images into `folder`, with a bar, on as many threads, by default one per core.
pub(crate) fn pack_images(
    images: &PackedImages,
    keys: &[ImageKey],
    folder: &Path,
    threads: Option<usize>,
    stop: &AtomicBool,
) -> Result<Built<ImageError>, BuildError> {
    let bar = Bar::new("packing images", keys.len());
    let build = Build {
        folder,
        identity: &images.identity(),
        threads: threads.unwrap_or_else(cores),
        segment_bytes: SEGMENT_BYTES,
        stamp: |key: &ImageKey| images.stamp(source(key)?, &key.id),
        decode: |key: &ImageKey, image: &mut [u8]| decode(images, key, image),
    };
    let built = build.run(keys, stop, |progress| bar.set(progress.done()))?;
    drop(bar);
    for error in &built.damaged {
        notify(&format!("warning: {error}; its images were decoded again"));
    }
    Ok(built)
}

/// Says how many images cannot be read, and why the first ones.
pub(crate) fn unreadable(built: &Built<ImageError>) -> String {
    let first: Vec<String> = built.failures.iter().take(SHOWN_PROBLEMS).map(|(_, error)| error.to_string()).collect();
    format!("{} images cannot be read and are not packed: {}", built.progress.failed, first.join("; "))
}

/// The list of an image.
pub(crate) fn source(key: &ImageKey) -> Result<Source, ImageError> {
    let unknown = |_| ImageError { path: key.list.clone().into(), problem: ImageProblem::UnknownFormat };
    key.list.parse().map_err(unknown)
}

fn decode(images: &PackedImages, key: &ImageKey, image: &mut [u8]) -> Result<(), ImageError> {
    let source = source(key)?;
    let read = || images.folder().read_image_into(images.layout(), source, &key.id, image);
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let path = images.folder().root().join(&key.list).join(&key.id);
        Err(ImageError { path, problem: ImageProblem::Panicked })
    })
}
