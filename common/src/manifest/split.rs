//! The split of a job set's lists, as its spec says.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{FoldRow, FoldTable, Manifest, ManifestRow};
use crate::folds::{
    FoldsError, Groups, RowOrder, group_folds, k_folds, multilabel_stratified_folds, spread_groups, stratified_folds,
    stratified_group_folds,
};
use crate::ids::Fold;
use crate::labels::Labels;
use crate::scores::Source;
use crate::spec::{JobSetSpec, SplitMethod};

/// Lists that cannot be split as the spec says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A list that the method refuses.
    #[error("{list} list: {error}")]
    Folds {
        /// The list.
        list: Source,
        /// Why.
        error: FoldsError,
    },
    /// A list without the groups that the method needs.
    #[error(
        "split_method = {method} needs the groups of the rows, but the {list} list has no column of them: add a column \
         Group, name another one with group_column, or choose a method without groups"
    )]
    NoGroups {
        /// The method.
        method: SplitMethod,
        /// The list.
        list: Source,
    },
    /// A split made elsewhere without its file.
    #[error("split_method = given takes the folds from a file, but there is none: name it with --folds-csv")]
    NoGivenFolds,
}

impl FoldTable {
    /// Splits the lists by the spec's method.
    ///
    /// Methods without groups split each list by itself. With groups, the training list is split by itself, so that its
    /// folds are those of scikit-learn for this list. Then each HPA row goes to its group's fold; groups that only the
    /// HPA list has are spread over the folds by their size.
    ///
    /// # Errors
    /// If a list cannot be split into the spec's number of folds, or lacks the groups that the method needs.
    pub fn split(spec: &JobSetSpec, train: &Manifest, hpa: Option<&Manifest>) -> Result<FoldTable, SplitError> {
        let train_folds = folds_of_list(spec, Source::Train, train)?;
        let hpa_folds = match hpa {
            None => Vec::new(),
            Some(hpa) if spec.split_method.keeps_groups() => {
                let train_groups = groups_of(spec.split_method, Source::Train, train)?;
                let hpa_groups = groups_of(spec.split_method, Source::Hpa, hpa)?;
                follow_groups(train_groups, &train_folds, hpa_groups, spec.folds as usize)
            }
            Some(hpa) => folds_of_list(spec, Source::Hpa, hpa)?,
        };
        let mut rows = Vec::with_capacity(train_folds.len() + hpa_folds.len());
        for (source, manifest, folds) in [(Source::Train, Some(train), train_folds), (Source::Hpa, hpa, hpa_folds)] {
            let listed = manifest.into_iter().flat_map(|manifest| &manifest.rows);
            let row = |(row, fold): (&ManifestRow, u8)| FoldRow { id: row.id.clone(), source, fold: Fold(fold) };
            rows.extend(listed.zip(folds).map(row));
        }
        Ok(FoldTable { rows })
    }
}

/// The fold of each row of a list that is split by itself.
fn folds_of_list(spec: &JobSetSpec, list: Source, manifest: &Manifest) -> Result<Vec<u8>, SplitError> {
    let fold_count = spec.folds as usize;
    let shuffle_seed = spec.split_shuffle.then_some(spec.split_seed);
    let groups = || groups_of(spec.split_method, list, manifest).map(group_numbers);
    let folds = match spec.split_method {
        SplitMethod::Mskf => {
            let labels: Vec<Labels> = manifest.rows.iter().map(|row| row.labels.clone()).collect();
            let order = if spec.split_shuffle { RowOrder::Shuffled } else { RowOrder::AsGiven };
            multilabel_stratified_folds(&labels, spec.class_count(), fold_count, spec.split_seed, order)
        }
        SplitMethod::Kfold => k_folds(manifest.rows.len(), fold_count, shuffle_seed),
        SplitMethod::Skf => stratified_folds(&classes(manifest), fold_count, shuffle_seed),
        SplitMethod::Gkf => group_folds(&groups()?, fold_count, shuffle_seed),
        SplitMethod::Sgkf => stratified_group_folds(&classes(manifest), &groups()?, fold_count, shuffle_seed),
        SplitMethod::Given => return Err(SplitError::NoGivenFolds),
    };
    folds.map_err(|error| SplitError::Folds { list, error })
}

fn groups_of(method: SplitMethod, list: Source, manifest: &Manifest) -> Result<&[String], SplitError> {
    manifest.groups_of_rows().ok_or(SplitError::NoGroups { method, list })
}

fn group_numbers(names: &[String]) -> Groups {
    Groups::of_names(names.iter().map(String::as_str))
}

/// The class of each row for the methods that know one class a row: all its labels together. The classes have the order
/// of their text, as in scikit-learn, which decides ties.
fn classes(manifest: &Manifest) -> Vec<u32> {
    let texts: Vec<String> = manifest.rows.iter().map(|row| row.labels.to_string()).collect();
    group_numbers(&texts).of_rows().to_vec()
}

/// The fold of each HPA row: that of its group in the training list. Groups that are not there are spread over the folds.
fn follow_groups(train_groups: &[String], train_folds: &[u8], hpa_groups: &[String], fold_count: usize) -> Vec<u8> {
    let in_train: HashMap<&str, u8> =
        train_groups.iter().map(String::as_str).zip(train_folds.iter().copied()).collect();
    let others = hpa_groups.iter().map(String::as_str).filter(|group| !in_train.contains_key(group));
    let mut others = spread_groups(&Groups::of_names(others), fold_count).into_iter();
    let mut fold_of = |group: &str| in_train.get(group).copied().or_else(|| others.next()).unwrap_or_default();
    hpa_groups.iter().map(|group| fold_of(group)).collect()
}

/// Sets of labels on fewer rows than there are folds, so that some folds lack them. `skf` and `sgkf` split such lists
/// nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RareLabels {
    /// The rarest set; of several, the first one in the order of their texts.
    pub labels: Labels,
    /// The number of its rows.
    pub row_count: usize,
    /// The number of such sets.
    pub set_count: usize,
    /// The number of folds.
    pub fold_count: usize,
}

impl fmt::Display for RareLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RareLabels { labels, row_count, set_count, fold_count } = self;
        let (sets, have) = if *set_count == 1 { ("set", "has") } else { ("sets", "have") };
        write!(
            f,
            "{set_count} {sets} of labels {have} fewer rows than the {fold_count} folds, such as {:?} with {row_count}: \
             some folds will lack them",
            labels.to_string()
        )
    }
}

/// The sets of labels that are on fewer rows than the spec has folds, if its method stratifies whole sets of labels.
pub fn rare_labels(spec: &JobSetSpec, train: &Manifest) -> Option<RareLabels> {
    if !matches!(spec.split_method, SplitMethod::Skf | SplitMethod::Sgkf) {
        return None;
    }
    let mut rows_of_set: BTreeMap<String, (Labels, usize)> = BTreeMap::new();
    for row in &train.rows {
        rows_of_set.entry(row.labels.to_string()).or_insert_with(|| (row.labels.clone(), 0)).1 += 1;
    }
    let fold_count = spec.folds as usize;
    let rare = || rows_of_set.values().filter(|(_, rows)| *rows < fold_count);
    let (labels, row_count) = rare().min_by_key(|(_, rows)| *rows)?.clone();
    Some(RareLabels { labels, row_count, set_count: rare().count(), fold_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of `count` rows: label `row % 3`, and the group that `group` gives.
    fn list(prefix: &str, count: usize, group: impl Fn(usize) -> String) -> Manifest {
        let rows: String = (0..count).map(|row| format!("{prefix}{row},{},{}\n", row % 3, group(row))).collect();
        let text = format!("Id,Target,Group\n{rows}");
        Manifest::read_labelled_csv("list.csv", &JobSetSpec::default(), text.as_bytes()).unwrap()
    }

    fn spec(split_method: SplitMethod) -> JobSetSpec {
        JobSetSpec { split_method, ..JobSetSpec::default() }
    }

    fn folds(table: &FoldTable, source: Source) -> Vec<u8> {
        table.rows.iter().filter(|row| row.source == source).map(|row| row.fold.0).collect()
    }

    #[test]
    fn each_method_is_the_function_of_its_name() {
        let train = list("t", 60, |row| format!("p{}", row / 4));
        let classes: Vec<u32> = (0..60).map(|row| row % 3).collect();
        let groups = group_numbers(train.groups_of_rows().unwrap());
        for shuffle in [false, true] {
            let seed = shuffle.then_some(7);
            for (method, expected) in [
                (SplitMethod::Kfold, k_folds(60, 5, seed)),
                (SplitMethod::Skf, stratified_folds(&classes, 5, seed)),
                (SplitMethod::Gkf, group_folds(&groups, 5, seed)),
                (SplitMethod::Sgkf, stratified_group_folds(&classes, &groups, 5, seed)),
            ] {
                let spec = JobSetSpec { split_shuffle: shuffle, split_seed: 7, ..spec(method) };
                let table = FoldTable::split(&spec, &train, None).unwrap();
                assert_eq!(folds(&table, Source::Train), expected.unwrap(), "{method}, shuffle {shuffle}");
            }
        }
    }

    #[test]
    fn a_group_of_both_lists_is_in_one_fold() {
        // Groups p0 to p14 in the training list; p10 to p19 in the HPA list.
        let train = list("t", 60, |row| format!("p{}", row / 4));
        let hpa = list("h", 40, |row| format!("p{}", 10 + row % 10));
        for method in [SplitMethod::Gkf, SplitMethod::Sgkf] {
            let table = FoldTable::split(&spec(method), &train, Some(&hpa)).unwrap();
            let alone = FoldTable::split(&spec(method), &train, None).unwrap();
            assert_eq!(folds(&table, Source::Train), folds(&alone, Source::Train), "the training list's own folds");
            let mut fold_of_group = HashMap::new();
            let groups = train.groups_of_rows().unwrap().iter().chain(hpa.groups_of_rows().unwrap());
            for (group, row) in groups.zip(&table.rows) {
                assert_eq!(*fold_of_group.entry(group).or_insert(row.fold), row.fold, "{method}: group {group}");
            }
            assert_eq!(fold_of_group.len(), 20);
            // Five groups of four rows that only the HPA list has: one a fold.
            let others: Vec<Fold> = (15..20).map(|group| fold_of_group[&format!("p{group}")]).collect();
            assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{method}: {others:?}");
        }
    }

    #[test]
    fn few_new_groups_are_no_error() {
        let train = list("t", 60, |row| format!("p{}", row / 4));
        let hpa = list("h", 3, |_| "new".to_owned());
        let table = FoldTable::split(&spec(SplitMethod::Gkf), &train, Some(&hpa)).unwrap();
        assert_eq!(folds(&table, Source::Hpa), [0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_split_is_named() {
        let train = list("t", 60, |row| format!("p{}", row / 20));
        let bare = Manifest { groups: None, ..train.clone() };
        let message = |method, hpa| FoldTable::split(&spec(method), &train, hpa).unwrap_err().to_string();
        assert!(message(SplitMethod::Gkf, None).starts_with("train list: 5 folds need at least as many groups"));
        assert!(message(SplitMethod::Given, None).contains("--folds-csv"));
        let three = JobSetSpec { folds: 3, ..spec(SplitMethod::Gkf) };
        let error = FoldTable::split(&three, &train, Some(&bare)).unwrap_err();
        assert_eq!(error, SplitError::NoGroups { method: SplitMethod::Gkf, list: Source::Hpa });
        let error = FoldTable::split(&three, &bare, None).unwrap_err();
        assert!(error.to_string().contains("the train list has no column of them"), "{error}");
    }

    #[test]
    fn rare_sets_of_labels_are_found() {
        let text = "Id,Target\na,1\nb,1\nc,1 2\nd,1\ne,\nf,1\ng,1\n";
        let train = Manifest::read_labelled_csv("list.csv", &JobSetSpec::default(), text.as_bytes()).unwrap();
        let rare = rare_labels(&spec(SplitMethod::Skf), &train).unwrap();
        assert_eq!(
            rare.to_string(),
            "2 sets of labels have fewer rows than the 5 folds, such as \"\" with 1: some folds will lack them"
        );
        assert_eq!(rare_labels(&spec(SplitMethod::Mskf), &train), None);
        assert!(FoldTable::split(&spec(SplitMethod::Skf), &train, None).is_ok());
    }
}
