//! numpy's legacy `RandomState`, as far as folds need it.
//!
//! It is for the folds alone, which must equal Python's. Source of the generator: Matsumoto and Nishimura, "Mersenne
//! Twister" (1998), mt19937ar.c; of the draws: numpy/random/mtrand.pyx.

const STATE_LEN: usize = 624;
const SHIFT: usize = 397;

/// The state of a Mersenne Twister, seeded and read like `numpy.random.RandomState(seed)`.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; STATE_LEN],
    /// The index of the next word; `STATE_LEN` when all words are used.
    next: usize,
}

impl RandomState {
    /// The generator in the state of `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> RandomState {
        let mut words = [0; STATE_LEN];
        let mut word = seed;
        words[0] = word;
        for (position, slot) in words.iter_mut().enumerate().skip(1) {
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(position as u32);
            *slot = word;
        }
        RandomState { words, next: STATE_LEN }
    }

    /// A number in `0..=max`, uniform: `randint(0, max + 1)`, which is also `choice(max + 1)`.
    ///
    /// Draws words until the low bits of one are at most `max`; draws none if `max` is 0.
    pub fn at_most(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let number = self.next_u32() & mask;
            if number <= max {
                return number;
            }
        }
    }

    /// The numbers `0..count` in random order: `permutation(count)`, which is `shuffle(arange(count))`.
    pub fn permutation(&mut self, count: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..count).collect();
        self.shuffle(&mut numbers);
        numbers
    }

    /// Puts `items`, at most 2^32 of them, in random order: `shuffle(items)`. numpy shuffles the rows of a matrix alike.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.at_most(last as u32);
            items.swap(last, other as usize);
        }
    }

    /// The next 32 random bits.
    fn next_u32(&mut self) -> u32 {
        if self.next == STATE_LEN {
            self.twist();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for position in 0..STATE_LEN {
            let high = self.words[position] & 0x8000_0000;
            let low = self.words[(position + 1) % STATE_LEN] & 0x7fff_ffff;
            let joined = high | low;
            let twisted = (joined >> 1) ^ if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[position] = self.words[(position + SHIFT) % STATE_LEN] ^ twisted;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_word_is_that_of_the_standard() {
        // ISO C++, [rand.predef]: the 10000th invocation of a default-constructed mt19937 (seed 5489).
        let mut random = RandomState::new(5489);
        let word = (0..10_000).map(|_| random.next_u32()).last();
        assert_eq!(word, Some(4_123_659_995));
    }

    #[test]
    fn no_choice_draws_no_word() {
        let mut random = RandomState::new(42);
        let mut same = random.clone();
        assert_eq!(random.at_most(0), 0);
        assert_eq!(random.permutation(1), [0]);
        assert_eq!(random.permutation(0), [0_u32; 0]);
        assert_eq!(random.next_u32(), same.next_u32());
    }

    #[test]
    fn the_widest_range_takes_every_word() {
        let mut random = RandomState::new(7);
        let mut same = random.clone();
        assert_eq!(random.at_most(u32::MAX), same.next_u32());
    }
}
