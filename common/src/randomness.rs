//! Random numbers as a function of (seed, fold, epoch, purpose, index) and a counter: they do not depend on global state, on
//! threads or on the order of calls.

/// The purpose of a stream of random numbers. Streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights of a model; the index counts parameters.
    Weights = 1,
    /// The training rows of an epoch.
    TrainSample = 2,
    /// The validation rows of an epoch.
    ValidSample = 3,
    /// The augmentation of a training image; the index is its place in the epoch.
    Augmentation = 4,
    /// A pass of test-time augmentation; the index is the image's place in the table, the epoch the pass.
    TestTime = 5,
    /// Synthetic images; the index is the number of the image.
    Synthetic = 6,
    /// A round of a paired test; the index is its number.
    PairedTest = 7,
}

/// One stream of random numbers.
///
/// The generator is SplitMix64 (Steele, Lea and Flood 2014), which passes BigCrush. Its initial state is derived from the
/// key by a chain of its finaliser.
#[derive(Debug, Clone)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The stream of a key.
    pub fn new(seed: u64, fold: u64, epoch: u64, purpose: Purpose, index: u64) -> Self {
        let mut state = finalise(seed.wrapping_add(GOLDEN_GAMMA));
        for part in [fold, epoch, purpose as u64, index] {
            state = finalise(state.wrapping_add(GOLDEN_GAMMA) ^ finalise(part.wrapping_add(GOLDEN_GAMMA)));
        }
        Self { state }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        finalise(self.state)
    }

    /// A number in [0, 1), uniform, with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number in [low, high), uniform.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number in 0..bound, uniform and without bias (Lemire 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if (product as u64) >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: Stafford's variant 13 of MurmurHash3's finaliser.
fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_stream_and_neighbours_differ() {
        let first = |fold, epoch, purpose, index| Stream::new(42, fold, epoch, purpose, index).bits();
        let mut seen = std::collections::HashSet::new();
        for fold in 0..5 {
            for epoch in 0..20 {
                for purpose in [Purpose::Weights, Purpose::TrainSample, Purpose::Augmentation] {
                    for index in 0..50 {
                        assert!(seen.insert(first(fold, epoch, purpose, index)));
                        assert_eq!(first(fold, epoch, purpose, index), first(fold, epoch, purpose, index));
                    }
                }
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        let mut stream = Stream::new(1, 2, 3, Purpose::Weights, 4);
        let n = 200_000;
        let (mut sum, mut squares, mut normals, mut normal_squares, mut counts) = (0.0, 0.0, 0.0, 0.0, [0u32; 7]);
        for _ in 0..n {
            let unit = stream.unit();
            let normal = stream.normal();
            sum += unit;
            squares += unit * unit;
            normals += normal;
            normal_squares += normal * normal;
            counts[stream.below(7) as usize] += 1;
        }
        let n = f64::from(n);
        assert!((sum / n - 0.5).abs() < 0.003);
        assert!((squares / n - 1.0 / 3.0).abs() < 0.003);
        assert!((normals / n).abs() < 0.01);
        assert!((normal_squares / n - 1.0).abs() < 0.02);
        assert!(counts.iter().all(|&count| (f64::from(count) / n - 1.0 / 7.0).abs() < 0.004));
    }
}
