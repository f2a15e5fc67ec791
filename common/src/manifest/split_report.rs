//! The figures of a split, counted in its folds.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FoldTable, Manifest};
use crate::ids::Fold;
use crate::spec::{JobSetSpec, SplitMethod};

/// A split in figures. All of them are counted in the fold table, not taken from the method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// The method.
    pub method: SplitMethod,
    /// The number of rows of each fold.
    pub fold_rows: Vec<u64>,
    /// The groups of the rows; null without a column of groups.
    pub groups: Option<GroupReport>,
}

/// The groups of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// The name of the lists' column.
    pub column: String,
    /// The number of groups.
    pub count: u64,
    /// The number of groups with rows in each fold.
    pub fold_groups: Vec<u64>,
    /// The number of groups with rows in two folds or more. Their rows are trained on and validated on, so scores are too
    /// good.
    pub in_two_folds: u64,
    /// One of these groups: the first in the lists' order.
    pub example: Option<String>,
}

impl fmt::Display for SplitReport {
    /// Such as `split by gkf: 50 groups of the column patient, 25, 25 a fold, none of them in two folds`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            SplitMethod::Given => f.write_str("split as in the folds file")?,
            method => write!(f, "split by {method}")?,
        }
        if let Some(GroupReport { column, count, fold_groups, in_two_folds, .. }) = &self.groups {
            let groups: Vec<String> = fold_groups.iter().map(u64::to_string).collect();
            let in_two_folds = match in_two_folds {
                0 => "none".to_owned(),
                some => some.to_string(),
            };
            let groups = groups.join(", ");
            write!(f, ": {count} groups of the column {column}, {groups} a fold, {in_two_folds} of them in two folds")?;
        }
        Ok(())
    }
}

impl SplitReport {
    /// Counts the folds of the lists. HPA rows count if the spec trains or validates on them.
    pub fn of(spec: &JobSetSpec, train: &Manifest, hpa: Option<&Manifest>, folds: &FoldTable) -> SplitReport {
        let hpa = hpa.filter(|_| spec.train_with_hpa || spec.valid_with_hpa);
        let listed = train.rows.len() + hpa.map_or(0, |hpa| hpa.rows.len());
        let mut fold_rows = vec![0; spec.folds as usize];
        for row in folds.rows.iter().take(listed) {
            if let Some(rows) = fold_rows.get_mut(usize::from(row.fold.0)) {
                *rows += 1;
            }
        }
        SplitReport { method: spec.split_method, fold_rows, groups: group_report(spec, train, hpa, folds) }
    }
}

fn group_report(spec: &JobSetSpec, train: &Manifest, hpa: Option<&Manifest>, folds: &FoldTable) -> Option<GroupReport> {
    let lists = [Some(train), hpa].into_iter().flatten();
    let column = lists.clone().find_map(|list| list.groups.as_ref())?.name.clone();
    let groups = lists.flat_map(|list| {
        let of_rows = list.groups_of_rows();
        (0..list.rows.len()).map(move |row| of_rows.map(|of_rows| of_rows[row].as_str()))
    });
    // The folds of each group, and the first group that is in two.
    let mut folds_of_group: HashMap<&str, Vec<Fold>> = HashMap::new();
    let mut example = None;
    for (group, row) in groups.zip(&folds.rows) {
        let Some(group) = group else { continue };
        let of_group = folds_of_group.entry(group).or_default();
        if !of_group.contains(&row.fold) {
            of_group.push(row.fold);
            if of_group.len() == 2 && example.is_none() {
                example = Some(group.to_owned());
            }
        }
    }
    let mut fold_groups = vec![0; spec.folds as usize];
    for fold in folds_of_group.values().flatten() {
        if let Some(groups) = fold_groups.get_mut(usize::from(fold.0)) {
            *groups += 1;
        }
    }
    let in_two_folds = folds_of_group.values().filter(|folds| folds.len() > 1).count() as u64;
    Some(GroupReport { column, count: folds_of_group.len() as u64, fold_groups, in_two_folds, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Manifest {
        Manifest::read_labelled_csv("list.csv", &JobSetSpec::default(), text.as_bytes()).unwrap()
    }

    #[test]
    fn groups_are_counted_in_the_folds_whatever_the_method_is_called() {
        let train = list("Id,Target,Group\na,0,p\nb,0,q\nc,1,p\nd,1,r\n");
        let folds = "Id,Source,Fold\na,train,0\nb,train,1\nc,train,1\nd,train,1\n";
        let folds = FoldTable::read_csv("folds.csv", folds.as_bytes()).unwrap();
        let spec = JobSetSpec { folds: 2, split_method: SplitMethod::Gkf, ..JobSetSpec::default() };
        let report = SplitReport::of(&spec, &train, None, &folds);
        assert_eq!((report.method, report.fold_rows), (SplitMethod::Gkf, vec![1, 3]));
        let expected = GroupReport {
            column: "Group".to_owned(),
            count: 3,
            fold_groups: vec![1, 3],
            in_two_folds: 1,
            example: Some("p".to_owned()),
        };
        assert_eq!(report.groups, Some(expected));
    }

    #[test]
    fn hpa_rows_count_if_they_take_part() {
        let (train, hpa) = (list("Id,Target,Group\na,0,p\nb,0,q\n"), list("Id,Target,Group\nh,0,p\ni,0,s\n"));
        let folds = "Id,Source,Fold\na,train,0\nb,train,1\nh,hpa,1\ni,hpa,1\n";
        let folds = FoldTable::read_csv("folds.csv", folds.as_bytes()).unwrap();
        let mut spec = JobSetSpec { folds: 2, valid_with_hpa: false, ..JobSetSpec::default() };
        let groups = |spec: &JobSetSpec| SplitReport::of(spec, &train, Some(&hpa), &folds).groups.unwrap();
        assert_eq!((groups(&spec).count, groups(&spec).in_two_folds), (3, 1));
        spec.train_with_hpa = false;
        assert_eq!((groups(&spec).count, groups(&spec).in_two_folds), (2, 0));
        let bare = Manifest { groups: None, ..train.clone() };
        assert_eq!(SplitReport::of(&spec, &bare, None, &folds).groups, None);
    }
}
