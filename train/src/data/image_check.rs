//! Checks before training that every image of a job set can be used: its files exist, are whole, and have the expected size by
//! their headers. Nothing is decoded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use fivefold_common::scores::Source;

use crate::data::image_file::{Colour, ImageError, ImageProblem, check_size};
use crate::data::image_folder::{FolderError, ImageFolder, extensions, file_name, resize_of};
use crate::data::image_header::{ImageHeader, read_header};
use crate::data::known_images::{KnownImages, Stamp};

/// How many files of each kind of fault a message names.
const NAMED_FILES: usize = 5;
/// Images between two reports of progress.
const IMAGES_PER_STEP: usize = 256;

/// The images of one list.
#[derive(Debug, Clone)]
pub struct ListedImages {
    /// The list.
    pub source: Source,
    /// Their ids.
    pub ids: Vec<String>,
}

/// What images are checked for.
#[derive(Debug, Clone, Copy)]
pub struct ImageCheck<'a> {
    /// The image folder.
    pub folder: &'a ImageFolder,
    /// The expected side of the images, in pixels.
    pub image_size: u32,
    /// The number of threads that read headers.
    pub threads: usize,
}

/// The result of a check.
#[derive(Debug)]
pub enum Checked {
    /// Every image can be used, as far as its header tells.
    Usable,
    /// Some files cannot be used.
    Faulty(ImageFaults),
    /// A stop was asked for.
    Stopped,
}

/// Files that do not exist or cannot be used.
#[derive(Debug, Default)]
pub struct ImageFaults {
    /// How many do not exist.
    pub missing_count: usize,
    /// The first that do not exist, in the order of the lists.
    pub missing: Vec<PathBuf>,
    /// What is there instead of the missing files.
    pub found_instead: Vec<String>,
    /// How many exist and cannot be used.
    pub unusable_count: usize,
    /// The first of these, in the order of the lists.
    pub unusable: Vec<ImageError>,
    has_lasting: bool,
}

impl ImageFaults {
    /// Whether the next check on the same machine would find faults again. A fault of a disk or of a network may pass.
    pub fn are_lasting(&self) -> bool {
        self.missing_count > 0 || self.has_lasting
    }

    /// The same faults, of which at most `count` of each kind are named.
    pub fn naming(mut self, count: usize) -> Self {
        self.missing.truncate(count);
        self.unusable.truncate(count);
        self
    }

    fn is_empty(&self) -> bool {
        self.missing_count + self.unusable_count == 0
    }

    fn add(&mut self, later: Self) {
        self.missing_count += later.missing_count;
        self.unusable_count += later.unusable_count;
        self.has_lasting |= later.has_lasting;
        self.missing.extend(later.missing);
        self.missing.truncate(NAMED_FILES);
        self.unusable.extend(later.unusable);
        self.unusable.truncate(NAMED_FILES);
        self.found_instead.extend(later.found_instead);
    }
}

impl fmt::Display for ImageFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.missing_count > 0 {
            let files = if self.missing_count == 1 { "image file is" } else { "image files are" };
            let named: Vec<String> = self.missing.iter().map(|path| path.display().to_string()).collect();
            write!(f, "{} {files} missing: {}", self.missing_count, named.join(", "))?;
            write_rest(f, self.missing_count, named.len())?;
            if !self.found_instead.is_empty() {
                write!(f, " ({})", self.found_instead.join("; "))?;
            }
        }
        if self.unusable_count > 0 {
            let before = if self.missing_count > 0 { "; " } else { "" };
            let files = if self.unusable_count == 1 { "image file" } else { "image files" };
            let named: Vec<String> = self.unusable.iter().map(ToString::to_string).collect();
            write!(f, "{before}{} {files} cannot be used: {}", self.unusable_count, named.join(", "))?;
            write_rest(f, self.unusable_count, named.len())?;
        }
        Ok(())
    }
}

fn write_rest(f: &mut fmt::Formatter<'_>, count: usize, named: usize) -> fmt::Result {
    if count > named { write!(f, ", and {} more", count - named) } else { Ok(()) }
}

/// The result of one thread.
#[derive(Debug, Default)]
struct Part {
    faults: ImageFaults,
    /// The headers that it read, with the names of their files in the image folder.
    read: Vec<(String, Stamp, ImageHeader)>,
    is_stopped: bool,
}

impl ImageCheck<'_> {
    /// Checks every image of `lists`. `progress` gets the number of images checked so far, from any of the threads, and may end
    /// the check. `known` has the headers that were read before, and gets those that are read now.
    ///
    /// # Errors
    /// When a folder exists and cannot be listed.
    pub fn run(
        &self,
        lists: &[ListedImages],
        known: &mut KnownImages,
        progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Result<Checked, FolderError> {
        let mut faults = ImageFaults::default();
        let done = AtomicUsize::new(0);
        let progress = |images| progress(done.fetch_add(images, Ordering::Relaxed) + images);
        for list in lists {
            let names = self.folder.file_names(list.source)?;
            let mut missing_count = 0;
            for part in self.check_list(list, &names, known, &progress) {
                if part.is_stopped {
                    return Ok(Checked::Stopped);
                }
                missing_count += part.faults.missing_count;
                faults.add(part.faults);
                for (name, stamp, header) in part.read {
                    known.add(name, stamp, header);
                }
            }
            if missing_count > 0 {
                faults.found_instead.extend(found_instead(list, &names));
            }
        }
        Ok(if faults.is_empty() { Checked::Usable } else { Checked::Faulty(faults) })
    }

    /// Checks one list in several threads. The parts are in the order of the list.
    fn check_list(
        &self,
        list: &ListedImages,
        names: &HashSet<OsString>,
        known: &KnownImages,
        progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Vec<Part> {
        let share = list.ids.len().div_ceil(self.threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for ids in list.ids.chunks(share) {
                threads.push(scope.spawn(move || self.check_part(list.source, ids, names, known, progress)));
            }
            let part = |thread: ScopedJoinHandle<'_, Part>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(part).collect()
        })
    }

    fn check_part(
        &self,
        source: Source,
        ids: &[String],
        names: &HashSet<OsString>,
        known: &KnownImages,
        progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Part {
        let mut part = Part::default();
        for some in ids.chunks(IMAGES_PER_STEP) {
            for id in some {
                for colour in Colour::ALL {
                    self.check_file(source, id, colour, names, known, &mut part);
                }
            }
            if progress(some.len()).is_break() {
                part.is_stopped = true;
                break;
            }
        }
        part
    }

    fn check_file(
        &self,
        source: Source,
        id: &str,
        colour: Colour,
        names: &HashSet<OsString>,
        known: &KnownImages,
        part: &mut Part,
    ) {
        let folder = self.folder.folder_of(source);
        let mut candidates = extensions(source).iter().map(|extension| file_name(id, colour, extension));
        let Some(name) = candidates.find(|name| names.contains(OsStr::new(name))) else {
            part.faults.missing_count += 1;
            if part.faults.missing.len() < NAMED_FILES {
                part.faults.missing.push(folder.join(file_name(id, colour, "png")));
            }
            return;
        };
        let path = folder.join(&name);
        let header = header(&path, format!("{source}/{name}"), known, &mut part.read);
        let fits = header
            .and_then(|ImageHeader { width, height }| check_size(width, height, self.image_size, resize_of(source)));
        if let Err(problem) = fits {
            part.faults.unusable_count += 1;
            part.faults.has_lasting |= problem.is_lasting();
            if part.faults.unusable.len() < NAMED_FILES {
                part.faults.unusable.push(ImageError { path, problem });
            }
        }
    }
}

/// The header of a file, which is only read if the file was changed since.
fn header(
    path: &Path,
    name: String,
    known: &KnownImages,
    read: &mut Vec<(String, Stamp, ImageHeader)>,
) -> Result<ImageHeader, ImageProblem> {
    let stamp = Stamp::of(&path.metadata().map_err(ImageProblem::Unreadable)?);
    if let Some(header) = known.header(&name, stamp) {
        return Ok(header);
    }
    let header = read_header(path)?;
    read.push((name, stamp, header));
    Ok(header)
}

/// What the folder has instead of the missing files of a list: files with another ending, or one file for all colours.
fn found_instead(list: &ListedImages, names: &HashSet<OsString>) -> Vec<String> {
    let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
    let endings: HashMap<&str, &str> = names.iter().filter_map(|name| name.rsplit_once('.')).collect();
    let expected = extensions(list.source);
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    let mut whole = None;
    for id in &list.ids {
        for colour in Colour::ALL {
            let other = endings.get(format!("{id}_{}", colour.word()).as_str());
            if let Some(ending) = other.filter(|ending| !expected.contains(ending)) {
                *others.entry(ending).or_default() += 1;
            }
        }
        if whole.is_none()
            && let Some(ending) = endings.get(id.as_str())
        {
            whole = Some(format!(
                "found {}/{id}.{ending}: one file per colour is expected, such as {id}_red.png",
                list.source
            ));
        }
    }
    let others = others.into_iter().map(|(ending, count)| {
        let expected: Vec<String> = expected.iter().map(|ending| format!(".{ending}")).collect();
        format!(
            "found {count} .{ending} by these names: images in {}/ have to be {}",
            list.source,
            expected.join(" or ")
        )
    });
    others.chain(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_folder::tests::{write_grey, write_image};

    fn listed(source: Source, ids: &[&str]) -> ListedImages {
        ListedImages { source, ids: ids.iter().map(ToString::to_string).collect() }
    }

    fn check(root: &Path, lists: &[ListedImages], known: &mut KnownImages) -> Checked {
        let folder = ImageFolder::open(root).unwrap();
        let check = ImageCheck { folder: &folder, image_size: 4, threads: 2 };
        check.run(lists, known, &|_| ControlFlow::Continue(())).unwrap()
    }

    fn faults(root: &Path, lists: &[ListedImages]) -> ImageFaults {
        match check(root, lists, &mut KnownImages::new(root)) {
            Checked::Faulty(faults) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn images_that_can_be_used_pass_and_are_known_from_then_on() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 4, 10);
        write_image(root.path(), Source::Hpa, "larger", 9, 10);
        write_image(root.path(), Source::Hpa, "j", 4, 10);
        // A PNG by another name: the content tells the format.
        let png = root.path().join("hpa/j_red.png");
        std::fs::rename(&png, png.with_extension("jpg")).unwrap();
        let lists = [listed(Source::Train, &["a"]), listed(Source::Hpa, &["larger", "j"]), listed(Source::Test, &[])];
        let mut known = KnownImages::new(root.path());
        assert!(matches!(check(root.path(), &lists, &mut known), Checked::Usable));
        assert_eq!(known.len(), 9);
        // A known file is not read again: another content of the same size and date is not noticed.
        let path = root.path().join("train/a_red.png");
        let date = path.metadata().unwrap().modified().unwrap();
        let bytes = path.metadata().unwrap().len();
        std::fs::write(&path, vec![0; bytes as usize]).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        assert!(matches!(check(root.path(), &lists, &mut known), Checked::Usable));
        assert!(matches!(check(root.path(), &lists, &mut KnownImages::new(root.path())), Checked::Faulty(_)));
    }

    #[test]
    fn missing_files_are_counted_and_the_first_are_named() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 4, 10);
        std::fs::remove_file(root.path().join("train/a_green.png")).unwrap();
        let found = faults(root.path(), &[listed(Source::Train, &["a", "x"]), listed(Source::Test, &["y"])]);
        assert!(found.are_lasting() && found.missing_count == 7 && found.missing.len() == NAMED_FILES);
        let message = found.to_string();
        assert!(message.starts_with("7 image files are missing: "), "{message}");
        assert!(found.missing[0].ends_with("train/a_green.png") && found.missing[1].ends_with("train/x_red.png"));
        assert!(message.ends_with("test/y_red.png, and 2 more"), "{message}");
        assert!(found.naming(1).to_string().ends_with("train/a_green.png, and 6 more"));
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let root = tempfile::tempdir().unwrap();
        for id in ["a", "b"] {
            write_image(root.path(), Source::Train, id, 4, 10);
            for colour in Colour::ALL {
                let png = root.path().join("train").join(file_name(id, colour, "png"));
                std::fs::rename(&png, png.with_extension("tif")).unwrap();
            }
        }
        write_grey(&root.path().join("test/y.png"), 4, 10);
        let message =
            faults(root.path(), &[listed(Source::Train, &["a", "b"]), listed(Source::Test, &["y"])]).to_string();
        assert!(message.contains("found 6 .tif by these names: images in train/ have to be .png"), "{message}");
        assert!(message.contains("found test/y.png: one file per colour is expected, such as y_red.png"), "{message}");
    }

    #[test]
    fn files_that_are_empty_cut_off_or_of_another_size_are_named() {
        let root = tempfile::tempdir().unwrap();
        for id in ["a", "b", "c"] {
            write_image(root.path(), Source::Test, id, 4, 10);
        }
        std::fs::write(root.path().join("test/a_red.png"), "").unwrap();
        let cut = root.path().join("test/b_green.png");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() - 8]).unwrap();
        write_grey(&root.path().join("test/c_blue.png"), 5, 10);
        let found = faults(root.path(), &[listed(Source::Test, &["a", "b", "c"])]);
        let message = found.to_string();
        assert!(found.are_lasting() && message.starts_with("3 image files cannot be used: "), "{message}");
        for part in
            ["a_red.png: is empty", "b_green.png: is damaged or truncated", "c_blue.png: is 5 x 5 pixels, but 4 x 4"]
        {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_check_can_be_stopped() {
        let root = tempfile::tempdir().unwrap();
        let folder = ImageFolder::open(root.path()).unwrap();
        let check = ImageCheck { folder: &folder, image_size: 4, threads: 2 };
        let lists = [listed(Source::Train, &["a", "b"])];
        let checked = check.run(&lists, &mut KnownImages::new(root.path()), &|_| ControlFlow::Break(()));
        assert!(matches!(checked.unwrap(), Checked::Stopped));
    }
}
