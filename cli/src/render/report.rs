//! Reports.

use fivefold_common::metrics::{ConfusionCell, Metrics, largest_confusions};
use fivefold_common::one_line::one_line;
use fivefold_common::report::{ClassReport, FoldReport, MissingFold, PartialFolds, Report};
use fivefold_common::spec::Task;

use super::table::{number, table};

/// The most classes whose confusion matrix is shown as a whole.
const MATRIX_CLASSES: usize = 12;
/// The confusions that are listed if there are more classes.
const LARGEST_CONFUSIONS: usize = 10;

/// The main figures of a report: the metrics, the threshold, the scores per fold, the easiest and hardest labels, and what a
/// multiclass prediction confuses.
pub(crate) fn report_summary(report: &Report) -> String {
    let mut text = report.partial.as_ref().map_or(String::new(), partial);
    text += &format!("Macro F1            {:.4}  on {} out-of-fold rows\n", report.macro_f1, report.rows);
    if let Some(cross_fitted) = &report.cross_fitted {
        let fitted = if report.threshold.is_some() { "threshold" } else { "thresholds" };
        text += &format!("  cross-fitted      {:.4}  each fold at the {fitted} of the others\n", cross_fitted.macro_f1);
    }
    let unseen = report.per_class.iter().filter(|class| class.scores.support == 0).count();
    if unseen > 0 {
        let labels = report.per_class.len();
        text += &format!("  no positives      {unseen} of {labels} labels, which count as 0 in macro F1\n");
    }
    let constant = report.best_constant.macro_f1;
    let times = if constant > 0.0 {
        format!("; the models score {:.1} times as much", report.macro_f1 / constant)
    } else {
        String::new()
    };
    text += &format!("  best constant     {constant:.4}  the same labels for every image{times}\n");
    text += &report.metrics.as_ref().map_or(String::new(), other_metrics);
    text += &thresholds(report);
    if let Some(split) = &report.split {
        text += &format!("Folds               {split}\n");
    }
    text.push('\n');
    text += &folds(report);
    text.push('\n');
    text += &labels("Easiest labels", report, |_| true, |a, b| b.total_cmp(&a));
    text += &labels("Hardest labels", report, |f1| f1 < 1.0, |a, b| a.total_cmp(&b));
    if report.task == Task::Multiclass {
        text += &confusions(report);
    }
    text
}

/// Every metric but macro F1.
fn other_metrics(metrics: &Metrics) -> String {
    let left_out = match metrics.unranked_classes {
        0 => String::new(),
        count => format!("  without {count} labels that all rows have, or none"),
    };
    format!(
        "Micro F1            {:.4}\nMean AUROC          {}{left_out}\nmAP                 {}{left_out}\nAccuracy            {:.4}\n",
        metrics.micro_f1,
        number(metrics.mean_auroc, 4),
        number(metrics.map, 4),
        metrics.accuracy
    )
}

/// Where the labels come from, unless the highest score decides.
fn thresholds(report: &Report) -> String {
    match (report.threshold, report.threshold_interval) {
        (Some(threshold), Some([lower, upper])) => {
            format!("Threshold           {threshold:.4}  optimal from {lower:.4} to {upper:.4}\n")
        }
        (Some(threshold), None) => format!("Threshold           {threshold:.4}  given\n"),
        (None, _) => {
            let own = || report.per_class.iter().filter_map(|class| class.threshold);
            let (low, high) = (own().reduce(f64::min), own().reduce(f64::max));
            low.zip(high).map_or(String::new(), |(low, high)| {
                format!("Thresholds          {low:.4} to {high:.4}  one for each label\n")
            })
        }
    }
}

fn folds(report: &Report) -> String {
    if report.task == Task::Multiclass {
        let row = |fold: &FoldReport| [fold.fold.to_string(), fold.rows.to_string(), format!("{:.4}", fold.macro_f1)];
        return table(["FOLD", "ROWS", "MACRO F1"], &report.per_fold.iter().map(row).collect::<Vec<_>>());
    }
    let row = |fold: &FoldReport| {
        let (own, at) = (number(fold.best_macro_f1, 4), number(fold.best_threshold, 4));
        [fold.fold.to_string(), fold.rows.to_string(), format!("{:.4}", fold.macro_f1), own, at]
    };
    let rows: Vec<_> = report.per_fold.iter().map(row).collect();
    table(["FOLD", "ROWS", "MACRO F1", "OWN BEST F1", "OWN THRESHOLD"], &rows)
}

/// The confusion matrix or, of many classes, its largest cells beside the diagonal.
fn confusions(report: &Report) -> String {
    let name = |label: u16| report.per_class.get(usize::from(label)).map_or("", |class| class.name.as_str());
    if report.per_class.len() > MATRIX_CLASSES {
        let row = |cell: &ConfusionCell| {
            [name(cell.target).to_owned(), name(cell.predicted).to_owned(), cell.rows.to_string()]
        };
        let rows: Vec<_> = largest_confusions(&report.confusion_matrix, LARGEST_CONFUSIONS).iter().map(row).collect();
        return format!("\n{}", table(["LABEL", "TAKEN FOR", "IMAGES"], &rows));
    }
    let rows_of = |target: u16, predicted: u16| {
        let cell = report.confusion_matrix.iter().find(|cell| (cell.target, cell.predicted) == (target, predicted));
        cell.map_or(0, |cell| cell.rows)
    };
    let labels: Vec<u16> = report.per_class.iter().map(|class| class.label).collect();
    let name_width = labels.iter().map(|&label| name(label).chars().count()).max().unwrap_or_default();
    let cell_width = report.rows.to_string().len().max(4);
    let mut text =
        "\nConfusion matrix: a row for each label, a column for each prediction, in the same order\n".to_owned();
    for &target in &labels {
        text += &format!("{:<name_width$}", name(target));
        for &predicted in &labels {
            text += &format!(" {:>cell_width$}", rows_of(target, predicted));
        }
        text.push('\n');
    }
    text
}

/// Which folds are missing, and why.
fn partial(PartialFolds { folds, missing }: &PartialFolds) -> String {
    let mut text = format!("PARTIAL             folds {folds} of {}\n", folds.len() + missing.len());
    for MissingFold { fold, state, reason } in missing {
        let reason = if reason.is_empty() { String::new() } else { format!(": {}", one_line(reason)) };
        text += &format!("  fold {fold} is missing  {state}{reason}\n");
    }
    text
}

/// The first three labels in `order` of their F1, among those whose F1 `counts`. Labels without rows do not count.
fn labels(
    title: &str,
    report: &Report,
    counts: impl Fn(f64) -> bool,
    order: impl Fn(f64, f64) -> std::cmp::Ordering,
) -> String {
    let has_rows_and_counts = |class: &&ClassReport| class.scores.support > 0 && counts(class.scores.f1);
    let mut classes: Vec<_> = report.per_class.iter().filter(has_rows_and_counts).collect();
    classes.sort_by(|a, b| order(a.scores.f1, b.scores.f1));
    let named: Vec<String> =
        classes.iter().take(3).map(|class| format!("{} {:.2}", class.name, class.scores.f1)).collect();
    format!("{title:<20}{}\n", if named.is_empty() { "none".to_owned() } else { named.join(", ") })
}
