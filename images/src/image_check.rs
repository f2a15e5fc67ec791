//! Checks before training that every image of a job set can be used: its files exist, are whole, and have the expected size by
//! their headers. Nothing is decoded.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use fivefold_common::scores::Source;

use crate::first_of_each::FirstOfEach;
use crate::image_folder::{FolderError, ImageFolder, file_names};
use crate::image_header::{ImageHeader, read_header};
use crate::image_layout::ImageLayout;
use crate::image_problem::{ImageError, ImageProblem, ProblemKind};
use crate::known_images::{KnownImages, Stamp};

/// The missing files that a message names, and as many unusable ones.
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
    /// Which files an image has, and what size it gets.
    pub layout: &'a ImageLayout,
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
#[derive(Debug)]
pub struct ImageFaults {
    /// How many do not exist.
    pub missing_count: usize,
    /// The first that do not exist, in the order of the lists.
    pub missing: Vec<PathBuf>,
    /// What is there instead of the missing files.
    pub found_instead: Vec<String>,
    /// Files that exist and cannot be used, in the order of the lists.
    pub unusable: FirstOfEach<ProblemKind, ImageError>,
    has_lasting: bool,
    named_files: usize,
}

impl Default for ImageFaults {
    fn default() -> Self {
        Self {
            missing_count: 0,
            missing: Vec::new(),
            found_instead: Vec::new(),
            unusable: FirstOfEach::default(),
            has_lasting: false,
            named_files: NAMED_FILES,
        }
    }
}

impl ImageFaults {
    /// Whether the next check on the same machine would find faults again. A fault of a disk or of a network may pass.
    pub fn are_lasting(&self) -> bool {
        self.missing_count > 0 || self.has_lasting
    }

    /// The same faults, of which at most `count` missing files are named, and as many that cannot be used, but one of each kind
    /// of problem.
    pub fn naming(mut self, count: usize) -> Self {
        self.missing.truncate(count);
        self.named_files = count;
        self
    }

    fn is_empty(&self) -> bool {
        self.missing_count + self.unusable.count() == 0
    }

    fn add(&mut self, later: Self) {
        self.missing_count += later.missing_count;
        self.has_lasting |= later.has_lasting;
        self.missing.extend(later.missing);
        self.missing.truncate(NAMED_FILES);
        self.unusable.extend(later.unusable);
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
        let count = self.unusable.count();
        if count > 0 {
            let before = if self.missing_count > 0 { "; " } else { "" };
            let files = if count == 1 { "image file" } else { "image files" };
            let named: Vec<String> = self.unusable.named(self.named_files).map(ToString::to_string).collect();
            write!(f, "{before}{count} {files} cannot be used: {}", named.join(", "))?;
            write_rest(f, count, named.len())?;
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
            let mut missing_count = 0;
            for part in self.check_list(list, known, &progress) {
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
                faults.found_instead.extend(self.found_instead(list)?);
            }
        }
        Ok(if faults.is_empty() { Checked::Usable } else { Checked::Faulty(faults) })
    }

    /// Checks one list in several threads. The parts are in the order of the list.
    fn check_list(
        &self,
        list: &ListedImages,
        known: &KnownImages,
        progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Vec<Part> {
        let share = list.ids.len().div_ceil(self.threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for ids in list.ids.chunks(share) {
                threads.push(scope.spawn(move || self.check_part(list.source, ids, known, progress)));
            }
            let part = |thread: ScopedJoinHandle<'_, Part>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(part).collect()
        })
    }

    fn check_part(
        &self,
        source: Source,
        ids: &[String],
        known: &KnownImages,
        progress: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Part {
        let mut part = Part::default();
        for some in ids.chunks(IMAGES_PER_STEP) {
            for id in some {
                for paths in self.layout.paths(source, id) {
                    self.check_file(source, &paths, known, &mut part);
                }
            }
            if progress(some.len()).is_break() {
                part.is_stopped = true;
                break;
            }
        }
        part
    }

    /// Checks the first file that exists among the possible paths.
    fn check_file(&self, source: Source, paths: &[String], known: &KnownImages, part: &mut Part) {
        for name in paths {
            let path = self.folder.root().join(name);
            let metadata = match path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata,
            };
            let stamp = metadata.map(|metadata| Stamp::of(&metadata)).map_err(ImageProblem::Unreadable);
            let header = stamp.and_then(|stamp| header(&path, name, stamp, known, &mut part.read));
            let target = self.layout.target(source);
            if let Err(problem) = header.and_then(|ImageHeader { width, height }| target.check(width, height)) {
                part.faults.has_lasting |= problem.is_lasting();
                part.faults.unusable.add(problem.kind(), ImageError { path, problem });
            }
            return;
        }
        part.faults.missing_count += 1;
        if part.faults.missing.len() < NAMED_FILES {
            part.faults.missing.extend(paths.first().map(|path| self.folder.root().join(path)));
        }
    }

    /// What the folder has instead of the missing files of a list: files with another ending, or one file for all colours.
    fn found_instead(&self, list: &ListedImages) -> Result<Vec<String>, FolderError> {
        let mut folders: HashMap<PathBuf, HashMap<String, String>> = HashMap::new();
        let mut ending_of = |path: &Path| -> Result<Option<String>, FolderError> {
            let folder = path.parent().unwrap_or(Path::new(""));
            if !folders.contains_key(folder) {
                folders.insert(folder.to_owned(), endings(&self.folder.root().join(folder))?);
            }
            let stem = path.file_name().and_then(|stem| stem.to_str()).unwrap_or_default();
            Ok(folders[folder].get(stem).cloned())
        };
        let mut others: BTreeMap<(PathBuf, String, Vec<String>), usize> = BTreeMap::new();
        let mut whole = None;
        for id in &list.ids {
            for paths in self.layout.paths(list.source, id) {
                let Some(path) = paths.first().map(Path::new) else { continue };
                let expected: Vec<String> =
                    paths.iter().filter_map(|path| Some(format!(".{}", path.rsplit_once('.')?.1))).collect();
                if let Some(ending) = ending_of(&path.with_extension(""))?
                    && !expected.contains(&format!(".{ending}"))
                {
                    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                    *others.entry((folder, ending, expected)).or_default() += 1;
                }
            }
            if whole.is_none() && self.layout.files().are_usual() {
                let name = format!("{}/{id}", list.source);
                whole = ending_of(Path::new(&name))?.map(|ending| {
                    format!("found {name}.{ending}: one file per colour is expected, such as {id}_red.png")
                });
            }
        }
        let others = others.into_iter().map(|((folder, ending, expected), count)| {
            if expected.is_empty() {
                return format!(
                    "found {count} .{ending} by these names: image_files lacks the ending, as in {{id}}.{ending}"
                );
            }
            let place =
                if folder.as_os_str().is_empty() { String::new() } else { format!(" in {}/", folder.display()) };
            format!("found {count} .{ending} by these names: images{place} have to be {}", expected.join(" or "))
        });
        Ok(others.chain(whole).collect())
    }
}

/// The endings of the files in a folder by their stems.
fn endings(folder: &Path) -> Result<HashMap<String, String>, FolderError> {
    let split = |name: &String| name.rsplit_once('.').map(|(stem, ending)| (stem.to_owned(), ending.to_owned()));
    Ok(file_names(folder)?.iter().filter_map(split).collect())
}

/// The header of a file, which is only read if the file was changed since.
fn header(
    path: &Path,
    name: &str,
    stamp: Stamp,
    known: &KnownImages,
    read: &mut Vec<(String, Stamp, ImageHeader)>,
) -> Result<ImageHeader, ImageProblem> {
    if let Some(header) = known.header(name, stamp) {
        return Ok(header);
    }
    let header = read_header(path)?;
    read.push((name.to_owned(), stamp, header));
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::tests::{layout, write_grey, write_image};

    fn listed(source: Source, ids: &[&str]) -> ListedImages {
        ListedImages { source, ids: ids.iter().map(ToString::to_string).collect() }
    }

    fn check(root: &Path, lists: &[ListedImages], known: &mut KnownImages) -> Checked {
        let folder = ImageFolder::open(root).unwrap();
        let layout = layout(4, "");
        let check = ImageCheck { folder: &folder, layout: &layout, threads: 2 };
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
            for colour in ["red", "green", "blue"] {
                let png = root.path().join(format!("train/{id}_{colour}.png"));
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
    fn images_of_another_layout_are_checked() {
        let root = tempfile::tempdir().unwrap();
        write_grey(&root.path().join("all/p1/a.png"), 4, 10);
        write_grey(&root.path().join("all/p1/b.png"), 5, 10);
        let folder = ImageFolder::open(root.path()).unwrap();
        let faults = |toml: &str, ids: &[&str]| {
            let layout = layout(4, toml);
            let check = ImageCheck { folder: &folder, layout: &layout, threads: 2 };
            let lists = [listed(Source::Train, ids)];
            match check.run(&lists, &mut KnownImages::new(root.path()), &|_| ControlFlow::Continue(())).unwrap() {
                Checked::Faulty(faults) => faults.to_string(),
                checked => format!("{checked:?}"),
            }
        };
        assert_eq!(faults("image_files = \"all/{id}.png\"", &["p1/a"]), "Usable");
        assert!(faults("image_files = \"all/{id}.png\"", &["p1/b"]).contains("b.png: is 5 x 5 pixels"));
        let area = "image_files = \"all/{id}\"\nresize = \"area\"";
        assert_eq!(faults(area, &["p1/a.png", "p1/b.png"]), "Usable");
        let message = faults(area, &["p1/a", "p1/c"]);
        assert!(message.starts_with("2 image files are missing: "), "{message}");
        assert!(
            message.ends_with("(found 1 .png by these names: image_files lacks the ending, as in {id}.png)"),
            "{message}"
        );
        let message = faults("image_files = \"all/{id}.jpg\"", &["p1/a"]);
        assert!(message.ends_with("(found 1 .png by these names: images in all/p1/ have to be .jpg)"), "{message}");
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
    fn many_files_of_one_problem_do_not_hide_another_problem() {
        let root = tempfile::tempdir().unwrap();
        let ids: Vec<String> = (0..120).map(|row| format!("i{row}")).collect();
        for id in &ids[..30] {
            write_image(root.path(), Source::Train, id, 5, 10);
        }
        std::fs::write(root.path().join("train/i20_blue.png"), "").unwrap();
        std::fs::write(root.path().join("train/i29_blue.png"), "no image").unwrap();
        let list = || [ListedImages { source: Source::Train, ids: ids.clone() }];
        let message = faults(root.path(), &list()).to_string();
        assert!(message.contains("270 image files are missing: "), "{message}");
        assert!(message.contains("; 90 image files cannot be used: "), "{message}");
        let first = "i0_red.png: is 5 x 5 pixels, but 4 x 4 are expected (image_size), ";
        let others = message.split_once(first).unwrap().1;
        let (empty, other) = (others.find("i20_blue.png: is empty").unwrap(), others.find("i29_blue.png").unwrap());
        assert!(empty < other && other < others.find("i0_green.png").unwrap(), "{message}");
        assert!(message.ends_with(", and 85 more"), "{message}");
        let shorter = faults(root.path(), &list()).naming(2).to_string();
        assert!(shorter.contains("i20_blue.png: is empty") && shorter.ends_with(", and 87 more"), "{shorter}");
    }

    #[test]
    fn a_check_can_be_stopped() {
        let root = tempfile::tempdir().unwrap();
        let folder = ImageFolder::open(root.path()).unwrap();
        let layout = layout(4, "");
        let check = ImageCheck { folder: &folder, layout: &layout, threads: 2 };
        let lists = [listed(Source::Train, &["a", "b"])];
        let checked = check.run(&lists, &mut KnownImages::new(root.path()), &|_| ControlFlow::Break(()));
        assert!(matches!(checked.unwrap(), Checked::Stopped));
    }
}
