//! The compression of one image: in each plane every row as its difference from the row above, as PNG's filter Up has
//! it, then zstd. It is exact.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// A higher level decodes more slowly and compresses these differences no better.
const LEVEL: i32 = 1;
/// The logarithm of the size of the table of earlier places. In noise, matches are short and by chance: with this small
/// table few are found, images are decoded up to twice as fast, and are as small or smaller. Flat areas do not need
/// more.
const HASH_LOG: u32 = 8;

/// The largest number of bytes that an image of `image_bytes` bytes is compressed to.
pub fn most_compressed_bytes(image_bytes: usize) -> usize {
    zstd::zstd_safe::compress_bound(image_bytes)
}

/// Compresses images, one after the other.
pub struct Encoder {
    zstd: Compressor<'static>,
    differences: Vec<u8>,
}

impl Encoder {
    /// An encoder with its memory.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> io::Result<Self> {
        let mut zstd = Compressor::new(LEVEL)?;
        zstd.set_parameter(CParameter::HashLog(HASH_LOG))?;
        Ok(Self { zstd, differences: Vec::new() })
    }

    /// Compresses an image of square planes of `side` x `side` bytes, one behind the other and each row by row.
    ///
    /// # Errors
    /// When zstd gets no memory.
    ///
    /// # Panics
    /// When `image` has no whole number of planes.
    pub fn encode(&mut self, image: &[u8], side: usize) -> io::Result<Vec<u8>> {
        assert_eq!(image.len() % (side * side), 0, "{} bytes are no planes of {side} x {side}", image.len());
        self.differences.clear();
        self.differences.reserve(image.len());
        for plane in image.chunks_exact(side * side) {
            self.differences.extend_from_slice(&plane[..side]);
            let above = plane.iter();
            self.differences.extend(plane[side..].iter().zip(above).map(|(value, above)| value.wrapping_sub(*above)));
        }
        self.zstd.compress(&self.differences)
    }
}

/// Decompresses images, one after the other.
#[derive(Default)]
pub struct Decoder {
    zstd: Decompressor<'static>,
    /// The compressed bytes of an image, for readers.
    compressed: Vec<u8>,
}

impl Decoder {
    /// Decompresses what [`Encoder::encode`] returned. `image` has the size of the image in bytes.
    ///
    /// # Errors
    /// When `compressed` is damaged or of an image of another size; the content of `image` is then unspecified.
    pub fn decode(&mut self, compressed: &[u8], side: usize, image: &mut [u8]) -> io::Result<()> {
        let bytes = self.zstd.decompress_to_buffer(compressed, image)?;
        if bytes != image.len() {
            return Err(io::Error::other(format!("{bytes} bytes in place of {}", image.len())));
        }
        for plane in image.chunks_exact_mut(side * side) {
            let mut rows = plane.chunks_exact_mut(side);
            let Some(mut above) = rows.next() else { continue };
            for row in rows {
                for (value, above) in row.iter_mut().zip(above.iter()) {
                    *value = value.wrapping_add(*above);
                }
                above = row;
            }
        }
        Ok(())
    }

    /// Memory for the compressed bytes of the next image.
    pub(crate) fn compressed_mut(&mut self) -> &mut Vec<u8> {
        &mut self.compressed
    }

    /// Decompresses what is in [`compressed_mut`](Decoder::compressed_mut).
    pub(crate) fn decode_read(&mut self, side: usize, image: &mut [u8]) -> io::Result<()> {
        let compressed = std::mem::take(&mut self.compressed);
        let decoded = self.decode(&compressed, side, image);
        self.compressed = compressed;
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_images::image;

    #[test]
    fn images_of_all_sizes_come_back_as_they_were() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::default());
        for side in (1..40).chain([64, 97, 128, 255, 512]) {
            for channels in 1..=4 {
                let original = image(side * 100 + channels, channels, side);
                let compressed = encoder.encode(&original, side).unwrap();
                assert!(compressed.len() <= most_compressed_bytes(original.len()));
                let mut decoded = vec![7; original.len()];
                decoder.decode(&compressed, side, &mut decoded).unwrap();
                assert!(decoded == original, "{channels} x {side}");
            }
        }
    }

    #[test]
    fn extreme_values_come_back_as_they_were() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::default());
        for fill in [[0, 0], [255, 255], [0, 255], [255, 0], [128, 127]] {
            let original: Vec<u8> = (0..3 * 16 * 16).map(|place| fill[(place / 16) % 2]).collect();
            let mut decoded = vec![0; original.len()];
            decoder.decode(&encoder.encode(&original, 16).unwrap(), 16, &mut decoded).unwrap();
            assert_eq!(decoded, original);
        }
    }

    #[test]
    fn other_sizes_and_damaged_bytes_are_refused() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::default());
        let compressed = encoder.encode(&image(1, 3, 16), 16).unwrap();
        assert!(decoder.decode(&compressed, 16, &mut vec![0; 3 * 16 * 16 + 256]).is_err());
        assert!(decoder.decode(&compressed, 16, &mut vec![0; 2 * 16 * 16]).is_err());
        for length in 0..compressed.len() {
            assert!(decoder.decode(&compressed[..length], 16, &mut vec![0; 3 * 16 * 16]).is_err(), "{length}");
        }
        assert!(decoder.decode(&[], 16, &mut vec![0; 3 * 16 * 16]).is_err());
    }
}
