//! Images for tests.

use std::path::Path;

use fivefold_common::ids::Digest;

use crate::identity::Identity;
use crate::stamp::SourceStamp;

/// An image of smooth shapes under noise: `channels` planes of `side` x `side` bytes. Each seed has another one.
pub(crate) fn image(seed: usize, channels: usize, side: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 60) as usize
    };
    (0..channels * side * side).map(|place| (place / side + 3 * (place % side) / 2 + noise()) as u8).collect()
}

/// The identity of images of three planes of `side` x `side` bytes.
pub(crate) fn identity(side: usize) -> Identity {
    Identity { image_size: side as u32, channels: 3, decoding: "exact".to_owned() }
}

/// A stamp; each seed has another one.
pub(crate) fn stamp(seed: usize) -> SourceStamp {
    SourceStamp::from_bytes(*Digest::of(&seed.to_le_bytes()).as_bytes())
}

/// The names of the files in a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
