//! `kfold`, `skf`, `gkf` and `sgkf` against scikit-learn 1.7.2: `tests/golden/splits.py` made the fixture.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use fivefold_common::folds::{FoldsError, Groups, group_folds, k_folds, stratified_folds, stratified_group_folds};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Fixture {
    whole: Vec<WholeList>,
    random: Vec<RandomList>,
    many_groups: Vec<ManyGroups>,
    real: Vec<RealList>,
}

/// A list whose folds are written out, one digit per row, by method.
#[derive(Deserialize)]
struct WholeList {
    name: String,
    classes: Vec<u32>,
    groups: Vec<String>,
    folds: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RandomList {
    row_count: usize,
    class_count: u32,
    group_count: u32,
    skewed: bool,
    #[serde(flatten)]
    split: Split,
}

#[derive(Deserialize)]
struct ManyGroups {
    group_count: u32,
    largest: u32,
    digest: String,
}

#[derive(Deserialize)]
struct RealList {
    file: String,
    #[serde(flatten)]
    split: Split,
}

#[derive(Debug, Deserialize)]
struct Split {
    fold_count: usize,
    seed: u32,
    /// Of kfold, skf, gkf and sgkf, each without and with a shuffle.
    digests: String,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/splits.json")).unwrap()
}

/// The linear congruential generator of splits.py.
struct Draws(u32);

impl Draws {
    fn below(&mut self, count: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % count
    }

    fn lower_of_two(&mut self, count: u32) -> u32 {
        self.below(count).min(self.below(count))
    }
}

fn digest(folds: Result<Vec<u8>, FoldsError>) -> String {
    folds.map_or("refused".to_owned(), |folds| {
        Sha256::digest(&folds)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    })
}

fn numbered_groups(groups: &[u32]) -> Groups {
    let names: Vec<String> = groups.iter().map(u32::to_string).collect();
    Groups::of_names(names.iter().map(String::as_str))
}

/// Compares eight splits; returns how many of them scikit-learn did not refuse.
fn check(list: &str, classes: &[u32], groups: &Groups, split: &Split) -> usize {
    let &Split { fold_count, seed, .. } = split;
    let shuffles = [None, Some(seed)];
    let splits = [
        shuffles.map(|shuffle_seed| k_folds(classes.len(), fold_count, shuffle_seed)),
        shuffles.map(|shuffle_seed| stratified_folds(classes, fold_count, shuffle_seed)),
        shuffles.map(|shuffle_seed| group_folds(groups, fold_count, shuffle_seed)),
        shuffles.map(|shuffle_seed| stratified_group_folds(classes, groups, fold_count, shuffle_seed)),
    ];
    let made = splits.iter().flatten().filter(|folds| folds.is_ok()).count();
    let digests: Vec<String> = splits.into_iter().flatten().map(digest).collect();
    assert_eq!(digests.join(" "), split.digests, "{list}: {fold_count} folds, seed {seed}");
    made
}

#[test]
fn whole_lists_split_as_in_python() {
    for WholeList { name, classes, groups, folds } in fixture().whole {
        let groups = Groups::of_names(groups.iter().map(String::as_str));
        assert!(folds.len() >= 6, "{name}");
        for (method, expected) in folds {
            let shuffle_seed = method.ends_with(" shuffled").then_some(42);
            let found = match method.trim_end_matches(" shuffled") {
                "kfold" => k_folds(classes.len(), 4, shuffle_seed),
                "skf" => stratified_folds(&classes, 4, shuffle_seed),
                "gkf" => group_folds(&groups, 4, shuffle_seed),
                _ => stratified_group_folds(&classes, &groups, 4, shuffle_seed),
            };
            let found: String = found.unwrap().iter().map(u8::to_string).collect();
            assert_eq!(found, expected, "{name}: {method}");
        }
    }
}

#[test]
fn random_lists_split_as_in_python() {
    let (mut made, mut refused) = (0, 0);
    for (number, list) in (0..).zip(fixture().random) {
        let mut draws = Draws(number);
        let mut draw = |count| if list.skewed { draws.lower_of_two(count) } else { draws.below(count) };
        let (classes, groups): (Vec<u32>, Vec<u32>) =
            (0..list.row_count).map(|_| (draw(list.class_count), draw(list.group_count))).unzip();
        let of_list = check(&format!("random list {number}"), &classes, &numbered_groups(&groups), &list.split);
        made += of_list;
        refused += 8 - of_list;
    }
    println!("{made} splits equal, {refused} lists refused by both");
    assert!(made >= 4000 && refused >= 500, "{made} made, {refused} refused");
}

#[test]
fn many_groups_of_equal_size_split_as_in_python() {
    let lists = fixture().many_groups;
    assert!(lists.len() >= 200);
    for (number, ManyGroups { group_count, largest, digest: expected }) in (0..).zip(lists) {
        let mut draws = Draws(number);
        let groups: Vec<u32> =
            (0..group_count).flat_map(|group| (0..1 + draws.lower_of_two(largest)).map(move |_| group)).collect();
        let folds = group_folds(&numbered_groups(&groups), 5, None);
        assert_eq!(digest(folds), expected, "list {number}: {group_count} groups of up to {largest} rows");
    }
}

#[test]
fn real_lists_split_as_in_python() {
    for RealList { file, split } in fixture().real {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(&file);
        if !path.exists() {
            println!("skipped: {} is not there", path.display());
            continue;
        }
        let mut reader = csv::Reader::from_path(path).unwrap();
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let classes: Vec<u32> =
            records.iter().map(|record| record[1].split_whitespace().next().unwrap().parse().unwrap()).collect();
        let groups = Groups::of_names(records.iter().map(|record| match file.starts_with("HPA") {
            true => record[0].split('_').next().unwrap(),
            false => &record[0][..3],
        }));
        assert_eq!(check(&file, &classes, &groups, &split), 8);
    }
}

#[test]
fn no_group_is_in_two_folds() {
    for number in 0..50 {
        let mut draws = Draws(number);
        let groups: Vec<u32> = (0..300).map(|_| draws.lower_of_two(40)).collect();
        let classes: Vec<u32> = (0..300).map(|_| draws.below(3)).collect();
        let groups = numbered_groups(&groups);
        for shuffle_seed in [None, Some(number)] {
            for folds in [
                group_folds(&groups, 5, shuffle_seed).unwrap(),
                stratified_group_folds(&classes, &groups, 5, shuffle_seed).unwrap(),
            ] {
                let mut fold_of_group = BTreeMap::new();
                for (group, fold) in groups.of_rows().iter().zip(folds) {
                    assert_eq!(*fold_of_group.entry(group).or_insert(fold), fold);
                }
            }
        }
    }
}
