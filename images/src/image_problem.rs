//! What is wrong with an image file.

use std::io;
use std::mem::Discriminant;
use std::path::PathBuf;

/// The longest side of an image that is decoded, in pixels. It is checked in the header, before memory is allocated.
pub(crate) const MAX_SIDE_PIXELS: u32 = 8192;
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
    /// The file has none of the formats that are read.
    #[error("is no PNG, JPEG, WebP or TIFF file")]
    UnknownFormat,
    /// The file has one of the formats, but of a kind that is not read.
    #[error("is of a kind that is not read: {0}")]
    UnknownKind(String),
    /// The content is truncated or corrupt.
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
    /// The image is smaller than expected, and is enlarged by bilinear interpolation only.
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

/// What problems of the same cause have in common, whatever their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind(Discriminant<ImageProblem>, Option<io::ErrorKind>);

impl ImageProblem {
    /// The kind of the problem.
    pub fn kind(&self) -> ProblemKind {
        let error = match self {
            Self::Unreadable(error) => Some(error.kind()),
            _ => None,
        };
        ProblemKind(std::mem::discriminant(self), error)
    }

    /// The file is cut off.
    pub(crate) fn missing_end() -> Self {
        Self::Damaged("the end of the image is missing".to_owned())
    }

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
            | Self::UnknownKind(_)
            | Self::Damaged(_)
            | Self::Panicked
            | Self::TooLarge { .. }
            | Self::WrongSize { .. }
            | Self::TooSmall { .. } => true,
        }
    }
}
