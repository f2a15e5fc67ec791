//! The folder of images: where each image's three files are, which are missing, and an image as three planes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::Source;

use crate::data::image_file::{Colour, ImageError, ImageProblem, OtherSize, read_plane};

/// Channels of an image: red, green, blue.
pub const CHANNELS: usize = 3;
/// How many missing files are named.
const NAMED_MISSING: usize = 5;

/// A folder with `train/`, `hpa/` and `test/`, each holding `<Id>_red.png`, `<Id>_green.png` and `<Id>_blue.png`; in `hpa/`
/// they may be `.jpg` instead.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    root: PathBuf,
}

/// A folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("the data folder {} cannot be read: {error}", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// Image files that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImages {
    /// How many files are missing.
    pub count: usize,
    /// The first few of them, in the rows' order.
    pub first: Vec<PathBuf>,
}

impl fmt::Display for MissingImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.count == 1 { "image file is" } else { "image files are" };
        write!(f, "{} {files} missing:", self.count)?;
        for (place, path) in self.first.iter().enumerate() {
            write!(f, "{} {}", if place > 0 { "," } else { "" }, path.display())?;
        }
        if self.count > self.first.len() {
            write!(f, ", and {} more", self.count - self.first.len())?;
        }
        Ok(())
    }
}

impl ImageFolder {
    /// The folder at `root`, which must be one that can be listed.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        std::fs::read_dir(root).map_err(|error| FolderError { path: root.to_owned(), error })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which files of `rows` are not there; `None` when all are. Lists each source's folder once and opens no image.
    pub fn missing(&self, rows: &[LabelledRow]) -> Result<Option<MissingImages>, FolderError> {
        let mut missing = MissingImages { count: 0, first: Vec::new() };
        let mut listed: Vec<(Source, HashSet<OsString>)> = Vec::new();
        for row in rows {
            let place = match listed.iter().position(|(source, _)| *source == row.source) {
                Some(place) => place,
                None => {
                    listed.push((row.source, self.file_names(row.source)?));
                    listed.len() - 1
                }
            };
            let names = &listed[place].1;
            for colour in Colour::ALL {
                let found = |extension: &&str| names.contains(&OsString::from(file_name(&row.id, colour, extension)));
                if !extensions(row.source).iter().any(found) {
                    missing.count += 1;
                    if missing.first.len() < NAMED_MISSING {
                        missing.first.push(self.path(row.source, &row.id, colour, "png"));
                    }
                }
            }
        }
        Ok((missing.count > 0).then_some(missing))
    }

    /// An image as `3 * size * size` bytes: the red, the green, the blue plane, each row by row.
    ///
    /// Images of the training and test lists must have `size` x `size` pixels; larger ones of the HPA list are made
    /// smaller. Fails with the first file that cannot be used.
    pub fn read_image(&self, source: Source, id: &str, size: u32) -> Result<Vec<u8>, ImageError> {
        let other_size = match source {
            Source::Hpa => OtherSize::Shrunk,
            Source::Train | Source::Test => OtherSize::Refused,
        };
        let mut image = vec![0; image_bytes(size)];
        for (colour, plane) in Colour::ALL.into_iter().zip(image.chunks_exact_mut(image_bytes(size) / CHANNELS)) {
            self.read_colour(source, id, colour, size, other_size, plane)?;
        }
        Ok(image)
    }

    /// Reads the first of the file's possible names that is there.
    fn read_colour(
        &self,
        source: Source,
        id: &str,
        colour: Colour,
        size: u32,
        other_size: OtherSize,
        plane: &mut [u8],
    ) -> Result<(), ImageError> {
        let mut first_error = None;
        for extension in extensions(source) {
            let path = self.path(source, id, colour, extension);
            match read_plane(&path, colour, size, other_size, plane) {
                Err(error) if is_absent(&error.problem) => first_error = first_error.or(Some(error)),
                read => return read,
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn path(&self, source: Source, id: &str, colour: Colour, extension: &str) -> PathBuf {
        self.root.join(source.to_string()).join(file_name(id, colour, extension))
    }

    /// The names in a source's folder; none where there is no such folder.
    fn file_names(&self, source: Source) -> Result<HashSet<OsString>, FolderError> {
        let path = self.root.join(source.to_string());
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            entries => entries,
        };
        let names = entries.and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        names.map_err(|error| FolderError { path, error })
    }
}

/// The bytes of one image.
pub(crate) fn image_bytes(size: u32) -> usize {
    CHANNELS * size as usize * size as usize
}

fn is_absent(problem: &ImageProblem) -> bool {
    matches!(problem, ImageProblem::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
}

fn extensions(source: Source) -> &'static [&'static str] {
    match source {
        Source::Hpa => &["png", "jpg"],
        Source::Train | Source::Test => &["png"],
    }
}

fn file_name(id: &str, colour: Colour, extension: &str) -> String {
    format!("{id}_{}.{extension}", colour.word())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use fivefold_common::labels::Labels;

    use super::*;

    /// Writes a grey PNG whose pixels are all `value`.
    pub(crate) fn write_grey(path: &Path, size: u32, value: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), size, size);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![value; (size * size) as usize]).unwrap();
    }

    /// Writes the three files of an image, of brightness `value`, `value + 1` and `value + 2`.
    pub(crate) fn write_image(root: &Path, source: Source, id: &str, size: u32, value: u8) {
        for (colour, step) in Colour::ALL.into_iter().zip(0..) {
            write_grey(&root.join(source.to_string()).join(file_name(id, colour, "png")), size, value + step);
        }
    }

    pub(crate) fn row(source: Source, id: &str) -> LabelledRow {
        LabelledRow { id: id.to_owned(), source, labels: Labels::default() }
    }

    #[test]
    fn an_image_is_three_planes_and_of_the_hpa_a_smaller_one() {
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
    fn missing_files_are_counted_and_the_first_named() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 4, 10);
        write_image(root.path(), Source::Hpa, "j", 4, 10);
        for colour in Colour::ALL {
            let png = root.path().join("hpa").join(file_name("j", colour, "png"));
            std::fs::rename(&png, png.with_extension("jpg")).unwrap();
        }
        let folder = ImageFolder::open(root.path()).unwrap();
        let mut rows = vec![row(Source::Train, "a"), row(Source::Hpa, "j")];
        assert_eq!(folder.missing(&rows).unwrap(), None);
        assert!(folder.read_image(Source::Hpa, "j", 4).is_ok());

        std::fs::remove_file(root.path().join("train/a_green.png")).unwrap();
        rows.push(row(Source::Train, "x"));
        rows.push(row(Source::Test, "y"));
        let missing = folder.missing(&rows).unwrap().unwrap();
        assert_eq!(missing.count, 7);
        assert_eq!(missing.first.len(), NAMED_MISSING);
        assert!(missing.first[0].ends_with("train/a_green.png") && missing.first[1].ends_with("train/x_red.png"));
        assert!(missing.to_string().starts_with("7 image files are missing: "));
        assert!(missing.to_string().ends_with("test/y_red.png, and 2 more"), "{missing}");
        let error = folder.read_image(Source::Train, "a", 4).unwrap_err();
        assert!(error.path.ends_with("train/a_green.png"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = ImageFolder::open(&root.path().join("no")).unwrap_err();
        assert!(error.to_string().contains("the data folder"));
    }
}
