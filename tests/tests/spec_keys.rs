//! Each key of the spec is used: a key that no code reads would be accepted and ignored.

use std::path::Path;

use fivefold_common::spec::KEYS;
use fivefold_tests::sources::{code, sources};

/// Keys that are not read as `spec.KEY`: `name` is for people, `fold` is read by `JobSetSpec::trained_folds`, `classes` by
/// `JobSetSpec::class_names`, and `augmentations` by `JobSetSpec::augmentation_steps`.
const READ_OTHERWISE: [&str; 4] = ["name", "fold", "classes", "augmentations"];

#[test]
fn every_key_is_read() {
    let mut all = String::new();
    for folder in ["common/src", "images/src", "train/src", "worker/src", "coordinator/src"] {
        for (file, text) in sources(folder) {
            // The definition and the conversions of the spec do not count as uses.
            if !file.starts_with(Path::new("common/src/spec")) {
                all += &code(&text);
            }
        }
    }
    for key in KEYS.iter().filter(|key| !READ_OTHERWISE.contains(&key.name)) {
        let read = format!("spec.{}", key.name);
        let is_read = all.match_indices(&read).any(|(at, _)| {
            let next = all[at + read.len()..].chars().next();
            next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
        });
        assert!(is_read, "no code reads {read}: use the key, or remove it from common/src/spec/keys.rs");
    }
}
