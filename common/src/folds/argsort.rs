//! `numpy.argsort` with its default kind, ties included, for the sizes of groups.
//!
//! The sort is not stable, so the order of equal keys is that of the implementation: here numpy 2.2.6 with AVX-512, which
//! sorts 64-bit integers with x86-simd-sort (Intel, BSD-3-Clause; after Blacher et al., "Vectorized and
//! performance-portable Quicksort", 2022). Registers of eight lanes become slices of eight elements; every comparison and
//! every store happens in the same order.

use super::std_sort::std_sort;

/// Elements of a register.
const LANES: usize = 8;
/// Elements of the four registers that are partitioned at a time.
const BLOCK: usize = 4 * LANES;
/// Up to so many elements are sorted by a network.
const MOST_IN_NETWORK: usize = 256;

/// The places of `keys` in ascending order of the keys.
pub(super) fn argsort(keys: &[u32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..keys.len()).collect();
    if keys.len() > 1 {
        quicksort(keys, &mut places, 2 * keys.len().ilog2());
    }
    places
}

fn quicksort(keys: &[u32], places: &mut [usize], depth_left: u32) {
    if depth_left == 0 {
        std_sort(places, |&a, &b| keys[a] < keys[b]);
        return;
    }
    if places.len() <= MOST_IN_NETWORK {
        bitonic_sort(keys, places);
        return;
    }
    let pivot = median_of_eight(keys, places);
    let (smallest, largest) = min_max(keys, places);
    let middle = partition(keys, places, pivot);
    let (left, right) = places.split_at_mut(middle);
    if pivot != smallest {
        quicksort(keys, left, depth_left - 1);
    }
    if pivot != largest {
        quicksort(keys, right, depth_left - 1);
    }
}

/// The bitonic network whose merges begin by comparing mirrored elements; equal keys are never exchanged. The elements that
/// pad the last register compare as larger than all others and never move, so those comparisons are left out.
fn bitonic_sort(keys: &[u32], places: &mut [usize]) {
    let padded_len = places.len().next_power_of_two();
    let mut compare_exchange = |low: usize, high: usize| {
        if high < places.len() && keys[places[low]] > keys[places[high]] {
            places.swap(low, high);
        }
    };
    let mut block = 2;
    while block <= padded_len {
        for start in (0..padded_len).step_by(block) {
            for offset in 0..block / 2 {
                compare_exchange(start + offset, start + block - 1 - offset);
            }
        }
        let mut distance = block / 4;
        while distance > 0 {
            for start in (0..padded_len).step_by(2 * distance) {
                for low in start..start + distance {
                    compare_exchange(low, low + distance);
                }
            }
            distance /= 2;
        }
        block *= 2;
    }
}

/// The upper median of eight evenly spaced keys.
fn median_of_eight(keys: &[u32], places: &[usize]) -> u32 {
    let step = (places.len() - 1) / LANES;
    let mut samples: [u32; LANES] = std::array::from_fn(|sample| keys[places[(sample + 1) * step]]);
    samples.sort_unstable();
    samples[LANES / 2]
}

fn min_max(keys: &[u32], places: &[usize]) -> (u32, u32) {
    places.iter().fold((u32::MAX, 0), |(min, max), &place| (min.min(keys[place]), max.max(keys[place])))
}

/// Puts the places of keys below `pivot` first; returns their number. There are more than [`MOST_IN_NETWORK`] places.
///
/// The first and the last block are set aside, which leaves a gap at either end. Then the next block is taken from the
/// side with the smaller gap, and its registers are written out to both gaps.
fn partition(keys: &[u32], places: &mut [usize], pivot: u32) -> usize {
    let (mut left, mut right) = (0, places.len());
    for _ in 0..places.len() % BLOCK {
        if keys[places[left]] < pivot {
            left += 1;
        } else {
            right -= 1;
            places.swap(left, right);
        }
    }
    let mut stored = Stored { left, right };
    let (first, last) = (block_at(places, left), block_at(places, right - BLOCK));
    (left, right) = (left + BLOCK, right - BLOCK);
    while left < right {
        let block = if stored.right - right < left - stored.left {
            right -= BLOCK;
            block_at(places, right)
        } else {
            left += BLOCK;
            block_at(places, left - BLOCK)
        };
        stored.store(keys, places, pivot, &block);
    }
    stored.store(keys, places, pivot, &first);
    stored.store(keys, places, pivot, &last);
    stored.left
}

fn block_at(places: &[usize], start: usize) -> [usize; BLOCK] {
    std::array::from_fn(|lane| places[start + lane])
}

/// The inner ends of what a partition has written: below the pivot up to `left`, not below it from `right`.
struct Stored {
    left: usize,
    right: usize,
}

impl Stored {
    fn store(&mut self, keys: &[u32], places: &mut [usize], pivot: u32, block: &[usize; BLOCK]) {
        for register in block.chunks_exact(LANES) {
            self.right -= register.iter().filter(|&&place| keys[place] >= pivot).count();
            let mut right = self.right;
            for &place in register {
                let end = if keys[place] < pivot { &mut self.left } else { &mut right };
                places[*end] = place;
                *end += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_every_length_and_distribution() {
        for len in (0..600).chain([5000]) {
            for distinct in [1, 2, 3, 50, 1 << 20] {
                let keys: Vec<u32> =
                    (0..len).map(|i: u32| i.wrapping_mul(2_654_435_761) >> 7).map(|key| key % distinct).collect();
                let places = argsort(&keys);
                assert!(places.is_sorted_by_key(|&place| keys[place]), "{len} keys of {distinct} values");
                let mut all = places;
                all.sort_unstable();
                assert!(all.into_iter().eq(0..keys.len()));
            }
        }
    }
}
