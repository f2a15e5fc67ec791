//! Reads every image of a list, and says what each file is and what is wrong with it.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use fivefold_common::ids::Digest;
use fivefold_common::scores::Source;

use crate::formats::Format;
use crate::image_file::read_file;
use crate::image_folder::{ImageFolder, is_absent};
use crate::image_layout::ImageLayout;
use crate::image_problem::{ImageError, ImageProblem};

/// What the files of an image are found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Each file, in the order of the channels.
    pub files: Vec<FileFacts>,
    /// The digest of the bytes of all files.
    pub digest: Digest,
}

/// What a file is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its format.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Reads and decodes the images `ids` of a list with `threads` threads, at least one. The result has an entry for each id, in their
/// order: the facts, or the first file that cannot be used. `progress` gets the number of images read so far, from any of the
/// threads, and may end the survey; then there is no result.
pub fn survey(
    folder: &ImageFolder,
    layout: &ImageLayout,
    (source, ids): (Source, &[String]),
    threads: usize,
    progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
) -> Option<Vec<Result<ImageFacts, ImageError>>> {
    let (next, is_stopped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read_some = || {
        let mut read = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = ids.get(place) else { break };
            read.push((place, facts(folder, layout, source, id)));
            if progress(place + 1).is_break() {
                is_stopped.fetch_add(1, Ordering::Relaxed);
                next.fetch_max(ids.len(), Ordering::Relaxed);
            }
        }
        read
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(read_some)).collect();
        let read = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        read.flatten().collect::<Vec<_>>()
    });
    if is_stopped.into_inner() > 0 {
        return None;
    }
    all.sort_by_key(|(place, _)| *place);
    Some(all.into_iter().map(|(_, facts)| facts).collect())
}

fn facts(folder: &ImageFolder, layout: &ImageLayout, source: Source, id: &str) -> Result<ImageFacts, ImageError> {
    let target = layout.target(source);
    let (mut files, mut digests) = (Vec::new(), Vec::new());
    for paths in layout.paths(source, id) {
        let (path, bytes) = read_first(folder, &paths)?;
        let decode = || {
            let format = Format::of(&bytes)?;
            let [width, height] = format.decode(&bytes, |width, height| target.check(width, height))?.sides;
            Ok(FileFacts { format, width, height })
        };
        let decoded = catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(ImageProblem::Panicked));
        files.push(decoded.map_err(|problem| ImageError { path, problem })?);
        digests.push(Digest::of(&bytes).to_string());
    }
    Ok(ImageFacts { files, digest: Digest::of(digests.concat().as_bytes()) })
}

/// The bytes of the first file that exists among the possible paths.
fn read_first(folder: &ImageFolder, paths: &[String]) -> Result<(PathBuf, Vec<u8>), ImageError> {
    let mut first_error = None;
    for path in paths {
        let path = folder.root().join(path);
        match read_file(&path) {
            Ok(bytes) => return Ok((path, bytes)),
            Err(problem) if is_absent(&problem) => {
                first_error = first_error.or(Some(ImageError { path, problem }));
            }
            Err(problem) => return Err(ImageError { path, problem }),
        }
    }
    // A layout has a path for each file.
    Err(first_error.unwrap_or_else(|| ImageError { path: folder.root().to_owned(), problem: ImageProblem::Empty }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::tests::{layout, write_grey, write_image};

    #[test]
    fn every_image_is_read_and_the_result_is_in_the_order_of_the_list() {
        let root = tempfile::tempdir().unwrap();
        for (id, value) in [("a", 10), ("b", 20), ("c", 10)] {
            write_image(root.path(), Source::Train, id, 4, value);
        }
        write_grey(&root.path().join("train/b_blue.png"), 5, 20);
        let folder = ImageFolder::open(root.path()).unwrap();
        let ids: Vec<String> = ["a", "b", "c", "none"].map(str::to_owned).to_vec();
        let go_on = |_| ControlFlow::Continue(());
        let found = survey(&folder, &layout(4, ""), (Source::Train, &ids), 3, &go_on).unwrap();
        let [a, b, c, none] = found.as_slice() else { panic!("{found:?}") };
        let a = a.as_ref().unwrap();
        assert_eq!(a.files, [FileFacts { format: Format::Png, width: 4, height: 4 }; 3]);
        assert_eq!(a.digest, c.as_ref().unwrap().digest);
        assert!(
            b.as_ref()
                .unwrap_err()
                .to_string()
                .ends_with("b_blue.png: is 5 x 5 pixels, but 4 x 4 are expected (image_size)")
        );
        assert!(none.as_ref().unwrap_err().path.ends_with("train/none_red.png"));
        let stop = |_| ControlFlow::Break(());
        assert!(survey(&folder, &layout(4, ""), (Source::Train, &ids), 1, &stop).is_none());
    }
}
