//! The check of a machine's images outside a job: by their headers as before a job, and some of them decoded.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fivefold_common::finding::Finding;
use fivefold_common::manifest::{Manifest, ManifestError};
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::first_of_each::FirstOfEach;
use fivefold_images::image_check::{Checked, ImageCheck, ImageFaults, ListedImages};
use fivefold_images::image_folder::FoundImages;
use fivefold_images::known_images::KnownImages;
use fivefold_images::{ImageError, ImageFolder, ImageLayout, ImageProblem};

/// The missing files that a finding names, and as many unusable ones: more if there are more kinds of problems.
const NAMED_FILES: usize = 2;

/// The lists whose images are checked.
#[derive(Debug, Clone, Default)]
pub struct DataLists {
    /// The training list.
    pub train: Option<PathBuf>,
    /// The list of external HPA images.
    pub hpa: Option<PathBuf>,
    /// The test list.
    pub test: Option<PathBuf>,
    /// The settings that say which columns the lists have.
    pub spec: JobSetSpec,
}

/// What images are checked for.
#[derive(Debug, Clone, Copy)]
pub struct DataCheck<'a> {
    /// The image folder.
    pub folder: &'a ImageFolder,
    /// Which files an image has, and what size it gets.
    pub layout: &'a ImageLayout,
    /// The number of threads that read headers.
    pub threads: usize,
    /// Images of each list that are decoded.
    pub decoded: usize,
}

/// Warns in the log of a folder without any file.
pub fn warn_if_empty(folder: &ImageFolder) {
    if !folder.has_files() {
        tracing::warn!(
            "{} has no images, and every job will fail here: put files such as {}/train/Id_red.png there, or where the \
             settings of your job sets say",
            folder.root().display(),
            folder.root().display()
        );
    }
}

/// Where the images are, if they are not below `folder` in `train/`, `hpa/` and `test/` but in the folder itself, with what to
/// do; `None` otherwise. They may well be there for job sets with a template of their own, `image_files`.
pub fn misplaced_images(folder: &ImageFolder) -> Option<String> {
    const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];
    let root = folder.root();
    let sources = [Source::Train, Source::Hpa, Source::Test];
    if sources.iter().any(|source| root.join(source.to_string()).is_dir()) {
        return None;
    }
    let is_image = |path: &Path| {
        path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
    };
    let found = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path()).find(|path| is_image(path))?;
    // `.` and `..` have a name too.
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let (name, file) = (whole.file_name()?.to_str()?, found.file_name()?.to_string_lossy());
    let is_of_a_list = sources.iter().any(|source| source.to_string() == name);
    let remedy = match whole.parent() {
        Some(above) if is_of_a_list => format!("name the folder above it: --data {}", above.display()),
        _ => format!("move them to {}", root.join("train").display()),
    };
    Some(format!("the images are in {} itself, such as {file}; {remedy}", root.display()))
}

impl DataCheck<'_> {
    /// Checks the images of `lists`. Without a list, checks every image of the folder, if its files have the usual names.
    ///
    /// # Errors
    /// When a list cannot be read or is invalid, a folder cannot be listed, or there is no list and files have other names.
    pub fn run(&self, lists: &DataLists) -> anyhow::Result<Vec<Finding>> {
        let labelled = |path: &Path| read(path, |name, file| Manifest::read_labelled_csv(name, &lists.spec, file));
        let test = |path: &Path| read(path, |name, file| Manifest::read_test_csv(name, &lists.spec, file));
        let mut listed = Vec::new();
        for (source, path, manifest) in [
            (Source::Train, &lists.train, lists.train.as_deref().map(labelled)),
            (Source::Hpa, &lists.hpa, lists.hpa.as_deref().map(labelled)),
            (Source::Test, &lists.test, lists.test.as_deref().map(test)),
        ] {
            if let (Some(path), Some(manifest)) = (path, manifest) {
                let ids = manifest?.rows.into_iter().map(|row| row.id).collect();
                listed.push((format!("of {}", path.display()), ListedImages { source, ids }));
            }
        }
        let misplaced = self.layout.files().are_usual().then(|| misplaced_images(self.folder)).flatten();
        if let Some(misplaced) = misplaced {
            return Ok(vec![Finding::bad(misplaced)]);
        }
        if listed.is_empty() {
            return self.check_folder();
        }
        listed.iter().map(|(origin, list)| self.check_list(origin, list)).collect()
    }

    fn check_folder(&self) -> anyhow::Result<Vec<Finding>> {
        if !self.layout.files().are_usual() {
            bail!("with image_files, name the lists whose images are to be checked, such as --train-csv FILE");
        }
        let mut findings = Vec::new();
        for source in [Source::Train, Source::Hpa, Source::Test] {
            let FoundImages { ids, without_colour } = self.folder.found_images(source)?;
            findings.push(if ids.is_empty() {
                self.no_images(source, without_colour)
            } else {
                self.check_list("of the folder", &ListedImages { source, ids })?
            });
        }
        Ok(findings)
    }

    fn no_images(&self, source: Source, without_colour: Option<String>) -> Finding {
        let folder = self.folder.root().join(source.to_string());
        let folder = folder.display();
        match (without_colour, source) {
            (Some(name), _) => Finding::bad(format!(
                "{folder} has {name} and no file of a colour: one file per colour is expected, such as Id_red.png"
            )),
            (None, Source::Train) => {
                Finding::bad(format!("{folder} has no images: put files such as Id_red.png there to train here"))
            }
            (None, Source::Hpa | Source::Test) => Finding::doubtful(format!(
                "{folder} has no images: job sets with a list of {source} images will fail here"
            )),
        }
    }

    fn check_list(&self, origin: &str, list: &ListedImages) -> anyhow::Result<Finding> {
        let Self { folder, layout, threads, .. } = *self;
        let mut images = folder.root().to_owned();
        if layout.files().are_usual() {
            images.push(list.source.to_string());
        }
        let images = images.display();
        let check = ImageCheck { folder, layout, threads };
        let go_on = |_| ControlFlow::Continue(());
        let checked = check.run(std::slice::from_ref(list), &mut KnownImages::new(folder.root()), &go_on)?;
        if let Checked::Faulty(faults) = checked {
            let remedy = remedy(&faults);
            return Ok(Finding::bad(format!("{images}: {}; {remedy}", faults.naming(NAMED_FILES))));
        }
        let ids = &list.ids;
        let step = (ids.len() / self.decoded.max(1)).max(1);
        let sample: Vec<&String> = ids.iter().step_by(step).take(self.decoded).collect();
        let mut failed = FirstOfEach::default();
        for error in sample.iter().filter_map(|id| folder.read_image(layout, list.source, id).err()) {
            failed.add(error.problem.kind(), error);
        }
        if failed.count() == 0 {
            let (count, decoded) = (ids.len(), sample.len());
            return Ok(Finding::good(format!("{images}: {count} images {origin} can be used; {decoded} were decoded")));
        }
        let named: Vec<String> = failed.named(NAMED_FILES).map(ToString::to_string).collect();
        Ok(Finding::bad(format!(
            "{images}: {} of {} images that were decoded cannot be used: {}; copy these files again",
            failed.count(),
            sample.len(),
            named.join(", ")
        )))
    }
}

/// What to do about faults, for each of their problems.
fn remedy(faults: &ImageFaults) -> String {
    let is_of_size =
        |error: &&ImageError| matches!(error.problem, ImageProblem::WrongSize { .. } | ImageProblem::TooSmall { .. });
    let kinds = faults.unusable.one_of_each().count();
    let kinds_of_size = faults.unusable.one_of_each().filter(is_of_size).count();
    let mut remedies = Vec::new();
    if faults.missing_count > 0 {
        remedies.push("put the missing files there");
    }
    if kinds > kinds_of_size {
        remedies.push(if kinds_of_size == 0 { "copy these files again" } else { "copy the damaged ones again" });
    }
    if kinds_of_size > 0 {
        remedies.push(
            "give the images this size, or name another image_size with --image-size and in `fivefold submit`; resize and \
             fit give images of any size the right one",
        );
    }
    remedies.join("; ")
}

fn read(path: &Path, read: impl FnOnce(&str, File) -> Result<Manifest, ManifestError>) -> anyhow::Result<Manifest> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    Ok(read(&name, file)?)
}

#[cfg(test)]
mod tests {
    use fivefold_common::finding::Rating;

    use super::*;

    fn write(path: &Path, size: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), size, size);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![7; (size * size) as usize]).unwrap();
    }

    fn write_image(root: &Path, source: Source, id: &str, size: u32) {
        for colour in ["red", "green", "blue"] {
            write(&root.join(format!("{source}/{id}_{colour}.png")), size);
        }
    }

    fn layout(spec: &JobSetSpec) -> ImageLayout {
        ImageLayout::of(&JobSetSpec { image_size: 16, ..spec.clone() }).unwrap()
    }

    fn check(root: &Path, lists: &DataLists) -> Vec<Finding> {
        let folder = ImageFolder::open(root).unwrap();
        DataCheck { folder: &folder, layout: &layout(&lists.spec), threads: 2, decoded: 2 }.run(lists).unwrap()
    }

    #[test]
    fn a_folder_is_checked_without_lists() {
        let root = tempfile::tempdir().unwrap();
        let empty = check(root.path(), &DataLists::default());
        let ratings: Vec<Rating> = empty.iter().map(|finding| finding.rating).collect();
        assert_eq!(ratings, [Rating::Bad, Rating::Doubtful, Rating::Doubtful]);
        for id in ["a", "b", "c"] {
            write_image(root.path(), Source::Train, id, 16);
        }
        write_image(root.path(), Source::Hpa, "h", 20);
        write(&root.path().join("test/whole.png"), 16);
        let found = check(root.path(), &DataLists::default());
        assert!(found[0].message.ends_with("train: 3 images of the folder can be used; 2 were decoded"), "{found:?}");
        assert_eq!((found[0].rating, found[1].rating), (Rating::Good, Rating::Good), "{found:?}");
        assert!(found[2].rating == Rating::Bad && found[2].message.contains("test has whole.png"), "{found:?}");
        let below = check(&root.path().join("train"), &DataLists::default());
        let above = format!("--data {}", root.path().canonicalize().unwrap().display());
        assert!(below.len() == 1 && below[0].message.ends_with(&above), "{below:?}");
        let folder = ImageFolder::open(&root.path().join("test")).unwrap();
        assert!(misplaced_images(&folder).unwrap().contains("such as whole.png"));
        assert_eq!(misplaced_images(&ImageFolder::open(root.path()).unwrap()), None);
        write_image(root.path(), Source::Train, "a", 17);
        let found = &check(root.path(), &DataLists::default())[0];
        assert!(found.rating == Rating::Bad && found.message.contains("--image-size"), "{found:?}");
    }

    #[test]
    fn images_of_another_layout_are_checked_by_their_lists() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("scans/p1/a.png"), 20);
        let list = root.path().join("train.csv");
        std::fs::write(&list, "Id,Target\np1/a.png,0\n").unwrap();
        let toml = "image_files = \"scans/{id}\"\nchannels = [\"grey\"]\nresize = \"area\"";
        let lists = |train| DataLists { train, spec: JobSetSpec::from_toml(toml).unwrap(), ..DataLists::default() };
        let found = &check(root.path(), &lists(Some(list)))[0];
        assert!(found.rating == Rating::Good && found.message.contains("1 images of"), "{found:?}");
        let folder = ImageFolder::open(root.path()).unwrap();
        let layout = layout(&lists(None).spec);
        let check = DataCheck { folder: &folder, layout: &layout, threads: 2, decoded: 2 };
        assert!(check.run(&lists(None)).unwrap_err().to_string().contains("--train-csv"));
    }

    #[test]
    fn images_may_be_in_the_folder_itself_if_the_template_says_so() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("a.png"), 16);
        let list = root.path().join("train.csv");
        std::fs::write(&list, "Id,Target\na,0\n").unwrap();
        let lists = |toml: &str| DataLists {
            train: Some(list.clone()),
            spec: JobSetSpec::from_toml(toml).unwrap(),
            ..DataLists::default()
        };
        let found = &check(root.path(), &lists("image_files = \"{id}.png\"\nchannels = [\"grey\"]"))[0];
        assert!(found.rating == Rating::Good && found.message.contains("1 images of"), "{found:?}");
        let found = &check(root.path(), &lists(""))[0];
        assert!(found.rating == Rating::Bad && found.message.contains("such as a.png; move them to"), "{found:?}");
    }

    #[test]
    fn the_images_of_lists_are_checked_and_decoded() {
        let root = tempfile::tempdir().unwrap();
        for id in ["a", "b"] {
            write_image(root.path(), Source::Train, id, 16);
        }
        let list = root.path().join("train.csv");
        std::fs::write(&list, "Id,Target,patient\na,0,p\nb,1,q\n").unwrap();
        let spec = JobSetSpec { group_column: "patient".into(), ..JobSetSpec::default() };
        let lists = DataLists { train: Some(list.clone()), spec, ..DataLists::default() };
        let found = check(root.path(), &lists);
        assert!(found.len() == 1 && found[0].rating == Rating::Good, "{found:?}");
        // The header and the end are whole, what is between them is not.
        let file = root.path().join("train/b_blue.png");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(4).position(|four| four == b"IDAT").unwrap();
        bytes[at + 8..at + 12].fill(0xee);
        std::fs::write(&file, bytes).unwrap();
        let found = &check(root.path(), &lists)[0];
        assert!(found.rating == Rating::Bad && found.message.contains("1 of 2 images that were decoded"), "{found:?}");
        assert!(found.message.contains("b_blue.png: is damaged"), "{found:?}");
        std::fs::write(&list, "Id,Target,patient\na,0,p\nx,1,q\n").unwrap();
        let found = &check(root.path(), &lists)[0];
        assert!(
            found.message.contains("3 image files are missing") && found.message.contains("x_red.png"),
            "{found:?}"
        );
        std::fs::write(&list, "Id,Target\na,99\n").unwrap();
        let folder = ImageFolder::open(root.path()).unwrap();
        let lists = DataLists { train: Some(list), ..DataLists::default() };
        let layout = layout(&lists.spec);
        let check = DataCheck { folder: &folder, layout: &layout, threads: 2, decoded: 2 };
        assert!(check.run(&lists).unwrap_err().to_string().contains("train.csv, line 2"));
    }
}
