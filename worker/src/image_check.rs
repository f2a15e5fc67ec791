//! The check of all images of a job set, before its first batch.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::anyhow;
use fivefold_common::progress::{Phase, Progress};
use fivefold_images::image_check::{Checked, ImageCheck, ListedImages};
use fivefold_images::known_images::KnownImages;
use fivefold_images::{ImageFolder, ImageLayout};
use tokio::sync::watch;

use crate::attempt::Attempt;
use crate::failure::AttemptError;
use crate::prepare::blocking;

/// The file with the headers that earlier checks read, in the worker's scratch folder.
const KNOWN_IMAGES: &str = "known-images";

/// Checks that all images of `lists` can be used, and reports the number of checked images as progress. `Break` when a stop was
/// asked for.
///
/// # Errors
/// When images are missing or cannot be used, or their folder cannot be listed.
pub(crate) async fn check_images(
    attempt: &Attempt<'_>,
    folder: Arc<ImageFolder>,
    layout: ImageLayout,
    lists: Vec<ListedImages>,
) -> Result<ControlFlow<()>, AttemptError> {
    let image_count: usize = lists.iter().map(|list| list.ids.len()).sum();
    let (done, mut checked_count) = watch::channel(0);
    let file = attempt.worker.scratch.join(KNOWN_IMAGES);
    let (threads, stop) = (attempt.worker.decode_threads, attempt.stop.clone());
    let check = blocking(move || {
        let mut known = KnownImages::read(&file, folder.root());
        let known_before = known.len();
        let check = ImageCheck { folder: &folder, layout: &layout, threads };
        let checked = check.run(&lists, &mut known, &|count| {
            done.send_replace(count);
            if stop.asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if known.len() > known_before
            && let Err(error) = known.write(&file)
        {
            tracing::warn!("the next fold reads the images' headers again: {error}");
        }
        Ok(checked)
    });
    let report = async {
        while checked_count.changed().await.is_ok() {
            let step = *checked_count.borrow_and_update() as u32;
            let start = Progress::start_of(Phase::Preparing);
            attempt.reporter.progress(Progress { step, step_count: image_count as u32, ..start });
        }
    };
    let (checked, ()) = tokio::join!(check, report);
    match checked? {
        Ok(Checked::Usable) => Ok(ControlFlow::Continue(())),
        Ok(Checked::Stopped) => Ok(ControlFlow::Break(())),
        Ok(Checked::Faulty(faults)) if faults.are_lasting() => Err(AttemptError::BadData(faults.to_string())),
        Ok(Checked::Faulty(faults)) => Err(anyhow!("{faults}").into()),
        Err(error) => Err(AttemptError::BadData(error.to_string())),
    }
}
