//! WebP files.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek, SeekFrom};

use image_webp::{DecodingError, WebPDecoder};

use super::Pixels;
use crate::image_header::ImageHeader;
use crate::image_problem::ImageProblem;

/// The bytes of a file before those that its header counts.
const COUNTED_FROM: u64 = 8;

fn problem(error: DecodingError) -> ImageProblem {
    match error {
        DecodingError::UnsupportedFeature(feature) => ImageProblem::UnknownKind(feature),
        error => ImageProblem::Damaged(error.to_string()),
    }
}

fn open<R: BufRead + Seek>(input: R) -> Result<WebPDecoder<R>, ImageProblem> {
    let decoder = WebPDecoder::new(input).map_err(problem)?;
    if decoder.is_animated() {
        return Err(ImageProblem::UnknownKind("an animation".to_owned()));
    }
    Ok(decoder)
}

/// Whether a file of `length` bytes that begins with `start` is as long as its header says.
fn is_whole(start: &[u8], length: u64) -> bool {
    let counted = start.get(4..8).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_le_bytes);
    counted.is_some_and(|counted| COUNTED_FROM + u64::from(counted) <= length)
}

pub(super) fn header(input: &mut BufReader<File>, length: u64) -> Result<(ImageHeader, Option<bool>), ImageProblem> {
    let is_whole = is_whole(input.fill_buf().map_err(ImageProblem::Unreadable)?, length);
    // The decoder looks for chunks to the end of the file, and would call a file that is cut off damaged in its header.
    if !is_whole {
        return Err(ImageProblem::missing_end());
    }
    input.seek(SeekFrom::Start(0)).map_err(ImageProblem::Unreadable)?;
    let (width, height) = open(input)?.dimensions();
    Ok((ImageHeader { width, height }, Some(true)))
}

pub(super) fn decode(
    bytes: &[u8],
    check: impl FnOnce(u32, u32) -> Result<(), ImageProblem>,
) -> Result<Pixels, ImageProblem> {
    if !is_whole(bytes, bytes.len() as u64) {
        return Err(ImageProblem::missing_end());
    }
    let mut decoder = open(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions();
    check(width, height)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut samples = vec![0; width as usize * height as usize * channels];
    decoder.read_image(&mut samples).map_err(problem)?;
    Ok(Pixels { sides: [width, height], channels, samples })
}
