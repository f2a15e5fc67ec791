//! From an out-of-fold table to its report.

use std::collections::BTreeSet;

use super::{BestConstantReport, ClassReport, CrossFitted, FitOn, FoldReport, FoldThreshold, Report, ReportError};
use crate::decision_rule::{DecisionRule, DecisionSettings};
use crate::ids::Fold;
use crate::labels::Labels;
use crate::macro_f1::{ClassF1, best_constant_class, best_constant_prediction};
use crate::metrics::{Metrics, PredictionTally, RankingMetrics, confusion_matrix};
use crate::scores::{ScoreRow, ScoreTable, Source};
use crate::spec::{Task, ThresholdRule};
use crate::threshold::{Sweep, ThresholdError, fit_threshold};

/// The number of points of the curve: thresholds 0, 1/200, …, 199/200.
const CURVE_POINTS: u32 = 200;

/// The report of an out-of-fold table, with the threshold fitted on the rows of the training list alone.
///
/// `class_names` has the name of each class. The caller sets `job_set`, `made_by` and `split`.
///
/// # Errors
/// If there are not as many names as classes, or the table has no such row, a row of the test list, an image twice, or a
/// score that is NaN or outside 0..=1; if the task is multiclass, and a row has no class or several.
pub fn build_report(
    table: &ScoreTable,
    class_names: &[String],
    settings: impl Into<DecisionSettings>,
) -> Result<Report, ReportError> {
    build_report_on(table, class_names, settings, FitOn::Train)
}

/// As [`build_report`], on the rows of `fit_on`.
///
/// # Errors
/// As for [`build_report`].
pub fn build_report_on(
    table: &ScoreTable,
    class_names: &[String],
    settings: impl Into<DecisionSettings>,
    fit_on: FitOn,
) -> Result<Report, ReportError> {
    build_report_of(table, table.digest_hex(), class_names, settings, fit_on)
}

/// As [`build_report_on`], for a caller that knows the digest of the table's CSV.
///
/// # Errors
/// As for [`build_report`].
pub fn build_report_of(
    table: &ScoreTable,
    oof_digest: String,
    class_names: &[String],
    settings: impl Into<DecisionSettings>,
    fit_on: FitOn,
) -> Result<Report, ReportError> {
    let settings = settings.into();
    let rows = rows_of_fit(table, class_names, settings.task, fit_on)?;
    let class_count = table.class_count;
    let all = FlatRows::from_rows(class_count, rows.iter().copied());
    let Fitted { rule, threshold_interval, curve } = Fitted::on(&all, settings)?;
    let tally = all.tally(&rule)?;
    let ranking = RankingMetrics::of(&all.scores, class_count, &all.targets);
    let metrics = Metrics::new(&tally, &ranking);
    Ok(Report {
        job_set: None,
        partial: None,
        made_by: serde_json::Value::Null,
        split: None,
        oof_digest,
        rows_in_table: table.rows.len() as u64,
        fit_on,
        rows: rows.len() as u64,
        empty_rows: settings.empty_rows,
        threshold: rule.threshold(),
        threshold_interval,
        macro_f1: metrics.macro_f1,
        cross_fitted: cross_fit(class_count, &rows, settings)?,
        best_constant: best_constant(&all, settings.task),
        per_class: class_reports(class_names, &tally, &ranking, &rule),
        per_fold: folds_of(&rows)
            .into_iter()
            .map(|fold| fold_report(class_count, &rows, fold, &rule))
            .collect::<Result<_, _>>()?,
        curve,
        task: settings.task,
        metrics: Some(metrics),
        confusion_matrix: match settings.task {
            Task::Multilabel => Vec::new(),
            Task::Multiclass => {
                let predicted = all.scores.chunks_exact(class_count).map(|row| rule.labels(row));
                confusion_matrix(all.targets.iter().zip(predicted))
            }
        },
    })
}

/// The checked rows of a table on which the report is computed.
fn rows_of_fit<'a>(
    table: &'a ScoreTable,
    class_names: &[String],
    task: Task,
    fit_on: FitOn,
) -> Result<Vec<&'a ScoreRow>, ReportError> {
    table.check("out-of-fold table")?;
    let class_count = table.class_count;
    if class_names.len() != class_count {
        return Err(ReportError::ClassNames { names: class_names.len(), class_count });
    }
    let at = |index: usize| (index + 1, table.rows[index].id.clone());
    if let Some(index) = table.rows.iter().position(|row| row.source == Source::Test) {
        let (row, id) = at(index);
        return Err(ReportError::TestRow { row, id });
    }
    let is_odd = |row: &ScoreRow| task == Task::Multiclass && row.target.len() != 1;
    if let Some(index) = table.rows.iter().position(is_odd) {
        let (row, id) = at(index);
        return Err(ReportError::NotOneClass { row, id, count: table.rows[index].target.len() });
    }
    let rows: Vec<&ScoreRow> =
        table.rows.iter().filter(|row| fit_on == FitOn::TrainAndHpa || row.source == Source::Train).collect();
    if rows.is_empty() {
        return Err(ReportError::NoRows { rows_in_table: table.rows.len() });
    }
    Ok(rows)
}

/// The rule of a report, with what its fit brings along.
struct Fitted {
    rule: DecisionRule,
    threshold_interval: Option<[f64; 2]>,
    curve: Vec<(f64, f64)>,
}

impl Fitted {
    fn on(all: &FlatRows, settings: DecisionSettings) -> Result<Fitted, ThresholdError> {
        if settings.task == Task::Multiclass {
            return Ok(Fitted { rule: DecisionRule::Argmax, threshold_interval: None, curve: Vec::new() });
        }
        let empty_rows = settings.empty_rows;
        let sweep = Sweep::new(&all.scores, all.class_count, &all.targets, empty_rows)?;
        let thresholds: Vec<f64> = (0..CURVE_POINTS).map(|point| f64::from(point) / f64::from(CURVE_POINTS)).collect();
        let values = sweep.curve(&thresholds);
        let (rule, threshold_interval) = match settings.threshold {
            // The sweep is there already.
            ThresholdRule::Global => {
                let fit = sweep.fit();
                let rule = DecisionRule::Threshold { threshold: fit.threshold, empty_rows };
                (rule, Some([fit.lower, fit.upper]))
            }
            ThresholdRule::PerClass | ThresholdRule::Fixed(_) => (all.fit(settings)?, None),
        };
        Ok(Fitted { rule, threshold_interval, curve: thresholds.into_iter().zip(values).collect() })
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

    fn fit(&self, settings: DecisionSettings) -> Result<DecisionRule, ThresholdError> {
        DecisionRule::fit(settings, &self.scores, self.class_count, &self.targets)
    }

    fn tally(&self, rule: &DecisionRule) -> Result<PredictionTally, ThresholdError> {
        rule.tally(&self.scores, self.class_count, &self.targets)
    }
}

fn class_reports(
    class_names: &[String],
    tally: &PredictionTally,
    ranking: &RankingMetrics,
    rule: &DecisionRule,
) -> Vec<ClassReport> {
    let thresholds = rule.thresholds_per_class().unwrap_or_default();
    let counts = tally.classes.classes.iter().zip(&ranking.per_class);
    (0_u16..)
        .zip(class_names)
        .zip(counts)
        .map(|((label, name), (counts, ranking))| ClassReport {
            label,
            name: name.clone(),
            scores: ClassF1::from(*counts),
            threshold: thresholds.get(usize::from(label)).copied(),
            auroc: ranking.map(|ranking| ranking.auroc),
            average_precision: ranking.map(|ranking| ranking.average_precision),
        })
        .collect()
}

fn best_constant(all: &FlatRows, task: Task) -> BestConstantReport {
    let constant = match task {
        Task::Multilabel => best_constant_prediction(&all.targets, all.class_count),
        Task::Multiclass => best_constant_class(&all.targets, all.class_count),
    };
    BestConstantReport { labels: constant.labels.iter().collect(), macro_f1: constant.macro_f1 }
}

fn folds_of(rows: &[&ScoreRow]) -> BTreeSet<Fold> {
    rows.iter().map(|row| row.fold).collect()
}

fn fold_report(
    class_count: usize,
    rows: &[&ScoreRow],
    fold: Fold,
    rule: &DecisionRule,
) -> Result<FoldReport, ThresholdError> {
    let own = FlatRows::from_rows(class_count, rows.iter().copied().filter(|row| row.fold == fold));
    let best = match rule {
        DecisionRule::Argmax => None,
        DecisionRule::Threshold { empty_rows, .. } | DecisionRule::PerClass { empty_rows, .. } => {
            Some(fit_threshold(&own.scores, class_count, &own.targets, *empty_rows)?)
        }
    };
    Ok(FoldReport {
        fold,
        rows: own.targets.len() as u64,
        macro_f1: own.tally(rule)?.classes.macro_f1(),
        best_threshold: best.as_ref().map(|best| best.threshold),
        best_macro_f1: best.as_ref().map(|best| best.macro_f1),
    })
}

/// Each fold by the rule fitted on the others; `None` with fewer than two folds, or if nothing is fitted.
fn cross_fit(
    class_count: usize,
    rows: &[&ScoreRow],
    settings: DecisionSettings,
) -> Result<Option<CrossFitted>, ThresholdError> {
    let is_fitted = match (settings.task, settings.threshold) {
        (Task::Multiclass, _) | (_, ThresholdRule::Fixed(_)) => false,
        (Task::Multilabel, ThresholdRule::Global | ThresholdRule::PerClass) => true,
    };
    let folds = folds_of(rows);
    if folds.len() < 2 || !is_fitted {
        return Ok(None);
    }
    let mut tally = PredictionTally::new(class_count);
    let mut thresholds = Vec::new();
    for fold in folds {
        let others = FlatRows::from_rows(class_count, rows.iter().copied().filter(|row| row.fold != fold));
        let rule = others.fit(settings)?;
        for row in rows.iter().filter(|row| row.fold == fold) {
            tally.add(&row.target, &rule.labels(&row.scores));
        }
        let per_class = rule.thresholds_per_class().unwrap_or_default().to_vec();
        thresholds.push(FoldThreshold { fold, threshold: rule.threshold(), per_class });
    }
    Ok(Some(CrossFitted { macro_f1: tally.classes.macro_f1(), thresholds }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::names_for_count;
    use crate::spec::JobSetSpec;
    use crate::threshold::EmptyRows;

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
        let fit = fit_threshold(&train.scores, 28, &train.targets, EmptyRows::Argmax).unwrap();
        assert_eq!((report.threshold, report.macro_f1), (Some(fit.threshold), fit.macro_f1));
        assert_eq!(report.threshold_interval, Some([fit.lower, fit.upper]));
        assert_eq!((report.rows_in_table, report.rows, report.curve.len()), (200, 150, 200));
        assert_eq!(report.oof_digest, table.digest_hex());
        let mean = report.per_class.iter().map(|class| class.scores.f1).sum::<f64>() / 28.0;
        assert!((mean - report.macro_f1).abs() < 1e-12);
        assert_eq!((report.per_class[27].label, report.per_class[27].name.as_str()), (27, "Rods & rings"));
        assert_eq!(report.best_constant.labels, [0, 1, 2, 3, 4, 5, 6, 20]);
        assert!(report.best_constant.macro_f1 < report.macro_f1);
        for (threshold, value) in &report.curve {
            let rule = DecisionRule::Threshold { threshold: *threshold, empty_rows: EmptyRows::Argmax };
            assert_eq!(train.tally(&rule).unwrap().classes.macro_f1(), *value);
            assert!(*value <= report.macro_f1);
        }
        assert_eq!(report.per_fold.iter().map(|fold| fold.rows).sum::<u64>(), 150);
        assert!(report.per_fold.iter().all(|fold| Some(fold.macro_f1) <= fold.best_macro_f1));
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

    fn report_of(table: &ScoreTable, threshold: ThresholdRule) -> Report {
        let settings = DecisionSettings { threshold, ..DecisionSettings::default() };
        build_report(table, &names(), settings).unwrap()
    }

    #[test]
    fn thresholds_per_class_are_in_the_report_with_their_cross_fitted_score() {
        let table = table(200);
        let report = report_of(&table, ThresholdRule::PerClass);
        assert_eq!((report.threshold, report.threshold_interval, report.curve.len()), (None, None, 200));
        let rule = report.decision_rule();
        assert_eq!(rule.thresholds_per_class().map(<[f64]>::len), Some(28));
        // Each class is cut where its F1 is highest, so that the mean is, too; rows that are empty then change it.
        let train = FlatRows::from_rows(28, table.rows.iter().filter(|row| row.source == Source::Train));
        assert_eq!(train.tally(&rule).unwrap().classes.macro_f1(), report.macro_f1);
        let leave = DecisionSettings {
            threshold: ThresholdRule::PerClass,
            empty_rows: EmptyRows::Leave,
            ..DecisionSettings::default()
        };
        let leave = build_report(&table, &names(), leave).unwrap();
        assert!(leave.macro_f1 >= build_report(&table, &names(), EmptyRows::Leave).unwrap().macro_f1);
        let cross_fitted = leave.cross_fitted.unwrap();
        assert!(cross_fitted.macro_f1 > 0.0 && cross_fitted.macro_f1 < leave.macro_f1, "{cross_fitted:?}");
        for FoldThreshold { fold, threshold, per_class } in cross_fitted.thresholds {
            assert_eq!((threshold, per_class.len()), (None, 28));
            let rows = table.rows.iter().filter(|row| row.source == Source::Train && row.fold != fold);
            let others = FlatRows::from_rows(28, rows);
            let column: Vec<f32> = others.scores.iter().skip(20).step_by(28).copied().collect();
            let targets = vec![Labels::from_indices([0]).unwrap(); column.len()];
            assert_eq!(per_class[20], fit_threshold(&column, 1, &targets, EmptyRows::Leave).unwrap().threshold);
        }
    }

    #[test]
    fn a_fixed_threshold_is_not_fitted() {
        let report = report_of(&table(200), ThresholdRule::Fixed(0.15));
        assert_eq!((report.threshold, report.threshold_interval, report.cross_fitted), (Some(0.15), None, None));
        let at = report.curve.iter().find(|(threshold, _)| *threshold == 0.15).unwrap().1;
        assert_eq!(report.macro_f1, at);
    }

    #[test]
    fn multiclass_takes_the_highest_score() {
        let mut table = table(100);
        for (place, row) in table.rows.iter_mut().enumerate() {
            row.target = Labels::from_indices([(place % 3) as u16]).unwrap();
            row.scores = vec![0.0; 28];
            // Every tenth row is taken for class 4.
            row.scores[if place % 10 == 0 { 4 } else { place % 3 }] = 1.0;
        }
        let spec = JobSetSpec { task: Task::Multiclass, ..JobSetSpec::default() };
        let report = build_report(&table, &names(), &spec).unwrap();
        assert_eq!((report.threshold, report.decision_rule(), report.curve.len()), (None, DecisionRule::Argmax, 0));
        assert_eq!((&report.cross_fitted, report.per_fold[0].best_threshold), (&None, None));
        let wrong: u64 = report.confusion_matrix.iter().filter(|cell| !cell.is_hit()).map(|cell| cell.rows).sum();
        assert_eq!(report.confusion_matrix.iter().map(|cell| cell.rows).sum::<u64>(), report.rows);
        assert_eq!(report.metrics.unwrap().accuracy, 1.0 - wrong as f64 / report.rows as f64);
        assert!(report.confusion_matrix.iter().all(|cell| cell.is_hit() || cell.predicted == 4));
        assert_eq!(report.best_constant.labels.len(), 1);
        table.rows[7].target = Labels::default();
        let message = build_report(&table, &names(), &spec).unwrap_err().to_string();
        assert_eq!(
            message,
            "out-of-fold table: row 8 (\"7\") has 0 classes, where the task multiclass has exactly one"
        );
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
        assert!(value["per_class"][3]["precision"].is_f64() && value["per_class"][3]["auroc"].is_f64());
        assert!(value["metrics"]["mean_auroc"].is_f64() && value["metrics"]["map"].is_f64());
        // A report of version 0.1.0 lacks what came later.
        let mut older = value.clone();
        older.as_object_mut().unwrap().remove("metrics");
        let older: Report = serde_json::from_value(older).unwrap();
        assert_eq!((older.metrics, older.threshold), (None, report.threshold));
    }
}
