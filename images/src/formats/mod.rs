//! The formats of image files.

mod jpeg;
mod png;
mod tiff;
mod webp;

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use crate::image_header::ImageHeader;
use crate::image_problem::{ImageProblem, MAX_SIDE_PIXELS};

pub(crate) use crate::formats::png::PngImage;

/// The most bytes that a decoder may take for an image: one of the largest size at 8 bytes per pixel.
const MAX_DECODED_BYTES: usize = 8 * MAX_SIDE_PIXELS as usize * MAX_SIDE_PIXELS as usize;

/// The formats of image files, told apart by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, with a JFIF or Exif header or without.
    Jpeg,
    /// WebP, lossy or lossless; no animations.
    Webp,
    /// TIFF, and BigTIFF; the first image of a file.
    Tiff,
}

/// A decoded image.
#[derive(Debug)]
pub(crate) struct Pixels {
    /// Width and height.
    pub(crate) sides: [u32; 2],
    /// Samples of a pixel: grey; grey and transparency; red, green and blue; these and transparency.
    pub(crate) channels: usize,
    /// The samples of each pixel, row by row.
    pub(crate) samples: Vec<u8>,
}

impl Format {
    /// The format of a file that begins with `bytes`, of which twelve are enough.
    ///
    /// # Errors
    /// If there are no bytes, or the format is another one.
    pub fn of(bytes: &[u8]) -> Result<Self, ImageProblem> {
        match bytes {
            [] => Err(ImageProblem::Empty),
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(Self::Png),
            _ if bytes.starts_with(b"\xff\xd8\xff") => Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::Webp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            _ => Err(ImageProblem::UnknownFormat),
        }
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
            Self::Tiff => "TIFF",
        }
    }

    /// The header of a file of `length` bytes, and whether the end of the image is there as far as a few bytes tell: of a PNG
    /// or JPEG file with unusual bytes at its end that is unknown, and `None`.
    pub(crate) fn header(
        self,
        input: &mut BufReader<File>,
        length: u64,
    ) -> Result<(ImageHeader, Option<bool>), ImageProblem> {
        match self {
            Self::Png => png::header(input),
            Self::Jpeg => jpeg::header(input),
            Self::Webp => webp::header(input, length),
            Self::Tiff => tiff::header(input, length),
        }
    }

    /// Whether a PNG or JPEG file has its end.
    pub(crate) fn has_end(self, content: &[u8]) -> bool {
        match self {
            Self::Png => png::has_end(content),
            Self::Jpeg => jpeg::has_end(content),
            Self::Webp | Self::Tiff => true,
        }
    }

    /// Decodes a file. `check` gets width and height before memory is allocated for the pixels.
    pub(crate) fn decode(
        self,
        bytes: &[u8],
        check: impl FnOnce(u32, u32) -> Result<(), ImageProblem>,
    ) -> Result<Pixels, ImageProblem> {
        match self {
            Self::Png => PngImage::open(bytes, check)?.pixels(),
            Self::Jpeg => jpeg::decode(bytes, check),
            Self::Webp => webp::decode(bytes, check),
            Self::Tiff => tiff::decode(bytes, check),
        }
    }
}

/// The format of a file that is read from its start.
pub(crate) fn format_of(input: &mut BufReader<File>) -> Result<Format, ImageProblem> {
    Format::of(input.fill_buf().map_err(ImageProblem::Unreadable)?)
}

/// Whether the last bytes of a file are these.
fn ends_with(input: &mut BufReader<File>, end: &[u8]) -> Result<bool, ImageProblem> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut found = Vec::with_capacity(end.len());
    input.seek(SeekFrom::End(-(end.len() as i64))).map_err(ImageProblem::Unreadable)?;
    input.read_to_end(&mut found).map_err(ImageProblem::Unreadable)?;
    Ok(found == end)
}
