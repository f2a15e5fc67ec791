//! TIFF files.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};

use tiff::decoder::{Decoder, DecodingResult, DecodingSampleType, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{MAX_DECODED_BYTES, Pixels};
use crate::image_header::ImageHeader;
use crate::image_problem::ImageProblem;

fn problem(error: TiffError) -> ImageProblem {
    match error {
        TiffError::UnsupportedError(error) => ImageProblem::UnknownKind(error.to_string()),
        error => ImageProblem::Damaged(error.to_string()),
    }
}

fn open<R: Read + Seek>(input: R) -> Result<Decoder<R>, ImageProblem> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_DECODED_BYTES;
    limits.intermediate_buffer_size = MAX_DECODED_BYTES;
    Ok(Decoder::new(input).map_err(problem)?.with_limits(limits))
}

/// Refuses samples other than grey and RGB, with transparency or without, of 8 or 16 bits.
fn check_kind<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<(), ImageProblem> {
    let color = decoder.colortype().map_err(problem)?;
    let depth = match color {
        ColorType::Gray(depth) | ColorType::GrayA(depth) | ColorType::RGB(depth) | ColorType::RGBA(depth) => depth,
        // Grey and one more, which is ignored like transparency.
        ColorType::Multiband { bit_depth, num_samples: 2 } => bit_depth,
        _ => return Err(ImageProblem::UnknownKind(format!("{color:?}; grey and RGB are read"))),
    };
    let sample_type = decoder.image_buffer_layout().map_err(problem)?.sample_type;
    match (depth, sample_type) {
        (8, Some(DecodingSampleType::U8)) | (16, Some(DecodingSampleType::U16)) => Ok(()),
        _ => Err(ImageProblem::UnknownKind(format!(
            "{color:?} with samples of another kind than unsigned numbers of 8 or 16 bits"
        ))),
    }
}

/// Whether every strip or tile lies within the `length` bytes of the file.
fn is_whole<R: Read + Seek>(decoder: &mut Decoder<R>, length: u64) -> Result<bool, ImageProblem> {
    for (offsets, counts) in [(Tag::StripOffsets, Tag::StripByteCounts), (Tag::TileOffsets, Tag::TileByteCounts)] {
        let mut values = |tag| decoder.find_tag_unsigned_vec::<u64>(tag).map_err(problem);
        let (Some(offsets), Some(counts)) = (values(offsets)?, values(counts)?) else { continue };
        let ends = offsets.iter().zip(&counts).map(|(offset, count)| offset.saturating_add(*count));
        if ends.max().is_some_and(|end| end > length) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn header(input: &mut BufReader<File>, length: u64) -> Result<(ImageHeader, Option<bool>), ImageProblem> {
    input.seek(SeekFrom::Start(0)).map_err(ImageProblem::Unreadable)?;
    let mut decoder = open(input)?;
    check_kind(&mut decoder)?;
    let (width, height) = decoder.dimensions().map_err(problem)?;
    Ok((ImageHeader { width, height }, Some(is_whole(&mut decoder, length)?)))
}

pub(super) fn decode(
    bytes: &[u8],
    check: impl FnOnce(u32, u32) -> Result<(), ImageProblem>,
) -> Result<Pixels, ImageProblem> {
    let mut decoder = open(Cursor::new(bytes))?;
    check_kind(&mut decoder)?;
    let (width, height) = decoder.dimensions().map_err(problem)?;
    check(width, height)?;
    if !is_whole(&mut decoder, bytes.len() as u64)? {
        return Err(ImageProblem::missing_end());
    }
    let mut result = DecodingResult::U8(Vec::new());
    let planes = decoder.read_image_to_buffer(&mut result).map_err(problem)?.planes;
    let samples = match result {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => samples.into_iter().map(|sample| (sample >> 8) as u8).collect(),
        _ => return Err(ImageProblem::UnknownKind("samples of another kind than it says".to_owned())),
    };
    let pixel_count = width as usize * height as usize;
    let channels = samples.len() / pixel_count.max(1);
    if channels == 0 || samples.len() != channels * pixel_count {
        return Err(ImageProblem::Damaged(format!("it has {} samples for {pixel_count} pixels", samples.len())));
    }
    let samples = if planes > 1 { interleaved(&samples, channels) } else { samples };
    Ok(Pixels { sides: [width, height], channels, samples })
}

/// The samples of planes that follow each other, pixel by pixel.
fn interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    let pixel_count = planes.len() / channels;
    let sample = |place: usize| planes[place % channels * pixel_count + place / channels];
    (0..planes.len()).map(sample).collect()
}
