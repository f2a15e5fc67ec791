//! The report of a job set, by label and fold.

use axum::extract::{Extension, Path, State};
use fivefold_common::report::Report;
use maud::{Markup, html};

use super::Page;
use super::gate::Viewer;
use super::job_set::parsed;
use super::layout::{self, Root, name_of};
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

fn content(job_set: &JobSet, report: &Report) -> Markup {
    let [lower, upper] = report.threshold_interval;
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
            div { dt { "threshold" } dd { (format!("{:.4}", report.threshold)) } }
            div { dt { "optimal from" } dd { (format!("{lower:.4} to {upper:.4}")) } }
            div { dt { "rows" } dd { (report.rows) } }
        }
        p {
            "Cross-fitted: each fold at the threshold of the other folds, so that the choice of the threshold does not flatter the score. "
            "Best constant: the same labels for every image."
        }
        h2 { "Labels" }
        (labels(report))
        h2 { "Folds" }
        (folds(report))
    }
}

fn labels(report: &Report) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "Label" } th scope="col" { "F1" } th scope="col" { "Precision" } th scope="col" { "Recall" }
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
                            td { (class.scores.support) }
                        }
                    }
                }
            }
        }
    }
}

fn folds(report: &Report) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "Fold" } th scope="col" { "Rows" } th scope="col" { "Macro F1" } th scope="col" { "Own best F1" }
                        th scope="col" { "Own threshold" }
                    }
                }
                tbody {
                    @for fold in &report.per_fold {
                        tr {
                            th scope="row" { (fold.fold) } td { (fold.rows) } td { (format!("{:.4}", fold.macro_f1)) }
                            td { (format!("{:.4}", fold.best_macro_f1)) } td { (format!("{:.4}", fold.best_threshold)) }
                        }
                    }
                }
            }
        }
    }
}
