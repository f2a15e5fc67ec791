//! The report of a job set, by label and fold.

use axum::extract::{Extension, Path, State};
use fivefold_common::metrics::{Metrics, largest_confusions};
use fivefold_common::report::Report;
use fivefold_common::spec::Task;
use maud::{Markup, html};

use super::Page;
use super::gate::Viewer;
use super::job_set::parsed;
use super::layout::{self, Root, name_of, number};
use super::problem::Problem;
use crate::app;
use crate::error::Error;
use crate::queue::{FitRecord, JobSet};

pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
) -> Result<Markup, Problem> {
    let job_set = app::job_set(&page.coordinator, &parsed(&id)?).await?;
    let Some(FitRecord { fit, .. }) = job_set.fit_at_end() else {
        return Err(Problem::NotFound(format!("{id} has no report yet: its folds are not all trained")));
    };
    let bytes = page.coordinator.blobs.read(fit.report.digest).await?;
    let report: Report =
        serde_json::from_slice(&bytes).map_err(|error| Error::Stored(format!("the report of {id}: {error}")))?;
    let title = format!("Report of {}", name_of(&job_set));
    Ok(layout::page(Root("../.."), &title, viewer, &content(&job_set, &report)))
}

/// The most classes whose confusion matrix is shown as a whole.
const MATRIX_CLASSES: usize = 20;
/// The confusions that are listed if there are more classes.
const LARGEST_CONFUSIONS: usize = 20;

fn content(job_set: &JobSet, report: &Report) -> Markup {
    html! {
        h1 { "Report of " a href=(format!("../{}", job_set.id)) { (name_of(job_set)) } }
        @if let Some(partial) = &report.partial {
            p.problem { "Partial: folds " (partial.folds) " of " (partial.folds.len() + partial.missing.len()) "." }
        }
        dl.scores {
            div { dt { "macro F1" } dd { (format!("{:.4}", report.macro_f1)) } }
            @if let Some(cross_fitted) = &report.cross_fitted {
                div { dt { "cross-fitted" } dd { (format!("{:.4}", cross_fitted.macro_f1)) } }
            }
            div { dt { "best constant" } dd { (format!("{:.4}", report.best_constant.macro_f1)) } }
            @if let Some(threshold) = report.threshold { div { dt { "threshold" } dd { (format!("{threshold:.4}")) } } }
            @if let Some([lower, upper]) = report.threshold_interval {
                div { dt { "optimal from" } dd { (format!("{lower:.4} to {upper:.4}")) } }
            }
            @if let Some(metrics) = &report.metrics { (metric_items(metrics)) }
            div { dt { "rows" } dd { (report.rows) } }
        }
        p {
            @if report.cross_fitted.is_some() {
                "Cross-fitted: each fold at the threshold of the other folds, so that the choice of the threshold does not flatter the score. "
            }
            "Best constant: the same labels for every image."
        }
        h2 { "Labels" }
        (labels(report))
        @if report.task == Task::Multiclass { h2 { "Confusions" } (confusions(report)) }
        h2 { "Folds" }
        (folds(report))
    }
}

/// Every metric but macro F1.
fn metric_items(metrics: &Metrics) -> Markup {
    let left_out = match metrics.unranked_classes {
        0 => String::new(),
        count => format!(" (without {count} labels that all rows have, or none)"),
    };
    html! {
        div { dt { "micro F1" } dd { (format!("{:.4}", metrics.micro_f1)) } }
        div { dt { "mean AUROC" } dd { (number(metrics.mean_auroc, 4)) (left_out) } }
        div { dt { "mAP" } dd { (number(metrics.map, 4)) (left_out) } }
        div { dt { "accuracy" } dd { (format!("{:.4}", metrics.accuracy)) } }
    }
}

/// The confusion matrix or, of many classes, its largest cells beside the diagonal.
fn confusions(report: &Report) -> Markup {
    let name = |label: u16| report.per_class.get(usize::from(label)).map_or("", |class| class.name.as_str());
    if report.per_class.len() > MATRIX_CLASSES {
        let largest = largest_confusions(&report.confusion_matrix, LARGEST_CONFUSIONS);
        return html! {
            div.wide role="region" aria-label="Largest confusions" tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Label" } th scope="col" { "taken for" } th scope="col" { "Images" } } }
                    tbody {
                        @for cell in &largest { tr { th scope="row" { (name(cell.target)) } td { (name(cell.predicted)) } td { (cell.rows) } } }
                    }
                }
            }
        };
    }
    let labels: Vec<u16> = report.per_class.iter().map(|class| class.label).collect();
    let rows_of = |target: u16, predicted: u16| {
        let cell = report.confusion_matrix.iter().find(|cell| (cell.target, cell.predicted) == (target, predicted));
        cell.map_or(0, |cell| cell.rows)
    };
    html! {
        div.wide role="region" aria-label="Confusions" tabindex="0" {
            table {
                thead { tr { th scope="col" { "Label, and what it is taken for" } @for &label in &labels { th scope="col" { (name(label)) } } } }
                tbody {
                    @for &target in &labels {
                        tr { th scope="row" { (name(target)) } @for &predicted in &labels { td { (rows_of(target, predicted)) } } }
                    }
                }
            }
        }
    }
}

fn labels(report: &Report) -> Markup {
    let has_thresholds = report.per_class.iter().any(|class| class.threshold.is_some());
    html! {
        div.wide role="region" aria-label="Labels" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Label" } th scope="col" { "F1" } th scope="col" { "Precision" } th scope="col" { "Recall" }
                        th scope="col" { "AUROC" } th scope="col" { "Average precision" }
                        @if has_thresholds { th scope="col" { "Threshold" } }
                        th scope="col" { "Images" }
                    }
                }
                tbody {
                    @for class in &report.per_class {
                        tr {
                            th scope="row" { (class.label) " " (class.name) }
                            @if class.scores.support == 0 { td colspan="3" { "no image has it" } } @else {
                                td { meter min="0" max="1" value=(format!("{:.4}", class.scores.f1)) aria-label="F1" {} (format!(" {:.4}", class.scores.f1)) }
                                td { (format!("{:.4}", class.scores.precision)) }
                                td { (format!("{:.4}", class.scores.recall)) }
                            }
                            td { (number(class.auroc, 4)) } td { (number(class.average_precision, 4)) }
                            @if has_thresholds { td { (number(class.threshold, 4)) } }
                            td { (class.scores.support) }
                        }
                    }
                }
            }
        }
    }
}

fn folds(report: &Report) -> Markup {
    let has_thresholds = report.task == Task::Multilabel;
    html! {
        div.wide role="region" aria-label="Folds" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Fold" } th scope="col" { "Rows" } th scope="col" { "Macro F1" }
                        @if has_thresholds { th scope="col" { "Own best F1" } th scope="col" { "Own threshold" } }
                    }
                }
                tbody {
                    @for fold in &report.per_fold {
                        tr {
                            th scope="row" { (fold.fold) } td { (fold.rows) } td { (format!("{:.4}", fold.macro_f1)) }
                            @if has_thresholds { td { (number(fold.best_macro_f1, 4)) } td { (number(fold.best_threshold, 4)) } }
                        }
                    }
                }
            }
        }
    }
}
