//! Folds against iterative-stratification 0.1.9: `tests/golden/folds.py` made the fixture.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};

use fivefold_common::folds::{RowOrder, multilabel_stratified_folds};
use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::random_state::RandomState;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Fixture {
    draws: Vec<Draws>,
    lists: Vec<List>,
}

#[derive(Deserialize)]
struct Draws {
    seed: u32,
    choices: Vec<Choices>,
    permutation: Vec<u32>,
}

#[derive(Deserialize)]
struct Choices {
    count: u32,
    numbers: Vec<u32>,
}

#[derive(Deserialize)]
struct List {
    name: String,
    #[serde(flatten)]
    rows: Rows,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rows {
    /// The `Target` of each row, with commas between.
    Targets(String),
    /// A real list's file name.
    File(String),
}

#[derive(Deserialize)]
struct Case {
    fold_count: usize,
    seed: u32,
    shuffle: bool,
    /// The folds of up to 20 rows as digits: says where to look when the digest differs.
    first_folds: String,
    sha256: String,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/folds.json")).unwrap()
}

fn data_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

/// The rows of a real list; None, with a message, where it is absent.
fn read_list(name: &str) -> Option<Vec<Labels>> {
    let path = data_folder().join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    let mut reader = csv::Reader::from_path(path).unwrap();
    Some(reader.records().map(|record| record.unwrap()[1].parse().unwrap()).collect())
}

fn sha256(folds: &[u8]) -> String {
    Sha256::digest(folds).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_folds(folds: &[u8]) -> String {
    folds.iter().take(20).map(|fold| fold.to_string()).collect()
}

fn check_cases(list: &List, rows: &[Labels]) {
    assert!(!list.cases.is_empty(), "{}", list.name);
    for Case { fold_count, seed, shuffle, first_folds: expected_first, sha256: expected } in &list.cases {
        let order = if *shuffle { RowOrder::Shuffled } else { RowOrder::AsGiven };
        let folds = multilabel_stratified_folds(rows, LABEL_COUNT, *fold_count, *seed, order).unwrap();
        let case = format!("{}: {fold_count} folds, seed {seed}, {order:?}", list.name);
        assert_eq!(first_folds(&folds), *expected_first, "{case}");
        assert_eq!(sha256(&folds), *expected, "{case}");
    }
}

#[test]
fn small_lists_fold_as_in_python() {
    let mut lists = 0;
    for list in &fixture().lists {
        if let Rows::Targets(targets) = &list.rows {
            let rows: Vec<Labels> = targets.split(',').map(|target| target.parse().unwrap()).collect();
            check_cases(list, &rows);
            lists += 1;
        }
    }
    assert!(lists >= 10);
}

#[test]
fn real_lists_fold_as_in_python() {
    for list in &fixture().lists {
        if let Rows::File(name) = &list.rows
            && let Some(rows) = read_list(name)
        {
            check_cases(list, &rows);
        }
    }
}

#[test]
fn the_recipes_own_folds() {
    let folds_of = |rows: &[Labels]| multilabel_stratified_folds(rows, LABEL_COUNT, 5, 42, RowOrder::AsGiven).unwrap();
    if let Some(rows) = read_list("train.csv") {
        let folds = folds_of(&rows);
        let sizes = [0, 1, 2, 3, 4].map(|fold| folds.iter().filter(|&&of_row| of_row == fold).count());
        assert_eq!(sizes, [6194, 6183, 6183, 6252, 6260]);
        assert_eq!(first_folds(&folds), "04234303034034100034");
        assert_eq!(sha256(&folds), "ec5ec1addb31f2ca2511a303271a334ad9acbd82a82f5c13fae927bf337e2a6d");
    }
    if let Some(rows) = read_list("HPAv18RBGY_wodpl.csv") {
        assert_eq!(sha256(&folds_of(&rows)), "ff54c3dbf1266c7504397062757b008ef086d0c55c52b2e8ad6403914333ce44");
    }
}

#[test]
fn a_label_count_above_the_labels_in_use_changes_nothing() {
    let rows: Vec<Labels> = ["0", "1", "0 1", "", "4", "1 4", "0 4"].map(|target| target.parse().unwrap()).into();
    for seed in 0..50 {
        let folds = |label_count| multilabel_stratified_folds(&rows, label_count, 3, seed, RowOrder::Shuffled).unwrap();
        assert_eq!(folds(5), folds(28));
    }
}

#[test]
fn draws_are_those_of_numpy() {
    for Draws { seed, choices, permutation } in fixture().draws {
        let mut random = RandomState::new(seed);
        for Choices { count, numbers } in choices {
            let drawn: Vec<u32> = numbers.iter().map(|_| random.at_most(count - 1)).collect();
            assert_eq!(drawn, numbers, "seed {seed}, choice({count})");
        }
        assert_eq!(RandomState::new(seed).permutation(30), permutation, "seed {seed}");
    }
}
