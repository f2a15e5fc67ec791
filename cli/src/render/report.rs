//! Reports.

use fivefold_common::one_line::one_line;
use fivefold_common::report::{ClassReport, MissingFold, PartialFolds, Report};

use super::table::table;

/// The main figures of a report: macro F1, threshold, the scores per fold, and the easiest and hardest labels.
pub(crate) fn report_summary(report: &Report) -> String {
    let mut text = report.partial.as_ref().map_or(String::new(), partial);
    text += &format!("Macro F1            {:.4}  on {} out-of-fold rows\n", report.macro_f1, report.rows);
    if let Some(cross_fitted) = &report.cross_fitted {
        text +=
            &format!("  cross-fitted      {:.4}  each fold at the threshold of the others\n", cross_fitted.macro_f1);
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
    let [lower, upper] = report.threshold_interval;
    text += &format!("Threshold           {:.4}  optimal from {lower:.4} to {upper:.4}\n", report.threshold);
    if let Some(split) = &report.split {
        text += &format!("Folds               {split}\n");
    }
    let folds: Vec<[String; 5]> = report
        .per_fold
        .iter()
        .map(|fold| {
            let own = format!("{:.4}", fold.best_macro_f1);
            let at = format!("{:.4}", fold.best_threshold);
            [fold.fold.to_string(), fold.rows.to_string(), format!("{:.4}", fold.macro_f1), own, at]
        })
        .collect();
    text.push('\n');
    text += &table(["FOLD", "ROWS", "MACRO F1", "OWN BEST F1", "OWN THRESHOLD"], &folds);
    text.push('\n');
    text += &labels("Easiest labels", report, |_| true, |a, b| b.total_cmp(&a));
    text += &labels("Hardest labels", report, |f1| f1 < 1.0, |a, b| a.total_cmp(&b));
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
