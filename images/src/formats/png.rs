//! PNG files.

use std::fs::File;
use std::io::{BufReader, Cursor};

use super::{MAX_DECODED_BYTES, Pixels, ends_with};
use crate::image_header::ImageHeader;
use crate::image_problem::ImageProblem;

/// What nearly every file ends with.
const USUAL_END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// The result for a file whose decoder failed.
fn damaged(error: png::DecodingError) -> ImageProblem {
    ImageProblem::Damaged(error.to_string())
}

pub(super) fn header(input: &mut BufReader<File>) -> Result<(ImageHeader, Option<bool>), ImageProblem> {
    let mut decoder = png::Decoder::new(&mut *input);
    let info = decoder.read_header_info().map_err(damaged)?;
    let header = ImageHeader { width: info.width, height: info.height };
    drop(decoder);
    Ok((header, ends_with(input, USUAL_END)?.then_some(true)))
}

/// Whether the chunks follow each other up to the last one.
pub(super) fn has_end(content: &[u8]) -> bool {
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

/// A PNG file whose header was read. Samples are scaled to 8 bits: of 16 the upper 8 are used, fewer are scaled to 0..=255.
pub(crate) struct PngImage<'a> {
    /// Width and height.
    pub(crate) sides: [u32; 2],
    reader: png::Reader<Cursor<&'a [u8]>>,
}

impl<'a> PngImage<'a> {
    pub(crate) fn open(
        bytes: &'a [u8],
        check: impl FnOnce(u32, u32) -> Result<(), ImageProblem>,
    ) -> Result<Self, ImageProblem> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let (width, height) = decoder.read_header_info().map_err(damaged)?.size();
        check(width, height)?;
        decoder.set_limits(png::Limits { bytes: MAX_DECODED_BYTES });
        Ok(Self { sides: [width, height], reader: decoder.read_info().map_err(damaged)? })
    }

    /// Whether a pixel is one sample.
    pub(crate) fn is_grey(&self) -> bool {
        self.reader.output_color_type().0 == png::ColorType::Grayscale
    }

    /// Decodes an image that is grey into `plane`, which has its size.
    pub(crate) fn read_into(mut self, plane: &mut [u8]) -> Result<(), ImageProblem> {
        self.reader.next_frame(plane).map_err(damaged)?;
        self.reader.finish().map_err(damaged)
    }

    pub(crate) fn pixels(self) -> Result<Pixels, ImageProblem> {
        let [width, height] = self.sides;
        let channels = self.reader.output_color_type().0.samples();
        let mut samples = vec![0; width as usize * height as usize * channels];
        let sides = self.sides;
        self.read_into(&mut samples)?;
        Ok(Pixels { sides, channels, samples })
    }
}
