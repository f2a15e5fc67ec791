//! The report of a cross-validation: the threshold, and the metrics of the out-of-fold scores.
//!
//! As JSON, a report is an object with the fields of [`Report`]. Fractions are in 0..=1; counts are numbers of rows.

mod build;

pub use build::{build_report, build_report_of, build_report_on};

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::decision_rule::DecisionRule;
use crate::fold_set::FoldSet;
use crate::ids::Fold;
use crate::job::JobState;
use crate::macro_f1::ClassF1;
use crate::manifest::SplitReport;
use crate::metrics::{ConfusionCell, Metrics};
use crate::scores::ScoreTableError;
use crate::spec::Task;
use crate::threshold::{EmptyRows, ThresholdError};
use crate::words::words;

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
    /// The threshold of all labels: `score > threshold`. Absent if each label has its own, in `per_class`, or the task is
    /// multiclass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The lower and upper end of the best interval of thresholds; `threshold` is its middle. Absent if it was not fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_interval: Option<[f64; 2]>,
    /// Macro F1 of the predicted labels, on the rows of the fit.
    pub macro_f1: f64,
    /// An unbiased estimate: each fold at the threshold, or thresholds, fitted on the other folds. Null with fewer than two folds,
    /// or if no threshold is fitted.
    pub cross_fitted: Option<CrossFitted>,
    /// The best prediction that does not depend on the image.
    pub best_constant: BestConstantReport,
    /// One entry per label, in label order.
    pub per_class: Vec<ClassReport>,
    /// One entry per fold that has rows, ascending.
    pub per_fold: Vec<FoldReport>,
    /// `[threshold, macro F1]` at 200 evenly spaced thresholds for all labels from 0, ascending. Absent if the task is
    /// multiclass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
    /// How many labels a row has; absent if any number.
    #[serde(default, skip_serializing_if = "is_multilabel")]
    pub task: Task,
    /// All metrics. Absent in reports of versions that had none but macro F1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The pairs of true and predicted label that rows have, in their order; of a multiclass prediction only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion_matrix: Vec<ConfusionCell>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_multilabel(task: &Task) -> bool {
    *task == Task::Multilabel
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
    /// The label's own threshold, if each has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The area under the ROC curve; absent if all rows have the label, or none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc: Option<f64>,
    /// The average precision; absent if all rows have the label, or none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
}

/// The scores of one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldReport {
    /// The fold, from 0.
    pub fold: Fold,
    /// The number of its rows among those of the fit.
    pub rows: u64,
    /// Macro F1 of these rows by the report's threshold, or thresholds.
    pub macro_f1: f64,
    /// The best threshold of all labels for these rows alone. Absent if the task is multiclass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_threshold: Option<f64>,
    /// Macro F1 of these rows at this threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_macro_f1: Option<f64>,
}

/// Macro F1 with each fold at the threshold, or thresholds, fitted on the other folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossFitted {
    /// Macro F1 of the predictions of all rows.
    pub macro_f1: f64,
    /// The thresholds, one per fold, ascending.
    pub thresholds: Vec<FoldThreshold>,
}

/// The threshold of one fold, or its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldThreshold {
    /// The fold, from 0.
    pub fold: Fold,
    /// The threshold of all labels, fitted on the other folds. Absent if each label has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The threshold of each label, fitted on the other folds. Absent if all have the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<f64>,
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
    /// A row without exactly one class, where the task is multiclass.
    #[error("out-of-fold table: row {row} ({id:?}) has {count} classes, where the task multiclass has exactly one")]
    NotOneClass {
        /// The row, counted from 1.
        row: usize,
        /// The image's id.
        id: String,
        /// The number of its classes.
        count: usize,
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

impl Report {
    /// The rule by which scores of the same models become labels.
    pub fn decision_rule(&self) -> DecisionRule {
        match (self.task, self.threshold) {
            (Task::Multiclass, _) => DecisionRule::Argmax,
            (Task::Multilabel, Some(threshold)) => DecisionRule::Threshold { threshold, empty_rows: self.empty_rows },
            (Task::Multilabel, None) => DecisionRule::PerClass {
                thresholds: self.per_class.iter().filter_map(|class| class.threshold).collect(),
                empty_rows: self.empty_rows,
            },
        }
    }

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
