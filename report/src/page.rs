//! The page: its parts in their order.

use fivefold_common::metrics::Metrics;
use fivefold_common::report::{MissingFold, Report};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Content;
use crate::calibration::calibration;
use crate::chart::{DrawError, number};
use crate::class_chart::class_chart;
use crate::class_table::class_table;
use crate::co_occurrence::co_occurrence;
use crate::confusions::confusions;
use crate::fold_spread::fold_spread;
use crate::learning_curves::learning_curves;
use crate::mistakes::mistakes;
use crate::origin::origin;
use crate::precision_recall::precision_recall;
use crate::rows::Rows;
use crate::threshold_chart::threshold_chart;

const STYLE: &str = include_str!("page.css");

pub(crate) fn page(content: &Content<'_>) -> Result<Markup, DrawError> {
    let Content { title, report, table, curves, picture } = *content;
    let rows = Rows::of(report, table);
    let content = html! {
        h1 { (title) }
        (partial(report))
        (headline(report))
        h2 { "Threshold and scores" }
        div.pair { (threshold_chart(report)?) (precision_recall(report, &rows)?) (calibration(&rows)?) }
        h2 { "Labels" }
        (class_chart(report, &rows)?)
        (class_table(report))
        (co_occurrence(&rows)?)
        h2 { "Confusions" }
        (confusions(report, &rows)?)
        h2 { "Folds" }
        div.pair { (fold_spread(report)?) }
        @if curves.iter().any(|fold| !fold.epochs.is_empty()) {
            h2 { "Training" }
            (learning_curves(curves)?)
        }
        h2 { "Worst mistakes" }
        (mistakes(report, &rows, picture))
        h2 { "Origin" }
        (origin(report))
    };
    Ok(document(title, &content))
}

/// A page with its style.
pub(crate) fn document(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Fivefold" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    }
}

fn partial(report: &Report) -> Markup {
    html! {
        @if let Some(partial) = &report.partial {
            p.problem { "Partial: folds " (partial.folds) " of " (partial.folds.len() + partial.missing.len()) ". The figures are of these folds alone." }
            ul { @for MissingFold { fold, state, reason } in &partial.missing { li { "fold " (fold) ": " (state) @if !reason.is_empty() { ": " (reason) } } } }
        }
    }
}

fn headline(report: &Report) -> Markup {
    let item = |name: &str, value: String| html! { div { dt { (name) } dd { (value) } } };
    html! {
        dl.scores {
            (item("macro F1", format!("{:.4}", report.macro_f1)))
            @if let Some(cross_fitted) = &report.cross_fitted { (item("cross-fitted", format!("{:.4}", cross_fitted.macro_f1))) }
            (item("best constant", format!("{:.4}", report.best_constant.macro_f1)))
            @if let Some(threshold) = report.threshold { (item("threshold", format!("{threshold:.4}"))) }
            @if let Some(metrics) = &report.metrics { (other_metrics(metrics)) }
            (item("rows", report.rows.to_string()))
        }
        @if report.cross_fitted.is_some() {
            p { "Cross-fitted: each fold at the threshold of the other folds, so that the choice of the threshold does not flatter the score." }
        }
        p { "Best constant: the same labels for every image. All figures are of out-of-fold rows: no model has seen the image that it scores." }
    }
}

fn other_metrics(metrics: &Metrics) -> Markup {
    let item = |name: &str, value: Option<f64>| html! { div { dt { (name) } dd { (number(value, 4)) } } };
    html! {
        (item("micro F1", Some(metrics.micro_f1))) (item("mean AUROC", metrics.mean_auroc)) (item("mAP", metrics.map))
        (item("accuracy", Some(metrics.accuracy)))
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::progress::{EpochMetrics, EpochReport};
    use fivefold_common::spec::Objective;

    use crate::rows::tests::{report, table};
    use crate::{Content, FoldEpochs, Picture, html};

    fn drawn(curves: &[FoldEpochs]) -> String {
        let (report, table) = (report(), table());
        let picture = |_, _: &str| Picture::None;
        html(&Content { title: "evening <1>", report: &report, table: &table, curves, picture: &picture }).unwrap()
    }

    #[test]
    fn a_page_needs_nothing_else_and_escapes_every_name() {
        let page = drawn(&[]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
        assert!(page.contains("evening &lt;1&gt;") && page.contains("Golgi &lt;apparatus&gt;"));
        for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
            let uses = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            assert!(!uses.contains(outside), "{outside}");
        }
        for part in [
            "Macro F1 by threshold",
            "Calibration",
            "Precision and recall",
            "F1 of the labels",
            "Macro F1 of the folds",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<h2>Training</h2>"));
    }

    #[test]
    fn folds_with_epochs_have_learning_curves() {
        let metrics = EpochMetrics {
            epoch: 0,
            train_loss: 0.5,
            valid_loss: f64::NAN,
            macro_f1: 0.25,
            threshold: Some(0.5),
            learning_rate: 1e-3,
            objective: None,
        };
        let epochs = vec![EpochReport { metrics, duration_seconds: 1.0 }];
        let page = drawn(&[FoldEpochs { fold: 3, objective: Objective::MacroF1, epochs }]);
        assert!(
            page.contains("<h2>Training</h2>") && page.contains("fold 3") && page.contains("Validation loss"),
            "{page}"
        );
    }
}
