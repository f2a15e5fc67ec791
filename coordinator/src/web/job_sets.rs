//! The list of job sets.

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fivefold_common::eta::Eta;
use fivefold_common::job::{JobKind, JobState};
use maud::{Markup, html};
use serde::Deserialize;

use super::gate::Viewer;
use super::layout::{TOP, best_of_folds, name_of, number, score_items, state_of_set, time};
use super::live::{self, Content};
use super::problem::Problem;
use super::{Page, progress};
use crate::app;
use crate::error::Error;
use crate::queue::{FitRecord, JobSet, SubmissionNumber};

const PAGE_SIZE: usize = 25;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// The number of a job set: those before it are shown.
    before: Option<i64>,
}

impl Wanted {
    fn content(&self) -> Content {
        Content::JobSets { before: self.before.map(SubmissionNumber) }
    }
}

pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    live::page(&page, TOP, "Job sets", viewer, wanted.content()).await
}

pub(super) async fn follow(
    State(page): State<Page>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    live::versions(page, headers, wanted.content()).await
}

pub(super) async fn content(page: &Page, before: Option<SubmissionNumber>) -> Result<Markup, Error> {
    let (job_sets, next) = app::job_sets(&page.coordinator, before, PAGE_SIZE).await?;
    let mut etas = Vec::new();
    for job_set in &job_sets {
        etas.push(page.paces.remaining(&page.coordinator, job_set).await?.job_set);
    }
    let warnings = app::warnings(&page.coordinator).await;
    Ok(html! {
        h1 { "Job sets" }
        @for warning in &warnings { p.problem { (warning) } }
        @if job_sets.is_empty() {
            p { "There are no job sets here. " code { "fivefold submit --help" } " shows how to submit one." }
        } @else {
            form action="compare" {
                ul.sets { @for (job_set, eta) in job_sets.iter().zip(&etas) { (item(job_set, *eta)) } }
                @if job_sets.len() > 1 { button { "Compare the marked job sets" } }
            }
        }
        @if let Some(next) = next { p { a href=(format!("?before={}", next.0)) { "Older job sets" } } }
    })
}

fn item(job_set: &JobSet, eta: Option<Eta>) -> Markup {
    let done = progress::of_job_set(job_set);
    let objective = job_set.spec.objective;
    let advanced = job_set.jobs.iter().map(|job| job.advanced).chain([job_set.updated]).max();
    let workers: Vec<&str> = job_set
        .jobs
        .iter()
        .filter(|job| job.state == JobState::Leased)
        .filter_map(|job| job.worker.as_deref())
        .collect();
    let train_jobs = job_set.jobs_of(JobKind::Train);
    html! {
        li {
            label.pick title="Mark for the comparison" { input type="checkbox" name="id" value=(job_set.id) aria-label=(format!("Mark {}", name_of(job_set))); }
            div.what {
                a href=(format!("job-sets/{}", job_set.id)) { (name_of(job_set)) }
                " " (state_of_set(job_set))
                @if !job_set.state_reason.is_empty() { p.reason { (job_set.state_reason) } }
            }
            div.folds {
                @for job in train_jobs {
                    progress.fold max="1" value=(format!("{:.3}", progress::of_job(job, job_set.spec.epochs)))
                        title=(format!("fold {}: {} {}", job.fold, job.state, progress::words(job, job_set.spec.epochs)))
                        aria-label=(format!("fold {}", job.fold)) {}
                }
                span { (format!("{:.0}%", 100.0 * done)) }
            }
            dl {
                @if let Some(FitRecord { fit, .. }) = job_set.fit_at_end() {
                    (score_items(objective, fit.scores))
                    @if fit.folds != job_set.spec.fold_set() { div { dt { "partial" } dd { "folds " (fit.folds) } } }
                } @else {
                    div { dt { "best validation " (objective.title()) } dd { (number(best_of_folds(job_set), 4)) } }
                }
                @if let Some(eta) = eta { div { dt { (progress::ending(job_set)) " in" } dd { (eta) } } }
                @if !workers.is_empty() { div { dt { "runs on" } dd { (workers.join(", ")) } } }
                @if let Some(advanced) = advanced { div { dt { "last change" } dd { (time(advanced)) } } }
            }
        }
    }
}
