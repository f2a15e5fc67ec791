//! The image folder: the files of each image and whole images.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_common::scores::Source;

use crate::image_file::read_planes;
use crate::image_layout::ImageLayout;
use crate::image_problem::{ImageError, ImageProblem};

/// The colours in the names of files, without another layout.
const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// A folder with the images of data sets. Where the files of an image are, its [`ImageLayout`] says.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    root: PathBuf,
}

/// The images of one source, by the names of their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundImages {
    /// The ids with a file of a colour, in order. Files of an ending that is not read count too.
    pub ids: Vec<String>,
    /// An image file whose name ends with no colour, if there is one.
    pub without_colour: Option<String>,
}

/// Endings of image files, whether they are read or not.
const IMAGE_ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "webp"];

/// An image folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the image folder {}: {error}", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// The system's error.
    pub error: io::Error,
}

impl ImageFolder {
    /// The folder at `root`.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        std::fs::read_dir(root).map_err(|error| FolderError { path: root.to_owned(), error })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The images of a source in the usual layout, `{list}/{id}_{channel}.png`, by the names of their files; none where its
    /// folder does not exist.
    ///
    /// # Errors
    /// When the folder exists and cannot be listed.
    pub fn found_images(&self, source: Source) -> Result<FoundImages, FolderError> {
        let mut ids = BTreeSet::new();
        let mut without_colour = BTreeSet::new();
        for name in file_names(&self.root.join(source.to_string()))? {
            let Some((stem, ending)) = name.rsplit_once('.') else { continue };
            let is_image = IMAGE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
            // Some systems store facts of a file in a hidden one beside it.
            if !is_image || name.starts_with('.') {
                continue;
            }
            match stem.rsplit_once('_') {
                Some((id, colour)) if COLOURS.iter().any(|known| colour.eq_ignore_ascii_case(known)) => {
                    ids.insert(id.to_owned());
                }
                Some((_, colour)) if colour.eq_ignore_ascii_case("yellow") => {}
                _ => _ = without_colour.insert(name),
            }
        }
        Ok(FoundImages { ids: ids.into_iter().collect(), without_colour: without_colour.pop_first() })
    }

    /// Whether there is any file in the folder, up to three folders deep.
    pub fn has_files(&self) -> bool {
        has_files(&self.root, 3)
    }

    /// An image as [`ImageLayout::image_bytes`] bytes: a plane for each channel, each row by row.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub fn read_image(&self, layout: &ImageLayout, source: Source, id: &str) -> Result<Vec<u8>, ImageError> {
        let mut image = vec![0; layout.image_bytes()];
        self.read_image_into(layout, source, id, &mut image)?;
        Ok(image)
    }

    /// Like [`read_image`](ImageFolder::read_image), into memory of that size. After an error its content is unspecified.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    ///
    /// # Panics
    /// When `image` is smaller.
    pub fn read_image_into(
        &self,
        layout: &ImageLayout,
        source: Source,
        id: &str,
        image: &mut [u8],
    ) -> Result<(), ImageError> {
        let target = layout.target(source);
        let mut planes = image;
        for (file, paths) in layout.channel_files().iter().zip(layout.paths(source, id)) {
            let bytes = file.taken.plane_count() * target.size as usize * target.size as usize;
            let (here, rest) = std::mem::take(&mut planes).split_at_mut(bytes);
            self.read_first(&paths, |path| read_planes(path, file.taken, &target, here))?;
            planes = rest;
        }
        Ok(())
    }

    /// Reads the first file that exists among the possible paths.
    fn read_first(
        &self,
        paths: &[String],
        mut read: impl FnMut(&Path) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut first_error = None;
        for path in paths {
            match read(&self.root.join(path)) {
                Err(error) if is_absent(&error.problem) => first_error = first_error.or(Some(error)),
                read => return read,
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

pub(crate) fn is_absent(problem: &ImageProblem) -> bool {
    matches!(problem, ImageProblem::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The names in a folder that are UTF-8; none where it does not exist.
pub(crate) fn file_names(path: &Path) -> Result<Vec<String>, FolderError> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let names = entries.and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let names: Vec<std::ffi::OsString> = names.map_err(|error| FolderError { path: path.to_owned(), error })?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

fn has_files(folder: &Path, depth: u32) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                if depth > 0 && has_files(&entry.path(), depth - 1) {
                    return true;
                }
            }
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use fivefold_common::spec::JobSetSpec;

    use super::*;

    /// Writes a grey PNG of one `value`.
    pub(crate) fn write_grey(path: &Path, size: u32, value: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), size, size);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![value; (size * size) as usize]).unwrap();
    }

    /// Writes the three planes of an image, of values `value`, `value + 1` and `value + 2`.
    pub(crate) fn write_image(root: &Path, source: Source, id: &str, size: u32, value: u8) {
        for (colour, step) in COLOURS.into_iter().zip(0..) {
            write_grey(&root.join(format!("{source}/{id}_{colour}.png")), size, value + step);
        }
    }

    /// The layout of the default spec but for the size and what a TOML document says.
    pub(crate) fn layout(size: u32, toml: &str) -> ImageLayout {
        let mut spec = JobSetSpec::from_toml(toml).unwrap();
        spec.image_size = size;
        ImageLayout::of(&spec).unwrap()
    }

    #[test]
    fn an_image_has_three_planes_and_images_of_the_hpa_are_shrunk() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 4, 10);
        write_image(root.path(), Source::Hpa, "b", 9, 20);
        let folder = ImageFolder::open(root.path()).unwrap();
        let read = |source, id, size| folder.read_image(&layout(size, ""), source, id);
        assert_eq!(read(Source::Train, "a", 4).unwrap(), [[10; 16], [11; 16], [12; 16]].concat());
        assert_eq!(read(Source::Hpa, "b", 4).unwrap(), [[20; 16], [21; 16], [22; 16]].concat());
        let error = read(Source::Train, "a", 2).unwrap_err();
        assert!(error.path.ends_with("train/a_red.png"));
        assert!(error.to_string().ends_with("train/a_red.png: is 4 x 4 pixels, but 2 x 2 are expected (image_size)"));
        let error = read(Source::Hpa, "none", 2).unwrap_err();
        assert!(error.path.ends_with("hpa/none_red.png") && is_absent(&error.problem), "{error}");
    }

    #[test]
    fn a_layout_says_where_images_are_and_what_is_taken_from_them() {
        let root = tempfile::tempdir().unwrap();
        let mut encoder = png::Encoder::new(File::create(root.path().join("c.png")).unwrap(), 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[255, 0, 0, 10, 20, 30]).unwrap();
        write_grey(&root.path().join("deep/g.tif"), 4, 7);
        let folder = ImageFolder::open(root.path()).unwrap();
        let read = |size, toml: &str, id| folder.read_image(&layout(size, toml), Source::Train, id).unwrap();
        let one = "image_files = \"{id}\"\nresize = \"bilinear\"\n";
        assert_eq!(read(1, one, "c.png"), [132, 10, 15]);
        assert_eq!(read(1, &format!("{one}fit = \"crop\""), "c.png"), [255, 0, 0]);
        assert_eq!(read(2, &format!("{one}fit = \"pad\"\nchannels = [\"grey\"]"), "c.png"), [76, 18, 0, 0]);
        assert_eq!(read(2, one, "deep/g.tif"), [7; 12]);
        let many = "image_files = \"{channel}.png\"\nchannels = [\"c\"]\n";
        assert!(JobSetSpec::from_toml(many).is_err(), "it lacks the id");
        let many = "image_files = \"{id}/{channel}.tif\"\nchannels = [\"g\", \"g\"]\n";
        assert!(JobSetSpec::from_toml(many).is_err(), "a name twice");
        let many = "image_files = \"{id}/{channel}.tif\"\nchannels = [\"g\"]\n";
        assert_eq!(read(4, many, "deep"), [7; 16]);
    }

    #[test]
    fn images_are_found_by_the_names_of_their_files() {
        let root = tempfile::tempdir().unwrap();
        let folder = ImageFolder::open(root.path()).unwrap();
        assert_eq!(folder.found_images(Source::Train).unwrap(), FoundImages::default());
        write_image(root.path(), Source::Train, "b", 4, 10);
        for name in
            ["a_red.JPG", "c_d_BLUE.tif", "b_yellow.png", "whole.png", "e_red.png.part", "._f_red.png", "notes.txt"]
        {
            std::fs::write(root.path().join("train").join(name), "").unwrap();
        }
        let found = folder.found_images(Source::Train).unwrap();
        assert_eq!(found.ids, ["a", "b", "c_d"]);
        assert_eq!(found.without_colour.as_deref(), Some("whole.png"));
    }

    #[test]
    fn a_folder_that_does_not_exist_is_refused_and_an_empty_one_is_known() {
        let root = tempfile::tempdir().unwrap();
        let folder = ImageFolder::open(root.path()).unwrap();
        std::fs::create_dir_all(root.path().join("train/a")).unwrap();
        assert!(!folder.has_files());
        std::fs::write(root.path().join("train/a/b.jpg"), "").unwrap();
        assert!(folder.has_files());
        let error = ImageFolder::open(&root.path().join("no")).unwrap_err();
        assert!(error.to_string().contains("the image folder"));
    }
}
