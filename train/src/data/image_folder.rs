//! The image folder: the files of each image and whole images.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_common::scores::Source;

use crate::data::image_file::{Colour, ImageError, ImageProblem, Resize, read_plane};

/// The channels of an image: red, green, blue.
pub const CHANNELS: usize = 3;

/// A folder with `train/`, `hpa/` and `test/`, each with `<Id>_red.png`, `<Id>_green.png` and `<Id>_blue.png`. In `hpa/` the
/// files may be `.jpg` instead.
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

    /// The images of a source, by the names of their files; none where its folder does not exist.
    ///
    /// # Errors
    /// When the folder exists and cannot be listed.
    pub fn found_images(&self, source: Source) -> Result<FoundImages, FolderError> {
        let mut ids = BTreeSet::new();
        let mut without_colour = BTreeSet::new();
        for name in self.file_names(source)?.iter().filter_map(|name| name.to_str()) {
            let Some((stem, ending)) = name.rsplit_once('.') else { continue };
            let is_image = IMAGE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
            // Some systems store facts of a file in a hidden one beside it.
            if !is_image || name.starts_with('.') {
                continue;
            }
            match stem.rsplit_once('_') {
                Some((id, colour)) if Colour::ALL.iter().any(|known| colour.eq_ignore_ascii_case(known.word())) => {
                    ids.insert(id.to_owned());
                }
                Some((_, colour)) if colour.eq_ignore_ascii_case("yellow") => {}
                _ => _ = without_colour.insert(name.to_owned()),
            }
        }
        Ok(FoundImages { ids: ids.into_iter().collect(), without_colour: without_colour.pop_first() })
    }

    /// An image as `3 * size * size` bytes: the red, the green and the blue plane, each row by row.
    ///
    /// Images of the training and test lists must have `size` x `size` pixels; larger images of the HPA list are shrunk.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub fn read_image(&self, source: Source, id: &str, size: u32) -> Result<Vec<u8>, ImageError> {
        let resize = resize_of(source);
        let mut image = vec![0; image_bytes(size)];
        for (colour, plane) in Colour::ALL.into_iter().zip(image.chunks_exact_mut(image_bytes(size) / CHANNELS)) {
            self.read_colour(source, id, colour, size, resize, plane)?;
        }
        Ok(image)
    }

    /// Reads the first file that exists among the possible names.
    fn read_colour(
        &self,
        source: Source,
        id: &str,
        colour: Colour,
        size: u32,
        resize: Resize,
        plane: &mut [u8],
    ) -> Result<(), ImageError> {
        let mut first_error = None;
        for extension in extensions(source) {
            let path = self.path(source, id, colour, extension);
            match read_plane(&path, colour, size, resize, plane) {
                Err(error) if is_absent(&error.problem) => first_error = first_error.or(Some(error)),
                read => return read,
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn path(&self, source: Source, id: &str, colour: Colour, extension: &str) -> PathBuf {
        self.folder_of(source).join(file_name(id, colour, extension))
    }

    /// The folder of a source's images.
    pub(crate) fn folder_of(&self, source: Source) -> PathBuf {
        self.root.join(source.to_string())
    }

    /// The file names in a source's folder; none where it does not exist.
    pub(crate) fn file_names(&self, source: Source) -> Result<HashSet<OsString>, FolderError> {
        let path = self.folder_of(source);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            entries => entries,
        };
        let names = entries.and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        names.map_err(|error| FolderError { path, error })
    }
}

/// How images of a source get the expected size.
pub(crate) fn resize_of(source: Source) -> Resize {
    match source {
        Source::Hpa => Resize::Area,
        Source::Train | Source::Test => Resize::Exact,
    }
}

/// The size of an image in bytes.
pub(crate) fn image_bytes(size: u32) -> usize {
    CHANNELS * size as usize * size as usize
}

fn is_absent(problem: &ImageProblem) -> bool {
    matches!(problem, ImageProblem::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The endings of a source's file names, in the order in which they are tried.
pub(crate) fn extensions(source: Source) -> &'static [&'static str] {
    match source {
        Source::Hpa => &["png", "jpg"],
        Source::Train | Source::Test => &["png"],
    }
}

pub(crate) fn file_name(id: &str, colour: Colour, extension: &str) -> String {
    format!("{id}_{}.{extension}", colour.word())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use fivefold_common::labels::Labels;
    use fivefold_common::manifest::LabelledRow;

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
        for (colour, step) in Colour::ALL.into_iter().zip(0..) {
            write_grey(&root.join(source.to_string()).join(file_name(id, colour, "png")), size, value + step);
        }
    }

    pub(crate) fn row(source: Source, id: &str) -> LabelledRow {
        LabelledRow { id: id.to_owned(), source, labels: Labels::default() }
    }

    #[test]
    fn an_image_has_three_planes_and_images_of_the_hpa_are_shrunk() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 4, 10);
        write_image(root.path(), Source::Hpa, "b", 9, 20);
        let folder = ImageFolder::open(root.path()).unwrap();
        let image = folder.read_image(Source::Train, "a", 4).unwrap();
        assert_eq!(image, [[10; 16], [11; 16], [12; 16]].concat());
        let image = folder.read_image(Source::Hpa, "b", 4).unwrap();
        assert_eq!(image, [[20; 16], [21; 16], [22; 16]].concat());
        let error = folder.read_image(Source::Train, "a", 2).unwrap_err();
        assert!(error.path.ends_with("train/a_red.png"));
        assert!(error.to_string().ends_with("train/a_red.png: is 4 x 4 pixels, but 2 x 2 are expected (image_size)"));
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
    fn a_folder_that_does_not_exist_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = ImageFolder::open(&root.path().join("no")).unwrap_err();
        assert!(error.to_string().contains("the image folder"));
    }
}
