//! The submission: the mean of the folds' scores of the test list, and the labels above the threshold as CSV.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use crate::decision_rule::DecisionRule;
use crate::ids::Fold;
use crate::labels::Labels;
use crate::scores::{ScoreTable, ScoreTableError, Source};
use crate::spec::{JobSetSpec, LabelFormat};

/// The scores of the test list, each the mean over the folds.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanScores {
    /// The images, in the order of the first fold's table, each once.
    pub ids: Vec<String>,
    /// The scores of each image, in the same order: one probability per class.
    pub scores: Vec<Vec<f64>>,
}

/// Predictions that cannot become a submission, or a submission that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// No table, or a table without rows.
    #[error("there are no test predictions for a submission")]
    NoPredictions,
    /// An invalid score table.
    #[error(transparent)]
    Table(#[from] ScoreTableError),
    /// A row of another list.
    #[error("test predictions of fold {fold}: row {row} ({id:?}) is of the source {source_list}, expected test")]
    NotTest {
        /// The fold of the table.
        fold: Fold,
        /// The row, counted from 1.
        row: usize,
        /// The image's id.
        id: String,
        /// The row's source.
        source_list: Source,
    },
    /// A table with rows of several folds.
    #[error("test predictions of fold {fold}: row {row} is of fold {other}; a table must have the rows of one fold")]
    MixedFolds {
        /// The fold of the table's first row.
        fold: Fold,
        /// The row, counted from 1.
        row: usize,
        /// The row's fold.
        other: Fold,
    },
    /// Two tables of the same fold.
    #[error("there are two tables of test predictions of fold {fold}; only one per fold is allowed")]
    RepeatedFold {
        /// The fold.
        fold: Fold,
    },
    /// Tables of different numbers of classes.
    #[error("test predictions of fold {fold}: {found} classes, but those of fold {first_fold} have {expected}")]
    ClassCount {
        /// The fold.
        fold: Fold,
        /// The number of its classes.
        found: usize,
        /// The fold of the first table.
        first_fold: Fold,
        /// The number of the first table's classes.
        expected: usize,
    },
    /// Scores of another number of classes than the spec has.
    #[error("the predictions have the scores of {found} classes, but there are {expected} classes")]
    WrongClasses {
        /// The number of scores of a row.
        found: usize,
        /// The number of classes.
        expected: usize,
    },
    /// An image of the first table that is missing in another one.
    #[error("test predictions of fold {fold}: image {id:?} is missing; predict that fold again")]
    MissingInFold {
        /// The fold.
        fold: Fold,
        /// The image's id.
        id: String,
    },
    /// An image that is missing in the first table.
    #[error(
        "test predictions of fold {fold}: image {id:?} is not in those of fold {first_fold}; predict both folds with the same test list"
    )]
    ExtraInFold {
        /// The fold.
        fold: Fold,
        /// The image's id.
        id: String,
        /// The fold of the first table.
        first_fold: Fold,
    },
    /// An image of the test list without scores.
    #[error("image {id:?} of the test list has no predictions")]
    Missing {
        /// The image's id.
        id: String,
    },
    /// An image with scores that is not in the test list.
    #[error("image {id:?} has predictions, but is not in the test list")]
    Extra {
        /// The image's id.
        id: String,
    },
    /// An image that occurs twice in the test list or in the scores.
    #[error("image {id:?} occurs twice in the {place}")]
    Duplicate {
        /// The image's id.
        id: String,
        /// Where: `test list` or `predictions`.
        place: &'static str,
    },
    /// A threshold out of range.
    #[error("the threshold must be in 0..=1, but is {threshold}")]
    Threshold {
        /// The threshold.
        threshold: f64,
    },
    /// Another number of thresholds than there are classes.
    #[error("there are {found} thresholds, but {expected} classes")]
    WrongThresholds {
        /// The number of thresholds.
        found: usize,
        /// The number of classes.
        expected: usize,
    },
    /// Writing failed.
    #[error("the submission could not be written: {0}")]
    Write(#[from] io::Error),
}

/// The mean of the folds' scores of the test list, computed in f64. `tables` has one table per fold, with rows in any order;
/// the result has the order of the first table. The bits of the result depend on the order of the tables: pass them in
/// ascending order of their folds.
///
/// # Errors
/// If there is no table, or a table has no rows, rows of another list or rows of several folds; if two tables are of the
/// same fold; if a score is not in 0..=1; or if the tables do not have the same images.
pub fn mean_scores(tables: &[ScoreTable]) -> Result<MeanScores, SubmissionError> {
    let mut folds = HashSet::new();
    for table in tables {
        let fold = check_predictions(table)?;
        if !folds.insert(fold) {
            return Err(SubmissionError::RepeatedFold { fold });
        }
    }
    let first = tables.first().ok_or(SubmissionError::NoPredictions)?;
    if let Some(other) = tables.iter().find(|table| table.class_count != first.class_count) {
        let (first_fold, fold) = (first.rows[0].fold, other.rows[0].fold);
        let (expected, found) = (first.class_count, other.class_count);
        return Err(SubmissionError::ClassCount { fold, found, first_fold, expected });
    }
    let ids: Vec<String> = first.rows.iter().map(|row| row.id.clone()).collect();
    let positions: HashMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    let mut scores = vec![vec![0.0; first.class_count]; ids.len()];
    for table in tables {
        let mut seen = vec![false; ids.len()];
        for row in &table.rows {
            let position = *positions.get(row.id.as_str()).ok_or_else(|| SubmissionError::ExtraInFold {
                fold: row.fold,
                id: row.id.clone(),
                first_fold: first.rows[0].fold,
            })?;
            seen[position] = true;
            for (sum, score) in scores[position].iter_mut().zip(&row.scores) {
                *sum += f64::from(*score);
            }
        }
        if let Some(position) = seen.iter().position(|seen| !seen) {
            return Err(SubmissionError::MissingInFold { fold: table.rows[0].fold, id: ids[position].clone() });
        }
    }
    for sum in scores.iter_mut().flatten() {
        *sum /= tables.len() as f64;
    }
    Ok(MeanScores { ids, scores })
}

/// Checks the table of one fold and returns the fold.
fn check_predictions(table: &ScoreTable) -> Result<Fold, SubmissionError> {
    let fold = table.rows.first().ok_or(SubmissionError::NoPredictions)?.fold;
    table.check(&format!("test predictions of fold {fold}"))?;
    for (index, row) in table.rows.iter().enumerate() {
        if row.source != Source::Test {
            let (id, source_list) = (row.id.clone(), row.source);
            return Err(SubmissionError::NotTest { fold, row: index + 1, id, source_list });
        }
        if row.fold != fold {
            return Err(SubmissionError::MixedFolds { fold, row: index + 1, other: row.fold });
        }
    }
    Ok(fold)
}

/// Writes the submission: one row per id of the test list, in its order, with the labels in ascending order and in the
/// format of the spec's lists, by default `Id,Predicted` with numbers separated by spaces. `rule` turns scores into labels.
///
/// Nothing is written if a check fails.
///
/// # Errors
/// If a threshold is not in 0..=1, there is not one score, or threshold, per class, an id has no scores, scores have no id, one of them
/// occurs twice, or writing fails.
pub fn write_submission(
    ids: &[impl AsRef<str>],
    means: &MeanScores,
    rule: &DecisionRule,
    spec: &JobSetSpec,
    output: impl Write,
) -> Result<(), SubmissionError> {
    check_rule(rule, spec.class_count())?;
    let mut waiting = HashMap::with_capacity(means.ids.len());
    for (id, scores) in means.ids.iter().zip(&means.scores) {
        if scores.len() != spec.class_count() {
            return Err(SubmissionError::WrongClasses { found: scores.len(), expected: spec.class_count() });
        }
        if waiting.insert(id.as_str(), scores).is_some() {
            return Err(SubmissionError::Duplicate { id: id.clone(), place: "predictions" });
        }
    }
    let mut listed = HashSet::with_capacity(ids.len());
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids.iter().map(AsRef::as_ref) {
        if !listed.insert(id) {
            return Err(SubmissionError::Duplicate { id: id.to_owned(), place: "test list" });
        }
        let scores = waiting.get(id).ok_or_else(|| SubmissionError::Missing { id: id.to_owned() })?;
        rows.push((id, rule.labels(scores)));
    }
    if let Some(id) = means.ids.iter().find(|id| !listed.contains(id.as_str())) {
        return Err(SubmissionError::Extra { id: id.clone() });
    }
    let mut writer = csv::Writer::from_writer(output);
    writer.write_record(spec.submission_header()).map_err(io::Error::from)?;
    let class_names = spec.class_names();
    for (id, labels) in rows {
        writer.write_field(id).map_err(io::Error::from)?;
        for field in label_fields(&labels, spec, &class_names) {
            writer.write_field(field).map_err(io::Error::from)?;
        }
        writer.write_record(None::<&[u8]>).map_err(io::Error::from)?;
    }
    writer.flush()?;
    Ok(())
}

/// Refuses thresholds that are none, and another number of them than there are classes.
fn check_rule(rule: &DecisionRule, class_count: usize) -> Result<(), SubmissionError> {
    let thresholds = match rule {
        DecisionRule::Argmax => &[][..],
        DecisionRule::Threshold { threshold, .. } => std::slice::from_ref(threshold),
        DecisionRule::PerClass { thresholds, .. } if thresholds.len() != class_count => {
            return Err(SubmissionError::WrongThresholds { found: thresholds.len(), expected: class_count });
        }
        DecisionRule::PerClass { thresholds, .. } => thresholds,
    };
    match thresholds.iter().find(|threshold| !(0.0..=1.0).contains(*threshold)) {
        Some(&threshold) => Err(SubmissionError::Threshold { threshold }),
        None => Ok(()),
    }
}

/// The labels of a row in the format of the spec's lists.
fn label_fields(labels: &Labels, spec: &JobSetSpec, class_names: &[String]) -> Vec<String> {
    let separator = spec.label_separator.character().to_string();
    match spec.label_format {
        LabelFormat::Numbers => vec![labels.iter().map(|label| label.to_string()).collect::<Vec<_>>().join(&separator)],
        LabelFormat::Names => {
            let names: Vec<&str> = labels.iter().map(|label| class_names[usize::from(label)].as_str()).collect();
            vec![names.join(&separator)]
        }
        LabelFormat::OneHot => {
            let classes = (0_u16..).take(class_names.len());
            classes.map(|class| u8::from(labels.contains(class)).to_string()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::ScoreRow;
    use crate::spec::LabelSeparator;
    use crate::threshold::EmptyRows;

    const CLASSES: usize = 28;

    /// One fold's table; each row is an id and the scores of the first labels.
    fn table(fold: u8, rows: &[(&str, &[f32])]) -> ScoreTable {
        let rows = rows.iter().map(|(id, values)| {
            let mut scores = vec![0.0; CLASSES];
            scores[..values.len()].copy_from_slice(values);
            ScoreRow { id: (*id).to_owned(), source: Source::Test, fold: Fold(fold), target: Labels::default(), scores }
        });
        ScoreTable { class_count: CLASSES, rows: rows.collect() }
    }

    fn message(tables: &[ScoreTable]) -> String {
        mean_scores(tables).unwrap_err().to_string()
    }

    #[test]
    fn means_by_id_then_labels_in_the_list_s_order() {
        let tables = [
            table(0, &[("b", &[0.5, 0.25, 0.75]), ("a", &[0.125, 0.25])]),
            table(1, &[("a", &[0.125, 0.0]), ("b", &[1.0, 0.25, 0.25])]),
        ];
        let means = mean_scores(&tables).unwrap();
        assert_eq!(means.ids, ["b", "a"]);
        assert_eq!(means.scores[0][..3], [0.75, 0.25, 0.5]);
        assert_eq!(means.scores[1][..3], [0.125, 0.125, 0.0]);
        let submission = |empty_rows| {
            let mut bytes = Vec::new();
            let rule = DecisionRule::Threshold { threshold: 0.375, empty_rows };
            write_submission(&["a", "b"], &means, &rule, &JobSetSpec::default(), &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(submission(EmptyRows::Argmax), "Id,Predicted\na,0\nb,0 2\n");
        assert_eq!(submission(EmptyRows::Leave), "Id,Predicted\na,\nb,0 2\n");
    }

    #[test]
    fn labels_are_written_as_the_lists_have_them() {
        let means = MeanScores {
            ids: ["a", "b"].map(str::to_owned).to_vec(),
            scores: vec![vec![0.75, 0.25, 0.75], vec![0.25, 0.125, 0.125]],
        };
        let spec = JobSetSpec {
            classes: ["owl", "grey heron", "tit, blue"].map(str::to_owned).to_vec(),
            id_column: "image".to_owned(),
            label_separator: LabelSeparator::Bar,
            empty_rows: EmptyRows::Leave,
            ..JobSetSpec::default()
        };
        let written = |spec: &JobSetSpec| {
            let mut bytes = Vec::new();
            let rule = DecisionRule::Threshold { threshold: 0.5, empty_rows: spec.empty_rows };
            write_submission(&["b", "a"], &means, &rule, spec, &mut bytes).map_err(|error| error.to_string())?;
            Ok::<_, String>(String::from_utf8(bytes).unwrap())
        };
        assert_eq!(written(&spec).unwrap(), "image,Predicted\nb,\na,0|2\n");
        let names = JobSetSpec { label_format: LabelFormat::Names, label_column: "birds".to_owned(), ..spec.clone() };
        assert_eq!(written(&names).unwrap(), "image,birds\nb,\na,\"owl|tit, blue\"\n");
        let one_hot = JobSetSpec { label_format: LabelFormat::OneHot, ..spec.clone() };
        assert_eq!(written(&one_hot).unwrap(), "image,owl,grey heron,\"tit, blue\"\nb,0,0,0\na,1,0,1\n");
        let argmax = JobSetSpec { empty_rows: EmptyRows::Argmax, ..one_hot };
        assert!(written(&argmax).unwrap().contains("\nb,1,0,0\n"));
        let message = written(&JobSetSpec::default()).unwrap_err();
        assert_eq!(message, "the predictions have the scores of 3 classes, but there are 28 classes");
    }

    #[test]
    fn other_rules_than_one_threshold() {
        let means = MeanScores { ids: vec!["a".to_owned()], scores: vec![vec![0.25, 0.5, 0.75]] };
        let classes = ["x", "y", "z"].map(str::to_owned).to_vec();
        let spec = JobSetSpec { classes, ..JobSetSpec::default() };
        let written = |rule: DecisionRule| {
            let mut bytes = Vec::new();
            write_submission(&["a"], &means, &rule, &spec, &mut bytes).map_err(|error| error.to_string())?;
            Ok::<_, String>(String::from_utf8(bytes).unwrap())
        };
        let per_class = |thresholds: &[f64]| DecisionRule::PerClass {
            thresholds: thresholds.to_vec(),
            empty_rows: EmptyRows::Leave,
        };
        assert_eq!(written(DecisionRule::Argmax).unwrap(), "Id,Predicted\na,2\n");
        assert_eq!(written(per_class(&[0.125, 0.5, 0.5])).unwrap(), "Id,Predicted\na,0 2\n");
        assert_eq!(written(per_class(&[0.125])).unwrap_err(), "there are 1 thresholds, but 3 classes");
        let message = written(per_class(&[0.5, 2.0, 0.5])).unwrap_err();
        assert_eq!(message, "the threshold must be in 0..=1, but is 2");
    }

    #[test]
    fn tables_that_do_not_belong_together_are_refused() {
        let good = table(0, &[("a", &[0.5]), ("b", &[0.5])]);
        assert!(message(&[]).starts_with("there are no test predictions"));
        assert!(message(&[table(0, &[])]).starts_with("there are no test predictions"));
        assert!(message(&[good.clone(), table(1, &[("a", &[0.5])])]).contains("fold 1: image \"b\" is missing"));
        let extra = table(1, &[("a", &[0.5]), ("b", &[0.5]), ("c", &[0.5])]);
        assert!(message(&[good.clone(), extra]).contains("fold 1: image \"c\" is not in those of fold 0"));
        let twice = table(1, &[("a", &[0.5]), ("a", &[0.5])]);
        assert!(message(&[good.clone(), twice]).contains("\"a\" is already in row 1"));
        assert!(message(&[good.clone(), good.clone()]).contains("two tables of test predictions of fold 0"));
        let mut mixed = good.clone();
        mixed.rows[1].fold = Fold(4);
        assert!(message(&[mixed]).contains("row 2 is of fold 4"));
        let mut train = good.clone();
        train.rows[1].source = Source::Train;
        assert!(message(&[train]).contains("row 2 (\"b\") is of the source train"));
        let mut narrow = table(1, &[("a", &[0.5]), ("b", &[0.5])]);
        narrow.class_count = 5;
        narrow.rows.iter_mut().for_each(|row| row.scores.truncate(5));
        assert!(message(&[good.clone(), narrow]).contains("fold 1: 5 classes, but those of fold 0 have 28"));
        assert!(message(&[table(0, &[("a", &[f32::NAN])])]).contains("fold 0: row 1, field p0"));
    }

    #[test]
    fn a_list_that_does_not_fit_writes_nothing() {
        let means = mean_scores(&[table(0, &[("a", &[0.5]), ("b", &[0.5])])]).unwrap();
        let refused = |ids: &[&str], threshold| {
            let mut bytes = Vec::new();
            let rule = DecisionRule::Threshold { threshold, empty_rows: EmptyRows::Argmax };
            let error = write_submission(ids, &means, &rule, &JobSetSpec::default(), &mut bytes).unwrap_err();
            assert!(bytes.is_empty());
            error.to_string()
        };
        assert_eq!(refused(&["a", "b", "c"], 0.5), "image \"c\" of the test list has no predictions");
        assert_eq!(refused(&["b"], 0.5), "image \"a\" has predictions, but is not in the test list");
        assert_eq!(refused(&["a", "b", "a"], 0.5), "image \"a\" occurs twice in the test list");
        assert_eq!(refused(&["a", "b"], f64::NAN), "the threshold must be in 0..=1, but is NaN");
    }
}
