//! Stored specs of this version, an older and a newer one. `fixtures/spec-0001*.json` were written by version 0.1.0 and
//! must never be changed: databases and checkpoints hold such text.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use fivefold_common::spec::{JobSetSpec, Loss, Optimizer, SpecOverrides};

const FIRST: &str = include_str!("fixtures/spec-0001.json");
const FIRST_DEFAULTS: &str = include_str!("fixtures/spec-0001-defaults.json");
/// `FIRST` with two keys that this version does not know.
const NEWER: &str = include_str!("fixtures/spec-newer.json");
/// `FIRST` as written before `keep_last` and `keep_best` existed.
const OLDER: &str = include_str!("fixtures/spec-older.json");

fn read(text: &str) -> JobSetSpec {
    JobSetSpec::from_stored_json(text).unwrap()
}

#[test]
fn the_first_version_is_read_and_its_keys_are_written_alike() {
    let spec = read(FIRST);
    assert_eq!((spec.loss, spec.optimizer, spec.seed), (Loss::SoftF1, Optimizer::Sgd, u64::MAX));
    assert_eq!((spec.fold.as_slice(), spec.min_learning_rate), ([0, 3].as_slice(), 2.5e-7));
    // Later keys are behind those of the first version.
    let without_brace = FIRST.strip_suffix('}').unwrap();
    assert!(spec.to_stored_json().starts_with(without_brace), "{}", spec.to_stored_json());
    assert_eq!(read(&spec.to_stored_json()), spec);
}

#[test]
fn unknown_keys_of_a_newer_version_are_ignored() {
    assert_eq!(read(NEWER), read(FIRST));
    assert!(SpecOverrides::from_json(NEWER).is_err(), "a user's file is read strictly");
}

#[test]
fn keys_that_an_older_version_lacked_have_their_first_default() {
    assert_eq!(read(OLDER), JobSetSpec { keep_last: 2, keep_best: 1, ..read(FIRST) });
    // If this fails, a default was changed: give the key an `absent` with its first default.
    assert_eq!(read("{}"), read(FIRST_DEFAULTS));
}

#[test]
fn unknown_words_and_wrong_types_are_named() {
    for (from, to, wanted) in [
        (
            "\"soft_f1\"",
            "\"hinge\"",
            "stored spec: unknown loss \"hinge\": expected one of bce, soft_f1, focal, cross_entropy at line 1",
        ),
        ("\"tta\":3", "\"tta\":\"3\"", "stored spec: invalid type: string \"3\", expected u32 at line 1"),
        ("{", "[", "stored spec: "),
    ] {
        let message = JobSetSpec::from_stored_json(&FIRST.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(message.starts_with(wanted), "{message}");
    }
}
