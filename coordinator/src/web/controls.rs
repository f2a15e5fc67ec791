//! What users change on the page. [`gate`](super::gate) has refused forms of other pages before.

use axum::extract::Form;
use axum::extract::{Extension, Path, State};
use axum::response::Redirect;
use fivefold_common::job_set::JobSetState;
use maud::{Markup, html};
use serde::Deserialize;

use super::Page;
use super::gate::Viewer;
use super::job_set::parsed;
use super::problem::Problem;
use crate::app;
use crate::queue::{JobSet, Worker};

fn require_control(viewer: Viewer) -> Result<(), Problem> {
    if viewer.may_control() {
        return Ok(());
    }
    Err(Problem::Refused("this needs a token of the role user; yours has the role read-only".into()))
}

/// The buttons of a job set. Those that cannot be undone ask first.
pub(super) fn job_set_controls(job_set: &JobSet) -> Markup {
    let has_ended = job_set.state.has_ended();
    html! {
        div.controls {
            @if !has_ended && !job_set.paused { (button(job_set, "pause", "Pause")) }
            @if !has_ended && job_set.paused { (button(job_set, "resume", "Resume")) }
            @if matches!(job_set.state, JobSetState::Failed | JobSetState::Cancelled) { (button(job_set, "retry", "Retry")) }
            @if !has_ended {
                details {
                    summary { "Cancel" }
                    p { "Jobs that have not ended are stopped. Trained folds and checkpoints stay, and Retry goes on with them." }
                    (button(job_set, "cancel", "Cancel this job set"))
                }
            }
        }
    }
}

fn button(job_set: &JobSet, control: &str, text: &str) -> Markup {
    html! { form method="post" action=(format!("{}/{control}", job_set.id)) { button { (text) } } }
}

pub(super) async fn change_job_set(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path((id, control)): Path<(String, String)>,
) -> Result<Redirect, Problem> {
    require_control(viewer)?;
    let job_set = parsed(&id)?;
    match control.as_str() {
        "pause" => app::pause(&page.coordinator, &job_set).await?,
        "resume" => app::resume(&page.coordinator, &job_set).await?,
        "retry" => app::retry(&page.coordinator, &job_set, None).await?,
        "cancel" => app::cancel(&page.coordinator, &job_set).await?,
        _ => return Err(Problem::NotFound(format!("there is no control {control}"))),
    }
    Ok(Redirect::to(&format!("../{job_set}")))
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkerName {
    name: String,
}

pub(super) fn worker_control(worker: &Worker) -> Markup {
    let (control, text) = if worker.draining { ("undrain", "Take back into service") } else { ("drain", "Drain") };
    html! {
        form method="post" action=(format!("workers/{control}")) {
            input type="hidden" name="name" value=(worker.name);
            button aria-label=(format!("{text}: {}", worker.name)) { (text) }
        }
    }
}

pub(super) async fn change_worker(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(control): Path<String>,
    Form(worker): Form<WorkerName>,
) -> Result<Redirect, Problem> {
    require_control(viewer)?;
    let draining = match control.as_str() {
        "drain" => true,
        "undrain" => false,
        _ => return Err(Problem::NotFound(format!("there is no control {control}"))),
    };
    app::drain(&page.coordinator, &worker.name, draining).await?;
    Ok(Redirect::to("../workers"))
}
