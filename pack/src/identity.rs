//! What the images of a pack have in common, and what one of them is called.

use std::fmt;

use fivefold_common::ids::Digest;
use serde::{Deserialize, Serialize};

/// The longest side of a packed image in pixels.
pub const MAX_SIDE_PIXELS: u32 = 8192;
/// The most channels of a packed image.
pub const MAX_CHANNELS: u16 = 16;

/// How images were decoded. Images of another identity are other pixels, so they are never mixed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The side of the images in pixels.
    pub image_size: u32,
    /// The number of planes of an image.
    pub channels: u16,
    /// Everything else that decides on the pixels: files of an image, rules of resizing, version of the decoder.
    pub decoding: String,
}

/// Settings that no pack can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "images of {channels} channels and {image_size} x {image_size} pixels cannot be packed: 1 to {MAX_CHANNELS} channels \
     and 1 to {MAX_SIDE_PIXELS} pixels can"
)]
pub struct IdentityError {
    image_size: u32,
    channels: u16,
}

impl Identity {
    /// Checks the limits.
    ///
    /// # Errors
    /// When the images have no pixels or too many.
    pub fn check(&self) -> Result<(), IdentityError> {
        let Self { image_size, channels, .. } = *self;
        let is_possible = (1..=MAX_SIDE_PIXELS).contains(&image_size) && (1..=MAX_CHANNELS).contains(&channels);
        if is_possible { Ok(()) } else { Err(IdentityError { image_size, channels }) }
    }

    /// The size of a decoded image in bytes.
    pub fn image_bytes(&self) -> usize {
        usize::from(self.channels) * self.side() * self.side()
    }

    /// The side of an image in pixels.
    pub fn side(&self) -> usize {
        self.image_size as usize
    }

    /// A digest of all settings.
    pub fn digest(&self) -> Digest {
        let Self { image_size, channels, decoding } = self;
        Digest::of(format!("{image_size} {channels} {decoding}").as_bytes())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image_size, channels, decoding } = self;
        write!(f, "{channels} x {image_size} x {image_size}, {decoding}")
    }
}

/// The name of an image: its list and its id in there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey {
    /// The list, such as `train`.
    pub list: String,
    /// The id.
    pub id: String,
}

impl ImageKey {
    /// The image `id` of `list`.
    pub fn new(list: impl Into<String>, id: impl Into<String>) -> Self {
        Self { list: list.into(), id: id.into() }
    }
}

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.list, self.id)
    }
}
