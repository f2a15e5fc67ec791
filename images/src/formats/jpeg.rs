//! JPEG files.

use std::fs::File;
use std::io::{BufReader, Cursor};

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Pixels, ends_with};
use crate::image_header::ImageHeader;
use crate::image_problem::ImageProblem;

const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

fn damaged(error: DecodeErrors) -> ImageProblem {
    ImageProblem::Damaged(format!("{error:?}"))
}

fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
}

pub(super) fn header(input: &mut BufReader<File>) -> Result<(ImageHeader, Option<bool>), ImageProblem> {
    let mut decoder = JpegDecoder::new_with_options(&mut *input, options());
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let header = ImageHeader { width: width as u32, height: height as u32 };
    drop(decoder);
    Ok((header, ends_with(input, &END_OF_IMAGE)?.then_some(true)))
}

/// Whether an end-of-image marker follows the last scan. Without one the decoder would fill in the rest. Neither marker occurs
/// inside a scan.
pub(super) fn has_end(content: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
    let last = |marker| content.windows(2).rposition(|pair| pair == marker);
    last(END_OF_IMAGE) > last(START_OF_SCAN)
}

pub(super) fn decode(
    bytes: &[u8],
    check: impl FnOnce(u32, u32) -> Result<(), ImageProblem>,
) -> Result<Pixels, ImageProblem> {
    let options = options();
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    if !has_end(bytes) {
        return Err(ImageProblem::missing_end());
    }
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let sides = [width as u32, height as u32];
    check(sides[0], sides[1])?;
    let grey = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::LumaA));
    let (space, channels) = if grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let mut samples = vec![0; width * height * channels];
    decoder.decode_into(&mut samples).map_err(damaged)?;
    Ok(Pixels { sides, channels, samples })
}
