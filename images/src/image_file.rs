//! One image file: decodes it into 8-bit planes of the expected size, and refuses everything doubtful.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::formats::{Format, Pixels, PngImage};
use crate::image_problem::{ImageError, ImageProblem, MAX_FILE_BYTES};
use crate::resampling::resample;
use crate::target::Target;

/// What is taken from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The red plane of a colour image, or a grey image itself.
    Red,
    /// The same with the green plane.
    Green,
    /// The same with the blue plane.
    Blue,
    /// A grey image itself, or the luma of a colour image (ITU-R BT.601, as Pillow's mode L).
    Grey,
    /// The red, the green and the blue plane; a grey image three times.
    Rgb,
}

impl Taken {
    /// What is taken from the file of a channel, by its name: `red`, `green` or `blue` of a colour image, else its grey.
    pub fn of_channel(name: &str) -> Self {
        match name {
            "red" => Self::Red,
            "green" => Self::Green,
            "blue" => Self::Blue,
            _ => Self::Grey,
        }
    }

    /// The number of planes.
    pub fn plane_count(self) -> usize {
        match self {
            Self::Red | Self::Green | Self::Blue | Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// Reads a PNG, JPEG, WebP or TIFF file into `planes`, each of `size` x `size` pixels of 8 bits, row by row.
///
/// Transparency is ignored. Of 16-bit samples the upper 8 bits are used; samples of fewer than 8 bits are scaled to 0..=255.
/// `planes` must have `size * size` bytes for each plane of `taken`.
///
/// # Errors
/// When the file cannot be read, is damaged, or cannot get the size of the target. The content of `planes` is then unspecified.
pub fn read_planes(path: &Path, taken: Taken, target: &Target, planes: &mut [u8]) -> Result<(), ImageError> {
    let decoded = read_file(path).and_then(|bytes| decode_planes(&bytes, taken, target, planes));
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

/// Decodes a file's `bytes` like [`read_planes`].
///
/// # Errors
/// As [`read_planes`].
pub fn decode_planes(bytes: &[u8], taken: Taken, target: &Target, planes: &mut [u8]) -> Result<(), ImageProblem> {
    debug_assert_eq!(planes.len(), taken.plane_count() * target.size as usize * target.size as usize);
    let format = Format::of(bytes)?;
    let check = |width, height| target.check(width, height);
    if format != Format::Png {
        return fit_planes(format.decode(bytes, check)?, taken, target, planes);
    }
    let image = PngImage::open(bytes, check)?;
    if image.is_grey() && image.sides == [target.size; 2] && taken.plane_count() == 1 {
        return image.read_into(planes);
    }
    fit_planes(image.pixels()?, taken, target, planes)
}

/// Takes planes of an image and gives them the size of the target.
fn fit_planes(pixels: Pixels, taken: Taken, target: &Target, planes: &mut [u8]) -> Result<(), ImageProblem> {
    let plane_bytes = target.size as usize * target.size as usize;
    let sources: &[Taken] = match taken {
        Taken::Rgb => &[Taken::Red, Taken::Green, Taken::Blue],
        _ => &[taken],
    };
    for (&source, plane) in sources.iter().zip(planes.chunks_exact_mut(plane_bytes)) {
        if pixels.sides == [target.size; 2] {
            copy_plane(&pixels, source, plane.iter_mut());
        } else if pixels.channels == 1 {
            resample(&pixels.samples, pixels.sides, target, plane);
        } else {
            let mut picked = vec![0; pixels.samples.len() / pixels.channels];
            copy_plane(&pixels, source, picked.iter_mut());
            resample(&picked, pixels.sides, target, plane);
        }
    }
    Ok(())
}

/// Copies one plane of interleaved samples.
fn copy_plane<'a>(pixels: &Pixels, taken: Taken, plane: impl Iterator<Item = &'a mut u8>) {
    let Pixels { channels, samples, .. } = pixels;
    if *channels >= 3 && taken == Taken::Grey {
        for (to, from) in plane.zip(samples.chunks_exact(*channels)) {
            *to = luma(from[0], from[1], from[2]);
        }
        return;
    }
    // One or two channels are grey, or grey and transparency: every colour is the grey.
    let channel = match taken {
        Taken::Green if *channels >= 3 => 1,
        Taken::Blue if *channels >= 3 => 2,
        _ => 0,
    };
    for (to, &from) in plane.zip(samples.iter().skip(channel).step_by(*channels)) {
        *to = from;
    }
}

/// Pillow's integer arithmetic for 0.299 R + 0.587 G + 0.114 B.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}
