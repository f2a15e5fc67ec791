//! What workers said during the attempts of a job set.

use axum::extract::{Extension, Path, Query, State};
use fivefold_common::ids::Fold;
use fivefold_common::job::JobKind;
use fivefold_common::log_line::LogLevel;
use maud::{Markup, html};
use serde::Deserialize;

use super::Page;
use super::gate::Viewer;
use super::job_set::parsed;
use super::layout::{self, Root, name_of, time};
use super::problem::Problem;
use crate::app;
use crate::clock::Timestamp;
use crate::queue::{JobSet, StoredLogLine};

/// The newest lines that are shown.
const LINES: u32 = 500;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// Only this fold.
    fold: Option<u32>,
}

pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Problem> {
    let job_set = app::job_set(&page.coordinator, &parsed(&id)?).await?;
    let fold = match wanted.fold {
        None => None,
        Some(number) => Some(Fold::new(number).ok_or_else(|| Problem::NotFound(format!("{id} has no fold {number}")))?),
    };
    let lines = app::newest_log(&page.coordinator, &job_set.id, fold, LINES).await?;
    let title = format!("Log of {}", name_of(&job_set));
    Ok(layout::page(Root("../.."), &title, viewer, &content(&job_set, fold, &lines)))
}

fn content(job_set: &JobSet, fold: Option<Fold>, lines: &[StoredLogLine]) -> Markup {
    html! {
        h1 { "Log of " a href=(format!("../{}", job_set.id)) { (name_of(job_set)) } }
        p {
            @if fold.is_some() { a href="log" { "All folds" } } @else { "All folds" }
            @for job in job_set.jobs_of(JobKind::Train) {
                " · "
                @if fold == Some(job.fold) { "fold " (job.fold) } @else { a href=(format!("log?fold={}", job.fold)) { "fold " (job.fold) } }
            }
        }
        @if lines.is_empty() { p { "No worker has said anything yet." } } @else {
            p { "The newest " (LINES) " lines at most; " code { "fivefold logs " (job_set.id) } " prints all." }
            div.wide role="region" aria-label="Log" tabindex="0" {
                table.log {
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Fold" } th scope="col" { "Attempt" } th scope="col" { "Worker" } th scope="col" { "Line" } } }
                    tbody { @for line in lines { (row(line)) } }
                }
            }
        }
    }
}

fn row(StoredLogLine { kind, fold, attempt, worker, line, .. }: &StoredLogLine) -> Markup {
    html! {
        tr {
            td { (time(Timestamp(line.time_ms))) }
            td { (fold) @if *kind == JobKind::Predict { " (prediction)" } }
            td { (attempt) } td { (worker) }
            td class=[(line.level != LogLevel::Info).then_some("bad")] {
                @if line.level != LogLevel::Info { (line.level) ": " }
                (line.message)
            }
        }
    }
}
