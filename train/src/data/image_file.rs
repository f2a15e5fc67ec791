//! One image file: decodes a PNG or JPEG into one 8-bit colour plane of the expected size, and refuses everything doubtful.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The longest side of an image that is decoded, in pixels. It is checked in the header, before memory is allocated.
const MAX_SIDE_PIXELS: u32 = 8192;
/// The largest file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 20;

/// An image file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ImageError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: ImageProblem,
}

/// What is wrong with an image file.
#[derive(Debug, thiserror::Error)]
pub enum ImageProblem {
    /// The file does not exist or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The file is too large.
    #[error("has {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooManyBytes {
        /// The size of the file.
        bytes: u64,
    },
    /// The file has no bytes.
    #[error("is empty")]
    Empty,
    /// The file is neither PNG nor JPEG.
    #[error("is neither a PNG nor a JPEG file")]
    UnknownFormat,
    /// The content is truncated, corrupt, or of an unsupported kind.
    #[error("is damaged or truncated: {0}")]
    Damaged(String),
    /// The decoder panicked.
    #[error("made the decoder panic; see the message before")]
    Panicked,
    /// A side is too long.
    #[error("is {width} x {height} pixels; no side may be longer than {MAX_SIDE_PIXELS}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The size is not the expected one.
    #[error("is {width} x {height} pixels, but {expected} x {expected} are expected (image_size)")]
    WrongSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The expected side in pixels.
        expected: u32,
    },
    /// The image is smaller than expected; images are shrunk, never enlarged.
    #[error("is {width} x {height} pixels, smaller than the {expected} x {expected} expected (image_size)")]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The expected side in pixels.
        expected: u32,
    },
}

impl ImageProblem {
    /// Whether the next try on the same machine would meet it again. A fault of a disk or of a network may pass.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory
            ),
            Self::TooManyBytes { .. }
            | Self::Empty
            | Self::UnknownFormat
            | Self::Damaged(_)
            | Self::Panicked
            | Self::TooLarge { .. }
            | Self::WrongSize { .. }
            | Self::TooSmall { .. } => true,
        }
    }
}

/// The formats of image files, told apart by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
}

impl Format {
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, ImageProblem> {
        match bytes {
            [] => Err(ImageProblem::Empty),
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(Self::Png),
            _ if bytes.starts_with(b"\xff\xd8\xff") => Ok(Self::Jpeg),
            _ => Err(ImageProblem::UnknownFormat),
        }
    }

    pub(crate) fn jpeg_options() -> DecoderOptions {
        DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
    }
}

/// A colour plane of an image. Each is in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Microtubules.
    Red,
    /// The protein.
    Green,
    /// The nucleus.
    Blue,
}

impl Colour {
    /// All planes, in the order of a model's channels.
    pub const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    /// The colour in file names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
        }
    }
}

/// How an image gets the expected size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// It must have that size.
    Exact,
    /// A larger image is shrunk by averaging areas, like OpenCV's INTER_AREA; a smaller one is refused.
    Area,
}

/// Reads a PNG or JPEG file into `plane`, `size` x `size` pixels of 8 bits, row by row.
///
/// A colour image gives the plane of `colour`, a grey image itself. Transparency is ignored. Of 16-bit samples the upper 8 bits
/// are used; samples of fewer than 8 bits are scaled to 0..=255. `plane` must have `size * size` bytes.
///
/// # Errors
/// When the file cannot be read, is damaged, or has another size than `resize` allows. The content of `plane` is then
/// unspecified.
pub fn read_plane(path: &Path, colour: Colour, size: u32, resize: Resize, plane: &mut [u8]) -> Result<(), ImageError> {
    debug_assert_eq!(plane.len(), size as usize * size as usize);
    let decoded = read_file(path).and_then(|bytes| decode_plane(&bytes, colour, size, resize, plane));
    decoded.map_err(|problem| ImageError { path: path.to_owned(), problem })
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ImageProblem> {
    let file = File::open(path).map_err(ImageProblem::Unreadable)?;
    let bytes = file.metadata().map_err(ImageProblem::Unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(ImageProblem::TooManyBytes { bytes });
    }
    let mut content = Vec::with_capacity(bytes as usize + 1);
    // The limit also holds for files that grow, and for devices without a length.
    file.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(ImageProblem::Unreadable)?;
    Ok(content)
}

/// Decodes a file's `bytes` like [`read_plane`].
///
/// # Errors
/// As [`read_plane`].
pub fn decode_plane(
    bytes: &[u8],
    colour: Colour,
    size: u32,
    resize: Resize,
    plane: &mut [u8],
) -> Result<(), ImageProblem> {
    match Format::of(bytes)? {
        Format::Png => decode_png(bytes, colour, size, resize, plane),
        Format::Jpeg => decode_jpeg(bytes, colour, size, resize, plane),
    }
}

fn decode_png(bytes: &[u8], colour: Colour, size: u32, resize: Resize, plane: &mut [u8]) -> Result<(), ImageProblem> {
    let damaged = |error: png::DecodingError| ImageProblem::Damaged(error.to_string());
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(damaged)?.size();
    check_size(width, height, size, resize)?;
    // The largest image that `check_size` allows, at 8 bytes per pixel.
    decoder.set_limits(png::Limits { bytes: 8 * MAX_SIDE_PIXELS as usize * MAX_SIDE_PIXELS as usize });
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (kind, _) = reader.output_color_type();
    if kind == png::ColorType::Grayscale && (width, height) == (size, size) {
        reader.next_frame(plane).map_err(damaged)?;
        return reader.finish().map_err(damaged);
    }
    let channels = kind.samples();
    let mut pixels = vec![0; width as usize * height as usize * channels];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    fit_plane(&pixels, channels, colour, [width, height], size, plane);
    Ok(())
}

fn decode_jpeg(bytes: &[u8], colour: Colour, size: u32, resize: Resize, plane: &mut [u8]) -> Result<(), ImageProblem> {
    let damaged = |error: zune_jpeg::errors::DecodeErrors| ImageProblem::Damaged(format!("{error:?}"));
    let options = Format::jpeg_options();
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    if !has_jpeg_end(bytes) {
        return Err(ImageProblem::Damaged("the end of the image is missing".to_owned()));
    }
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    check_size(width, height, size, resize)?;
    let grey = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::LumaA));
    let (space, channels) = if grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let mut pixels = vec![0; width as usize * height as usize * channels];
    decoder.decode_into(&mut pixels).map_err(damaged)?;
    fit_plane(&pixels, channels, colour, [width, height], size, plane);
    Ok(())
}

/// Whether an end-of-image marker follows the last scan of a JPEG. Without one the decoder would fill in the rest. Neither
/// marker occurs inside a scan.
pub(crate) fn has_jpeg_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    let last = |marker| bytes.windows(2).rposition(|pair| pair == marker);
    last(END_OF_IMAGE) > last(START_OF_SCAN)
}

pub(crate) fn check_size(width: u32, height: u32, expected: u32, resize: Resize) -> Result<(), ImageProblem> {
    if width > MAX_SIDE_PIXELS || height > MAX_SIDE_PIXELS {
        return Err(ImageProblem::TooLarge { width, height });
    }
    match resize {
        Resize::Exact if (width, height) != (expected, expected) => {
            Err(ImageProblem::WrongSize { width, height, expected })
        }
        Resize::Area if width < expected || height < expected => {
            Err(ImageProblem::TooSmall { width, height, expected })
        }
        _ => Ok(()),
    }
}

/// Copies one channel of interleaved pixels and shrinks it to `size` x `size`.
fn fit_plane(pixels: &[u8], channels: usize, colour: Colour, sides: [u32; 2], size: u32, plane: &mut [u8]) {
    // One or two channels are grey, or grey and transparency: every colour is the grey.
    let channel = if channels < 3 { 0 } else { colour as usize };
    let picked = pixels.iter().skip(channel).step_by(channels);
    if sides == [size, size] {
        for (to, &from) in plane.iter_mut().zip(picked) {
            *to = from;
        }
        return;
    }
    if channels == 1 {
        shrink(pixels, sides, size, plane);
    } else {
        shrink(&picked.copied().collect::<Vec<_>>(), sides, size, plane);
    }
}

/// The weight of a source pixel in a target pixel, along one side.
struct Share {
    target: usize,
    source: usize,
    weight: f32,
}

/// The source pixels that each target pixel covers, with their weights (OpenCV's `computeResizeAreaTab`).
fn shares(source_side: u32, target_side: u32) -> Vec<Share> {
    let scale = f64::from(source_side) / f64::from(target_side);
    let mut shares = Vec::new();
    for target in 0..target_side as usize {
        let start = target as f64 * scale;
        let end = start + scale;
        let cell = scale.min(f64::from(source_side) - start);
        let last_whole = (end.floor() as usize).min(source_side as usize - 1);
        let first_whole = (start.ceil() as usize).min(last_whole);
        // Anything below a thousandth of a pixel is a rounding error.
        if first_whole as f64 - start > 1e-3 {
            let weight = ((first_whole as f64 - start) / cell) as f32;
            shares.push(Share { target, source: first_whole - 1, weight });
        }
        for source in first_whole..last_whole {
            shares.push(Share { target, source, weight: (1.0 / cell) as f32 });
        }
        if end - last_whole as f64 > 1e-3 {
            let weight = ((end - last_whole as f64).min(1.0).min(cell) / cell) as f32;
            shares.push(Share { target, source: last_whole, weight });
        }
    }
    shares
}

/// Shrinks a plane: each target pixel is the mean over the area that it covers.
fn shrink(source: &[u8], [width, height]: [u32; 2], size: u32, target: &mut [u8]) {
    let (across, down) = (shares(width, size), shares(height, size));
    let (width, size) = (width as usize, size as usize);
    let mut row = vec![0.0f32; size];
    let mut sums = vec![0.0f32; size];
    let mut current = 0;
    for share in &down {
        if share.target != current {
            round_row(&sums, &mut target[current * size..][..size]);
            sums.fill(0.0);
            current = share.target;
        }
        let pixels = &source[share.source * width..][..width];
        row.fill(0.0);
        for part in &across {
            row[part.target] += f32::from(pixels[part.source]) * part.weight;
        }
        for (sum, value) in sums.iter_mut().zip(&row) {
            *sum += value * share.weight;
        }
    }
    round_row(&sums, &mut target[current * size..][..size]);
}

fn round_row(sums: &[f32], target: &mut [u8]) {
    for (to, &from) in target.iter_mut().zip(sums) {
        *to = from.round_ties_even() as u8;
    }
}
