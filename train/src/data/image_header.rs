//! The header of an image file, and whether the file is whole, without decoding it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek, SeekFrom};
use std::path::Path;

use crate::data::image_file::{Format, ImageProblem, MAX_FILE_BYTES, has_jpeg_end, read_file};

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

/// Reads the header of a PNG or JPEG file, and checks that the end of the file is there. Only a file with other bytes at its
/// end than usual is read whole.
///
/// # Errors
/// When the file cannot be read, is empty, too large, of another format, damaged in its header, or cut off.
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
    let format = Format::of(input.fill_buf().map_err(ImageProblem::Unreadable)?)?;
    let header = match format {
        Format::Png => png_header(&mut input)?,
        Format::Jpeg => jpeg_header(&mut input)?,
    };
    let is_whole = match format {
        _ if has_usual_end(&mut input, format).map_err(ImageProblem::Unreadable)? => true,
        Format::Png => has_png_end(&read_file(path)?),
        Format::Jpeg => has_jpeg_end(&read_file(path)?),
    };
    if is_whole { Ok(header) } else { Err(ImageProblem::Damaged("the end of the image is missing".to_owned())) }
}

fn png_header(input: &mut BufReader<File>) -> Result<ImageHeader, ImageProblem> {
    let mut decoder = png::Decoder::new(input);
    let info = decoder.read_header_info().map_err(|error| ImageProblem::Damaged(error.to_string()))?;
    Ok(ImageHeader { width: info.width, height: info.height })
}

fn jpeg_header(input: &mut BufReader<File>) -> Result<ImageHeader, ImageProblem> {
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(input, Format::jpeg_options());
    decoder.decode_headers().map_err(|error| ImageProblem::Damaged(format!("{error:?}")))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    Ok(ImageHeader { width: width as u32, height: height as u32 })
}

/// Whether the last bytes of the file are those that nearly every file of its format ends with.
fn has_usual_end(input: &mut (impl std::io::Read + Seek), format: Format) -> std::io::Result<bool> {
    const PNG_END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";
    const JPEG_END: &[u8] = b"\xFF\xD9";
    let end = match format {
        Format::Png => PNG_END,
        Format::Jpeg => JPEG_END,
    };
    let mut found = Vec::with_capacity(end.len());
    input.seek(SeekFrom::End(-(end.len() as i64)))?;
    input.read_to_end(&mut found)?;
    Ok(found == end)
}

/// Whether a PNG's chunks follow each other up to the last one.
fn has_png_end(content: &[u8]) -> bool {
    let mut rest = content.get(8..).unwrap_or_default();
    while let Some((head, after)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(next) = after.get(length.saturating_add(4)..) else { return false };
        if &head[4..] == b"IEND" {
            return true;
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_folder::tests::write_grey;

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
