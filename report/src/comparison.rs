//! Job sets beside each other: their figures, the settings that differ, and whether a difference can be an accident.

use std::collections::{BTreeSet, HashMap};

use fivefold_common::labels::Labels;
use fivefold_common::paired_test::{PairedRow, PairedTest, paired_test};
use fivefold_common::report::Report;
use fivefold_common::scores::{ScoreTable, Source};

use crate::rows::Rows;

/// One of the job sets.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its settings by key.
    pub settings: Vec<(String, String)>,
    /// Its report.
    pub report: Report,
    /// The out-of-fold table that the report was made from.
    pub table: ScoreTable,
}

/// Two job sets or more.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The job sets; the others are compared with the first.
    pub sides: Vec<Side>,
    /// Each side but the first against the first.
    pub pairs: Vec<Pair>,
}

/// A side against the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The test on the images of both; or why there is none.
    pub test: Result<PairedTest, Untested>,
    /// The labels whose F1 differs, with the difference to the first side's, the largest first.
    pub labels: Vec<(String, f64)>,
}

/// Why a pair is not tested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untested {
    /// The classes are others.
    #[error("their classes differ")]
    Classes,
    /// No image is in both.
    #[error("they have no image in common")]
    NoSharedImage,
    /// An image has other true labels.
    #[error("the true labels of {0} differ")]
    Labels(String),
}

/// A figure of a report.
pub type Figure = (&'static str, fn(&Report) -> Option<f64>);

/// The figures that are compared.
pub const FIGURES: [Figure; 7] = [
    ("macro F1", |report| Some(report.macro_f1)),
    ("cross-fitted", |report| report.cross_fitted.as_ref().map(|fit| fit.macro_f1)),
    ("micro F1", |report| report.metrics.map(|metrics| metrics.micro_f1)),
    ("mean AUROC", |report| report.metrics.and_then(|metrics| metrics.mean_auroc)),
    ("mAP", |report| report.metrics.and_then(|metrics| metrics.map)),
    ("accuracy", |report| report.metrics.map(|metrics| metrics.accuracy)),
    ("threshold", |report| report.threshold),
];

impl Comparison {
    /// Compares `sides` with the first of them.
    pub fn new(sides: Vec<Side>) -> Comparison {
        let pairs = match sides.split_first() {
            Some((first, others)) => others.iter().map(|other| pair(first, other)).collect(),
            None => Vec::new(),
        };
        Comparison { sides, pairs }
    }

    /// The settings whose values differ, with the value of each side; empty where a side has no such setting.
    pub fn differing_settings(&self) -> Vec<(&str, Vec<&str>)> {
        let of = |side: &'_ Side, key: &str| -> usize {
            side.settings.iter().position(|(other, _)| other == key).unwrap_or(usize::MAX)
        };
        let keys: BTreeSet<&str> =
            self.sides.iter().flat_map(|side| side.settings.iter().map(|(key, _)| key.as_str())).collect();
        let mut differing = Vec::new();
        for key in keys {
            let values: Vec<&str> = self
                .sides
                .iter()
                .map(|side| side.settings.get(of(side, key)).map_or("", |(_, value)| value.as_str()))
                .collect();
            if values.windows(2).any(|pair| pair[0] != pair[1]) {
                differing.push((key, values));
            }
        }
        differing
    }
}

fn pair(first: &Side, other: &Side) -> Pair {
    let names = |side: &Side| side.report.per_class.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
    if names(first) != names(other) {
        return Pair { test: Err(Untested::Classes), labels: Vec::new() };
    }
    let classes = first.report.per_class.iter().zip(&other.report.per_class);
    let mut labels: Vec<(String, f64)> =
        classes.map(|(first, other)| (other.name.clone(), other.scores.f1 - first.scores.f1)).collect();
    labels.retain(|(_, difference)| *difference != 0.0);
    labels.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    Pair { test: tested(first, other), labels }
}

fn tested(first: &Side, other: &Side) -> Result<PairedTest, Untested> {
    let (first, other) = (Rows::of(&first.report, &first.table), Rows::of(&other.report, &other.table));
    let of_first: HashMap<(Source, &str), (&Labels, &Labels)> = first
        .rows
        .iter()
        .map(|row| ((row.scored.source, row.scored.id.as_str()), (&row.scored.target, &row.predicted)))
        .collect();
    let mut pairs = Vec::new();
    for row in &other.rows {
        let Some((target, predicted)) = of_first.get(&(row.scored.source, row.scored.id.as_str())) else { continue };
        if **target != row.scored.target {
            return Err(Untested::Labels(row.scored.id.clone()));
        }
        pairs.push(PairedRow { target, predicted: [(*predicted).clone(), row.predicted.clone()] });
    }
    if pairs.is_empty() { Err(Untested::NoSharedImage) } else { Ok(paired_test(&pairs, first.names.len())) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rows::tests::{report, table};

    pub(crate) fn comparison() -> Comparison {
        let settings = |rate: &str| vec![("epochs".to_owned(), "9".to_owned()), ("rate".to_owned(), rate.to_owned())];
        let side = |name: &str, rate, threshold| {
            let report = Report { threshold: Some(threshold), ..report() };
            Side { name: name.to_owned(), settings: settings(rate), report, table: table() }
        };
        Comparison::new(vec![side("first <1>", "0.1", 0.5), side("second", "0.2", 0.75)])
    }

    #[test]
    fn settings_and_predictions_that_differ_are_found() {
        let comparison = comparison();
        assert_eq!(comparison.differing_settings(), [("rate", vec!["0.1", "0.2"])]);
        let test = comparison.pairs[0].test.as_ref().unwrap();
        assert_eq!((test.rows, test.differing_rows), (4, 2));
    }

    #[test]
    fn what_cannot_be_paired_is_not_tested() {
        let Comparison { mut sides, .. } = comparison();
        sides[1].table.rows[0].target = "2".parse().unwrap();
        assert_eq!(tested(&sides[0], &sides[1]), Err(Untested::Labels("a".to_owned())));
        sides[1].table.rows.retain(|row| row.source == Source::Hpa);
        assert_eq!(tested(&sides[0], &sides[1]), Err(Untested::NoSharedImage));
        sides[1].report.per_class[0].name = "other".to_owned();
        assert_eq!(pair(&sides[0], &sides[1]).test, Err(Untested::Classes));
    }
}
