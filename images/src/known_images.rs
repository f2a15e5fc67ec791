//! Images whose headers were read before, so that the next check only asks for their size in bytes and time of change.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fivefold_common::durable_file::{WriteError, write};

use crate::image_header::ImageHeader;

/// The first words of a file of known images; the number is raised with every change of the format.
const FORMAT: &str = "fivefold-known-images 1";

/// What tells a file from what it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.size(), seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() }
    }
}

/// Headers of the whole files of one image folder, by their paths in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImages {
    root: PathBuf,
    headers: HashMap<String, (Stamp, ImageHeader)>,
}

impl KnownImages {
    /// None yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), headers: HashMap::new() }
    }

    /// Those of the image folder `root` in a `file` that [`KnownImages::write`] wrote. There are none in a file that is absent,
    /// damaged, or of another folder.
    pub fn read(file: &Path, root: &Path) -> Self {
        let mut known = Self::new(root);
        let Ok(file) = std::fs::File::open(file) else { return known };
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        if lines.next().as_deref() == Some(&known.first_line()) {
            known.headers = lines.filter_map(|line| parsed(&line)).collect();
        }
        known
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), WriteError> {
        write(file, |output| {
            writeln!(output, "{}", self.first_line())?;
            for (name, (Stamp { bytes, seconds, nanoseconds }, ImageHeader { width, height })) in &self.headers {
                writeln!(output, "{bytes} {seconds} {nanoseconds} {width} {height} {name}")?;
            }
            Ok(())
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    pub(crate) fn header(&self, name: &str, stamp: Stamp) -> Option<ImageHeader> {
        self.headers.get(name).filter(|(known, _)| *known == stamp).map(|(_, header)| *header)
    }

    pub(crate) fn add(&mut self, name: String, stamp: Stamp, header: ImageHeader) {
        self.headers.insert(name, (stamp, header));
    }

    fn first_line(&self) -> String {
        format!("{FORMAT} {:?}", self.root)
    }
}

fn parsed(line: &str) -> Option<(String, (Stamp, ImageHeader))> {
    let mut words = line.splitn(6, ' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (bytes, seconds, nanoseconds) = (u64::try_from(number()?).ok()?, number()?, number()?);
    let (width, height) = (u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?);
    Some((words.next()?.to_owned(), (Stamp { bytes, seconds, nanoseconds }, ImageHeader { width, height })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_images_are_written_and_read_for_their_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known-images");
        let stamp = Stamp { bytes: 5, seconds: -1, nanoseconds: 7 };
        let mut known = KnownImages::new(Path::new("/a folder\n"));
        known.add("train/a_red.png".into(), stamp, ImageHeader { width: 3, height: 4 });
        known.write(&file).unwrap();
        assert_eq!(KnownImages::read(&file, Path::new("/a folder\n")), known);
        assert_eq!(known.header("train/a_red.png", stamp), Some(ImageHeader { width: 3, height: 4 }));
        assert_eq!(known.header("train/a_red.png", Stamp { nanoseconds: 8, ..stamp }), None, "it was changed");
        assert!(KnownImages::read(&file, Path::new("/other")).is_empty());
        assert!(KnownImages::read(&folder.path().join("none"), Path::new("/other")).is_empty());
        std::fs::write(&file, format!("{}\n5 x\n\u{0}", known.first_line())).unwrap();
        assert!(KnownImages::read(&file, Path::new("/a folder\n")).is_empty());
    }
}
