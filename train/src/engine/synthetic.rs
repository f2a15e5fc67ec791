//! Batches that come from no file, for measurements and checks.

use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::JobSetSpec;
use tch::Tensor;

/// Random images and targets.
pub struct SyntheticBatch {
    /// u8 `[N, C, S, S]` on the CPU.
    pub images: Tensor,
    /// f32 `[N, classes]` on the CPU, 0 or 1.
    pub targets: Tensor,
}

impl SyntheticBatch {
    /// The `number`th batch of `spec.batch_size` images: random blocks of 8 x 8 pixels, each label with probability 1/16.
    pub fn new(spec: &JobSetSpec, number: u32) -> Self {
        let mut stream = Stream::new(spec.seed, 0, number.into(), Purpose::Synthetic, 0);
        let (count, size) = (i64::from(spec.batch_size), i64::from(spec.image_size));
        let (side, channels) = ((size + 7) / 8, spec.channel_count() as i64);
        let blocks: Vec<u8> = (0..count * channels * side * side).map(|_| stream.below(256) as u8).collect();
        let blocks = Tensor::from_slice(&blocks).view([count, channels, side, side]);
        let images = blocks.repeat_interleave_self_int(8, 2, None).repeat_interleave_self_int(8, 3, None);
        let images = images.narrow(2, 0, size).narrow(3, 0, size).contiguous();
        let labels = spec.class_count() as i64;
        let targets: Vec<f32> = (0..count * labels).map(|_| f32::from(u8::from(stream.below(16) == 0))).collect();
        Self { images, targets: Tensor::from_slice(&targets).view([count, labels]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_batches_have_their_shapes_and_repeat() {
        let spec = JobSetSpec { image_size: 20, batch_size: 3, ..JobSetSpec::default() };
        let batch = SyntheticBatch::new(&spec, 1);
        assert_eq!((batch.images.size(), batch.images.kind()), (vec![3, 3, 20, 20], tch::Kind::Uint8));
        assert_eq!(batch.targets.size(), [3, 28]);
        assert_eq!(batch.images, SyntheticBatch::new(&spec, 1).images);
        assert_ne!(batch.images, SyntheticBatch::new(&spec, 2).images);
    }
}
