//! The header of an image file, and whether the file is whole, without decoding it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::formats::format_of;
use crate::image_file::read_file;
use crate::image_problem::{ImageProblem, MAX_FILE_BYTES};

/// What is read first: the header of a PNG, and of most JPEG files.
const HEADER_BYTES: usize = 4096;

/// The size of an image by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Reads the header of an image file, and checks that the end of the file is there. Only a PNG or JPEG file with other bytes at
/// its end than usual is read whole.
///
/// # Errors
/// When the file cannot be read, is empty, too large, of another format or kind, damaged in its header, or cut off.
pub fn read_header(path: &Path) -> Result<ImageHeader, ImageProblem> {
    let file = File::open(path).map_err(ImageProblem::Unreadable)?;
    let bytes = file.metadata().map_err(ImageProblem::Unreadable)?.len();
    if bytes == 0 {
        return Err(ImageProblem::Empty);
    }
    if bytes > MAX_FILE_BYTES {
        return Err(ImageProblem::TooManyBytes { bytes });
    }
    let mut input = BufReader::with_capacity(HEADER_BYTES, file);
    let format = format_of(&mut input)?;
    let (header, has_end) = format.header(&mut input, bytes)?;
    let has_end = match has_end {
        Some(has_end) => has_end,
        None => format.has_end(&read_file(path)?),
    };
    if has_end { Ok(header) } else { Err(ImageProblem::missing_end()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::tests::write_grey;

    #[test]
    fn sizes_are_read_and_what_is_cut_off_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_grey(&path, 7, 9);
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_header(&path)
        };
        assert_eq!(read(&whole).unwrap(), ImageHeader { width: 7, height: 7 });
        assert_eq!(read(&[&whole[..], b"a comment"].concat()).unwrap(), ImageHeader { width: 7, height: 7 });
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert!(matches!(read(b"").unwrap_err(), ImageProblem::Empty));
        assert!(matches!(read(b"GIF89a").unwrap_err(), ImageProblem::UnknownFormat));
        let gone = read_header(&folder.path().join("none")).unwrap_err();
        assert!(matches!(gone, ImageProblem::Unreadable(_)), "{gone}");
    }

    #[test]
    fn the_size_of_a_jpeg_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let whole =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/grey.jpg")).unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read_header(&path).unwrap(), ImageHeader { width: 24, height: 24 });
        std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        assert!(matches!(read_header(&path).unwrap_err(), ImageProblem::Damaged(_)));
    }
}
