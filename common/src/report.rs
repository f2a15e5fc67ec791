//! The report of a cross-validation: the threshold, and the macro F1 of the out-of-fold scores.
//!
//! As JSON, a report is an object with the fields of [`Report`]. Fractions are in 0..=1; counts are numbers of rows.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::fold_set::FoldSet;
use crate::ids::Fold;
use crate::job::JobState;
use crate::labels::Labels;
use crate::macro_f1::{ClassF1, ClassTally, MacroF1, best_constant_prediction};
use crate::manifest::SplitReport;
use crate::scores::{ScoreRow, ScoreTable, ScoreTableError, Source};
use crate::threshold::{EmptyRows, Sweep, ThresholdError, ThresholdFit, fit_threshold, macro_f1_at, predict};
use crate::words::words;

/// The number of points of the curve: thresholds 0, 1/200, …, 199/200.
const CURVE_POINTS: u32 = 200;

words! {
    /// The rows of the table on which a report is computed.
    #[derive(Default)]
    pub enum FitOn, "fit_on" {
        /// Those of the training list alone, which has the distribution of the test list; the HPA list has another one.
        #[default]
        Train,
        /// Those of the training and the HPA list.
        TrainAndHpa,
    }
}

/// The evaluation of the out-of-fold scores of all folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The id of the job set that made the scores, if there is one.
    pub job_set: Option<String>,
    /// Set if the table lacks folds of the job set: the figures are of the other ones alone. Left out of the JSON otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<PartialFolds>,
    /// The origin of the scores (spec, digests, versions, devices); null if unknown.
    #[serde(default)]
    pub made_by: serde_json::Value,
    /// The split, counted in its folds; absent for the default method without groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitReport>,
    /// BLAKE3 digest, in hex, of the out-of-fold table as CSV.
    pub oof_digest: String,
    /// The number of rows of the table.
    pub rows_in_table: u64,
    /// The rows on which the rest of the report is computed.
    pub fit_on: FitOn,
    /// The number of these rows.
    pub rows: u64,
    /// The prediction for rows without a score above the threshold.
    pub empty_rows: EmptyRows,
    /// The threshold of all labels: `score > threshold`.
    pub threshold: f64,
    /// The lower and upper end of the best interval of thresholds; `threshold` is its middle.
    pub threshold_interval: [f64; 2],
    /// Macro F1 at the threshold, on the rows of the fit.
    pub macro_f1: f64,
    /// An unbiased estimate: each fold at the threshold fitted on the other folds. Null with fewer than two folds.
    pub cross_fitted: Option<CrossFitted>,
    /// The best prediction that does not depend on the image.
    pub best_constant: BestConstantReport,
    /// One entry per label, in label order, at the threshold.
    pub per_class: Vec<ClassReport>,
    /// One entry per fold that has rows, ascending.
    pub per_fold: Vec<FoldReport>,
    /// `[threshold, macro F1]` at 200 evenly spaced thresholds from 0, ascending.
    pub curve: Vec<(f64, f64)>,
}

/// The folds behind a partial report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartialFolds {
    /// The folds in the table, ascending.
    pub folds: FoldSet,
    /// The other folds of the job set, ascending.
    pub missing: Vec<MissingFold>,
}

/// A fold that a partial report lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFold {
    /// The fold, from 0.
    pub fold: Fold,
    /// The state of its training.
    pub state: JobState,
    /// Why it is in that state, as a sentence; may be empty.
    pub reason: String,
}

/// The scores of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The label, from 0.
    pub label: u16,
    /// The label's name.
    pub name: String,
    /// The scores, as fields of the same JSON object.
    #[serde(flatten)]
    pub scores: ClassF1,
}

/// The scores of one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldReport {
    /// The fold, from 0.
    pub fold: Fold,
    /// The number of its rows among those of the fit.
    pub rows: u64,
    /// Macro F1 of these rows at the report's threshold.
    pub macro_f1: f64,
    /// The best threshold for these rows alone.
    pub best_threshold: f64,
    /// Macro F1 of these rows at this threshold.
    pub best_macro_f1: f64,
}

/// Macro F1 with each fold at the threshold fitted on the other folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossFitted {
    /// Macro F1 of the predictions of all rows.
    pub macro_f1: f64,
    /// The thresholds, one per fold, ascending.
    pub thresholds: Vec<FoldThreshold>,
}

/// The threshold of one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldThreshold {
    /// The fold, from 0.
    pub fold: Fold,
    /// The threshold, fitted on the other folds.
    pub threshold: f64,
}

/// The best constant prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestConstantReport {
    /// The labels of every row, ascending.
    pub labels: Vec<u16>,
    /// The macro F1 of this prediction.
    pub macro_f1: f64,
}

/// A table from which no report can be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// An invalid score table.
    #[error(transparent)]
    Table(#[from] ScoreTableError),
    /// A row of the test list, whose labels are unknown.
    #[error("out-of-fold table: row {row} ({id:?}) is of the test list, whose labels are unknown: remove it")]
    TestRow {
        /// The row, counted from 1.
        row: usize,
        /// The image's id.
        id: String,
    },
    /// Another number of names than the table has classes.
    #[error("out-of-fold table: there are {names} names of classes for the scores of {class_count} classes")]
    ClassNames {
        /// The number of names.
        names: usize,
        /// The number of classes of the table.
        class_count: usize,
    },
    /// No rows of the lists on which the threshold is fitted.
    #[error(
        "out-of-fold table: none of the {rows_in_table} rows has the source train, on which the threshold is fitted"
    )]
    NoRows {
        /// The number of rows of the table.
        rows_in_table: usize,
    },
    /// The threshold cannot be fitted.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

/// The report of an out-of-fold table, with the threshold fitted on the rows of the training list alone.
///
/// `class_names` has the name of each class. The caller sets `job_set`, `made_by` and `split`.
///
/// # Errors
/// If there are not as many names as classes, or the table has no such row, a row of the test list, an image twice, or a
/// score that is NaN or outside 0..=1.
pub fn build_report(table: &ScoreTable, class_names: &[String], empty_rows: EmptyRows) -> Result<Report, ReportError> {
    build_report_on(table, class_names, empty_rows, FitOn::Train)
}

/// As [`build_report`], on the rows of `fit_on`.
///
/// # Errors
/// As for [`build_report`].
pub fn build_report_on(
    table: &ScoreTable,
    class_names: &[String],
    empty_rows: EmptyRows,
    fit_on: FitOn,
) -> Result<Report, ReportError> {
    build_report_of(table, table.digest_hex(), class_names, empty_rows, fit_on)
}

/// As [`build_report_on`], for a caller that knows the digest of the table's CSV.
///
/// # Errors
/// As for [`build_report`].
pub fn build_report_of(
    table: &ScoreTable,
    oof_digest: String,
    class_names: &[String],
    empty_rows: EmptyRows,
    fit_on: FitOn,
) -> Result<Report, ReportError> {
    table.check("out-of-fold table")?;
    let class_count = table.class_count;
    if class_names.len() != class_count {
        return Err(ReportError::ClassNames { names: class_names.len(), class_count });
    }
    if let Some(index) = table.rows.iter().position(|row| row.source == Source::Test) {
        return Err(ReportError::TestRow { row: index + 1, id: table.rows[index].id.clone() });
    }
    let rows: Vec<&ScoreRow> =
        table.rows.iter().filter(|row| fit_on == FitOn::TrainAndHpa || row.source == Source::Train).collect();
    if rows.is_empty() {
        return Err(ReportError::NoRows { rows_in_table: table.rows.len() });
    }
    let all = FlatRows::from_rows(class_count, rows.iter().copied());
    let sweep = Sweep::new(&all.scores, class_count, &all.targets, empty_rows)?;
    let fit = sweep.fit();
    let at_threshold = all.macro_f1_at(fit.threshold, empty_rows)?;
    let curve_thresholds: Vec<f64> =
        (0..CURVE_POINTS).map(|point| f64::from(point) / f64::from(CURVE_POINTS)).collect();
    let curve_values = sweep.curve(&curve_thresholds);
    let constant = best_constant_prediction(&all.targets, class_count);
    Ok(Report {
        job_set: None,
        partial: None,
        made_by: serde_json::Value::Null,
        split: None,
        oof_digest,
        rows_in_table: table.rows.len() as u64,
        fit_on,
        rows: rows.len() as u64,
        empty_rows,
        threshold: fit.threshold,
        threshold_interval: [fit.lower, fit.upper],
        macro_f1: fit.macro_f1,
        cross_fitted: cross_fit(class_count, &rows, empty_rows)?,
        best_constant: BestConstantReport { labels: constant.labels.iter().collect(), macro_f1: constant.macro_f1 },
        per_class: (0..)
            .zip(class_names)
            .zip(at_threshold.per_class)
            .map(|((label, name), scores)| ClassReport { label, name: name.clone(), scores })
            .collect(),
        per_fold: folds_of(&rows)
            .into_iter()
            .map(|fold| fold_report(class_count, &rows, fold, fit.threshold, empty_rows))
            .collect::<Result<_, _>>()?,
        curve: curve_thresholds.into_iter().zip(curve_values).collect(),
    })
}

impl Report {
    /// Writes the report as indented JSON with a newline at the end.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_json(&self, mut output: impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut output, self)?;
        output.write_all(b"\n")?;
        output.flush()
    }
}

/// Scores, row-major `[rows, class_count]`, and targets, `[rows]`.
struct FlatRows {
    class_count: usize,
    scores: Vec<f32>,
    targets: Vec<Labels>,
}

impl FlatRows {
    fn from_rows<'a>(class_count: usize, rows: impl Iterator<Item = &'a ScoreRow>) -> FlatRows {
        let mut flat = FlatRows { class_count, scores: Vec::new(), targets: Vec::new() };
        for row in rows {
            flat.scores.extend_from_slice(&row.scores);
            flat.targets.push(row.target.clone());
        }
        flat
    }

    fn fit(&self, empty_rows: EmptyRows) -> Result<ThresholdFit, ThresholdError> {
        fit_threshold(&self.scores, self.class_count, &self.targets, empty_rows)
    }

    fn macro_f1_at(&self, threshold: f64, empty_rows: EmptyRows) -> Result<MacroF1, ThresholdError> {
        macro_f1_at(&self.scores, self.class_count, &self.targets, threshold, empty_rows)
    }
}

fn folds_of(rows: &[&ScoreRow]) -> BTreeSet<Fold> {
    rows.iter().map(|row| row.fold).collect()
}

fn fold_report(
    class_count: usize,
    rows: &[&ScoreRow],
    fold: Fold,
    threshold: f64,
    empty_rows: EmptyRows,
) -> Result<FoldReport, ThresholdError> {
    let own = FlatRows::from_rows(class_count, rows.iter().copied().filter(|row| row.fold == fold));
    let best = own.fit(empty_rows)?;
    Ok(FoldReport {
        fold,
        rows: own.targets.len() as u64,
        macro_f1: own.macro_f1_at(threshold, empty_rows)?.macro_f1,
        best_threshold: best.threshold,
        best_macro_f1: best.macro_f1,
    })
}

fn cross_fit(
    class_count: usize,
    rows: &[&ScoreRow],
    empty_rows: EmptyRows,
) -> Result<Option<CrossFitted>, ThresholdError> {
    let folds = folds_of(rows);
    if folds.len() < 2 {
        return Ok(None);
    }
    let mut tally = ClassTally::new(class_count);
    let mut thresholds = Vec::new();
    for fold in folds {
        let others = FlatRows::from_rows(class_count, rows.iter().copied().filter(|row| row.fold != fold));
        let threshold = others.fit(empty_rows)?.threshold;
        for row in rows.iter().filter(|row| row.fold == fold) {
            tally.add(&row.target, &predict(&row.scores, threshold, empty_rows));
        }
        thresholds.push(FoldThreshold { fold, threshold });
    }
    Ok(Some(CrossFitted { macro_f1: tally.macro_f1(), thresholds }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::names_for_count;

    fn names() -> Vec<String> {
        names_for_count(28)
    }

    /// `rows` rows in five folds, with scores correlated with the targets; every fourth row is of the HPA list.
    fn table(rows: u32) -> ScoreTable {
        let mut state = 7_u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let rows = (0..rows)
            .map(|index| {
                let target = Labels::from_indices([(index % 7) as u16, 20]).unwrap();
                let score = |class| if target.contains(class) { 0.3 + 0.7 * draw() } else { 0.6 * draw() };
                let scores = (0..28).map(score).collect();
                let source = if index % 4 == 3 { Source::Hpa } else { Source::Train };
                ScoreRow { id: index.to_string(), source, fold: Fold((index % 5) as u8), target, scores }
            })
            .collect();
        ScoreTable { class_count: 28, rows }
    }

    #[test]
    fn every_part_is_what_it_says() {
        let table = table(200);
        let report = build_report(&table, &names(), EmptyRows::Argmax).unwrap();
        let train = FlatRows::from_rows(28, table.rows.iter().filter(|row| row.source == Source::Train));
        let fit = train.fit(EmptyRows::Argmax).unwrap();
        assert_eq!((report.threshold, report.macro_f1), (fit.threshold, fit.macro_f1));
        assert_eq!((report.rows_in_table, report.rows, report.curve.len()), (200, 150, 200));
        assert_eq!(report.oof_digest, table.digest_hex());
        let mean = report.per_class.iter().map(|class| class.scores.f1).sum::<f64>() / 28.0;
        assert!((mean - report.macro_f1).abs() < 1e-12);
        assert_eq!((report.per_class[27].label, report.per_class[27].name.as_str()), (27, "Rods & rings"));
        assert_eq!(report.best_constant.labels, [0, 1, 2, 3, 4, 5, 6, 20]);
        assert!(report.best_constant.macro_f1 < report.macro_f1);
        for (threshold, value) in &report.curve {
            let there = train.macro_f1_at(*threshold, EmptyRows::Argmax).unwrap();
            assert_eq!(there.macro_f1, *value);
            assert!(*value <= report.macro_f1);
        }
        assert_eq!(report.per_fold.iter().map(|fold| fold.rows).sum::<u64>(), 150);
        assert!(report.per_fold.iter().all(|fold| fold.macro_f1 <= fold.best_macro_f1));
        let cross_fitted = report.cross_fitted.unwrap();
        assert_eq!(cross_fitted.thresholds.iter().map(|entry| entry.fold.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(cross_fitted.macro_f1 > 0.0 && cross_fitted.macro_f1 <= report.macro_f1);
    }

    #[test]
    fn the_fit_uses_the_rows_that_it_should() {
        let table = table(200);
        let both = build_report_on(&table, &names(), EmptyRows::Leave, FitOn::TrainAndHpa).unwrap();
        assert_eq!((both.rows, both.fit_on), (200, FitOn::TrainAndHpa));
        let hpa = ScoreTable {
            class_count: 28,
            rows: table.rows.iter().filter(|row| row.source == Source::Hpa).cloned().collect(),
        };
        assert!(matches!(
            build_report(&hpa, &names(), EmptyRows::Leave),
            Err(ReportError::NoRows { rows_in_table: 50 })
        ));
        assert!(build_report_on(&hpa, &names(), EmptyRows::Leave, FitOn::TrainAndHpa).is_ok());
        let mut tested = table.clone();
        tested.rows[3].source = Source::Test;
        assert!(matches!(build_report(&tested, &names(), EmptyRows::Leave), Err(ReportError::TestRow { row: 4, .. })));
        let mut doubled = table.clone();
        doubled.rows[1] = doubled.rows[0].clone();
        let few = build_report(&table, &names()[..27], EmptyRows::Leave);
        assert!(matches!(few, Err(ReportError::ClassNames { names: 27, class_count: 28 })));
        assert!(matches!(build_report(&doubled, &names(), EmptyRows::Leave), Err(ReportError::Table(_))));
    }

    #[test]
    fn one_fold_has_no_cross_fitted_score() {
        let mut table = table(20);
        table.rows.retain(|row| row.fold == Fold(2));
        let report = build_report(&table, &names(), EmptyRows::Argmax).unwrap();
        assert_eq!(report.cross_fitted, None);
        assert_eq!(report.per_fold.len(), 1);
    }

    #[test]
    fn json_comes_back_the_same() {
        let mut report = build_report(&table(60), &names(), EmptyRows::Argmax).unwrap();
        report.job_set = Some("hpa-1".to_owned());
        report.made_by = serde_json::json!({ "seed": 42 });
        let mut bytes = Vec::new();
        report.write_json(&mut bytes).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&bytes).unwrap(), report);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["empty_rows"], "argmax");
        assert_eq!(value["fit_on"], "train");
        assert!(value["per_class"][3]["precision"].is_f64());
    }
}
