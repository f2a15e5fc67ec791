//! Packs: data sets of decoded images, compressed, so that each image is decoded from its source once.
//!
//! A pack is a folder of [segments](segment), each with some images and their index. A segment is sealed when it is
//! whole, is never changed, and is called by the digest of its content. One process at a time adds segments of one
//! [`Identity`]; any number read them. A record holds what decoding gives, bit for bit. It counts only while its source
//! has the [stamp](SourceStamp) from the time of its decoding; otherwise, and where it is damaged, the image is decoded
//! again.
//!
//! [`Build`] packs a data set at once. A [`Cache`] packs images as they are read, within a limit of disk space.
//! [`PushedImages`] are read from segments that are fetched meanwhile; an [`ImageIndex`] says which those are.
#![warn(missing_docs)]

pub mod build;
pub mod cache;
pub mod codec;
mod eviction;
pub mod identity;
pub mod image_index;
mod in_order;
pub mod index;
mod lock;
pub mod pack;
pub mod pushed_images;
mod reservation;
pub mod segment;
pub mod segment_writer;
pub mod stamp;
pub mod survey;
#[cfg(test)]
mod test_images;

pub use build::{Build, BuildError, Built, Progress};
pub use cache::{Buffers, Cache, CacheLimit};
pub use identity::{Identity, ImageKey};
pub use image_index::{ImageIndex, IndexError, IndexedSegment};
pub use pushed_images::{PushedImages, PushedImagesError};
pub use segment::{Segment, SegmentError, SegmentProblem};
pub use segment_writer::SEGMENT_BYTES;
pub use stamp::SourceStamp;
pub use survey::{Summary, Verified, remove_damaged, summarise, verify};
