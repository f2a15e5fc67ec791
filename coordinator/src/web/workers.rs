//! The workers.

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fivefold_common::ids::JobId;
use maud::{Markup, html};

use super::Page;
use super::controls::worker_control;
use super::gate::Viewer;
use super::layout::{TOP, name_of, number, time};
use super::live::{self, Content};
use super::problem::Problem;
use crate::app::{self, Presence, WorkerView};
use crate::error::Error;
use crate::queue::JobSet;

/// The newest job sets, among which a worker's job is looked for.
const RECENT: usize = 100;

pub(super) async fn show(State(page): State<Page>, Extension(viewer): Extension<Viewer>) -> Result<Response, Problem> {
    live::page(&page, TOP, "Workers", viewer, Content::Workers).await
}

pub(super) async fn follow(State(page): State<Page>, headers: HeaderMap) -> Result<Response, Problem> {
    live::versions(page, headers, Content::Workers).await
}

pub(super) async fn content(page: &Page, viewer: Viewer) -> Result<Markup, Error> {
    let workers = app::workers(&page.coordinator).await?;
    let (job_sets, _) = app::job_sets(&page.coordinator, None, RECENT).await?;
    Ok(html! {
        h1 { "Workers" }
        @if workers.is_empty() {
            p { "No worker has registered. Start " code { "fivefold-worker" } " on a machine with the images." }
        } @else {
            div.wide role="region" aria-label="Workers" tabindex="0" {
                table.jobs {
                    thead {
                        tr {
                            th scope="col" { "Name" } th scope="col" { "Device" } th scope="col" { "Job" } th scope="col" { "Images/s" }
                            th scope="col" { "Last seen" } th scope="col" { "Version" }
                            @if viewer.may_control() { th scope="col" { "Service" } }
                        }
                    }
                    tbody { @for worker in &workers { (row(worker, &job_sets, viewer)) } }
                }
            }
        }
    })
}

fn row(WorkerView { worker, presence }: &WorkerView, job_sets: &[JobSet], viewer: Viewer) -> Markup {
    let held = worker.job.and_then(|id| find(job_sets, id));
    let speed = held.and_then(|(job_set, id)| job_set.job(id)).and_then(|job| job.progress);
    let speed = speed.map(|progress| progress.images_per_second).filter(|&speed| speed > 0.0);
    html! {
        tr {
            th scope="row" { (worker.name) }
            td { (worker.device) }
            td {
                @if let Some((job_set, id)) = held {
                    a href=(format!("job-sets/{}", job_set.id)) { (name_of(job_set)) }
                    @if let Some(job) = job_set.job(id) { ", fold " (job.fold) }
                } @else if worker.job.is_some() { "of an older job set" } @else { "–" }
                @if worker.draining { " (drained)" }
                @if *presence == Presence::Gone { " " span.state.ended { "– gone" } }
            }
            td { (number(speed, 1)) }
            td { (time(worker.last_seen)) }
            td { (worker.version) }
            @if viewer.may_control() { td { (worker_control(worker)) } }
        }
    }
}

fn find(job_sets: &[JobSet], id: JobId) -> Option<(&JobSet, JobId)> {
    job_sets.iter().find(|job_set| job_set.job(id).is_some()).map(|job_set| (job_set, id))
}
