//! One job set.

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::eta::{Eta, Remaining};
use fivefold_common::ids::{Fold, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::size::size_text;
use fivefold_common::spec::JobSetSpec;
use maud::{Markup, html};
use serde_json::Value;

use super::controls::job_set_controls;
use super::gate::Viewer;
use super::layout::{
    BELOW, best_of_folds, event_words, name_of, number, score_items, state_of_job, state_of_set, time,
};
use super::live::{self, Content};
use super::problem::Problem;
use super::{Page, progress};
use crate::app;
use crate::error::Error;
use crate::queue::{Event, FitRecord, Job, JobSet};

/// The newest events that are shown.
const EVENTS: u32 = 100;

pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job_set = app::job_set(&page.coordinator, &parsed(&id)?).await?;
    live::page(&page, BELOW, &name_of(&job_set), viewer, Content::JobSet(job_set.id)).await
}

pub(super) async fn follow(
    State(page): State<Page>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let content = Content::JobSet(app::job_set(&page.coordinator, &parsed(&id)?).await?.id);
    live::versions(page, headers, content).await
}

pub(super) fn parsed(id: &str) -> Result<JobSetId, Problem> {
    id.parse().map_err(|_| Problem::NotFound(format!("there is no job set {id}")))
}

pub(super) async fn content(page: &Page, viewer: Viewer, id: &JobSetId) -> Result<Markup, Error> {
    let job_set = app::job_set(&page.coordinator, id).await?;
    let remaining = page.paces.remaining(&page.coordinator, &job_set).await?;
    let events = page.coordinator.queue.newest_events(id, EVENTS).await?;
    let has_epochs = job_set.jobs.iter().any(|job| job.last_epoch.is_some());
    Ok(html! {
        h1 { (name_of(&job_set)) " " (state_of_set(&job_set)) }
        p.id { code { (job_set.id) } ", submitted " (time(job_set.created)) }
        @if !job_set.state_reason.is_empty() { p.problem { (job_set.state_reason) } }
        @if viewer.may_control() { (job_set_controls(&job_set)) }
        (scores(&job_set))
        p {
            progress max="1" value=(format!("{:.3}", progress::of_job_set(&job_set))) aria-label="all folds" {}
            (format!(" {:.0}%", 100.0 * progress::of_job_set(&job_set)))
            @if let Some(eta) = remaining.job_set { ", " (progress::ending(&job_set)) " in " (eta) }
        }
        h2 { "Folds" }
        (jobs(&job_set, JobKind::Train, &remaining))
        @if job_set.jobs_of(JobKind::Predict).next().is_some() {
            h2 { "Prediction of the test list" }
            (jobs(&job_set, JobKind::Predict, &remaining))
        }
        @if has_epochs {
            h2 { "Curves" }
            div.curves data-curves=(format!("{}/curves", job_set.id)) data-version=(version(&job_set)) {
                p { a href=(format!("{}/curves", job_set.id)) { "The curves as numbers" } }
            }
        }
        (files(&job_set))
        h2 { "What happened" }
        p { a href=(format!("{}/log", job_set.id)) { "What the workers said" } }
        (timeline(&job_set, &events))
        h2 { "Settings" }
        (settings(&job_set.spec))
    })
}

/// Changes when a fold has a new epoch.
fn version(job_set: &JobSet) -> String {
    let epochs = job_set.jobs.iter().map(|job| job.last_epoch.map_or(0, |last| u64::from(last.metrics.epoch) + 1));
    epochs.sum::<u64>().to_string()
}

fn scores(job_set: &JobSet) -> Markup {
    let (best, objective) = (best_of_folds(job_set), job_set.spec.objective);
    html! {
        dl.scores {
            @if let Some(FitRecord { fit, .. }) = job_set.fit_at_end() {
                (score_items(objective, fit.scores))
                @if let Some(threshold) = fit.scores.threshold { div { dt { "threshold" } dd { (format!("{threshold:.4}")) } } }
                @if fit.folds != job_set.spec.fold_set() {
                    div { dt { "partial" } dd { "folds " (fit.folds) } }
                }
                div { dt { "report" } dd { a href=(format!("{}/report", job_set.id)) { "by label and fold" } } }
            } @else if best.is_some() {
                div { dt { "best validation " (objective.title()) } dd { (number(best, 4)) } }
            }
        }
    }
}

fn jobs(job_set: &JobSet, kind: JobKind, remaining: &Remaining) -> Markup {
    let label = match kind {
        JobKind::Train => "Folds",
        JobKind::Predict => "Prediction by fold",
    };
    let rows = job_set.jobs.iter().zip(&remaining.jobs).filter(|(job, _)| job.kind == kind);
    html! {
        div.wide role="region" aria-label=(label) tabindex="0" {
            table.jobs {
                thead {
                    tr {
                        th scope="col" { "Fold" } th scope="col" { "State" } th scope="col" { "Progress" } th scope="col" { "Ends in" }
                        th scope="col" { "Best " (job_set.spec.objective.short_title()) } th scope="col" { "Loss" } th scope="col" { "Images/s" } th scope="col" { "Worker" }
                    }
                }
                tbody { @for (job, eta) in rows { (job_row(job, *eta, &job_set.spec)) } }
            }
        }
    }
}

fn job_row(job: &Job, eta: Option<Eta>, spec: &JobSetSpec) -> Markup {
    let epoch_count = spec.epochs;
    let is_running = job.state == JobState::Leased;
    let speed =
        job.progress.filter(|_| is_running).map(|progress| progress.images_per_second).filter(|&speed| speed > 0.0);
    let loss = job.progress.filter(|_| is_running).and_then(|progress| progress.loss);
    let loss = loss.or(job.last_epoch.map(|last| last.metrics.train_loss));
    let best = job.best_score.and_then(|score| spec.objective.value_of_score(score));
    let best = best.map_or("–".to_owned(), |best| {
        let epoch = job.best_epoch.map_or(String::new(), |epoch| format!(" (epoch {})", epoch + 1));
        format!("{best:.4}{epoch}")
    });
    html! {
        tr {
            th scope="row" { (job.fold) }
            td {
                (state_of_job(job.state, job.stalled))
                @if !job.state_reason.is_empty() { p.reason { (job.state_reason) } }
            }
            td {
                progress.fold max="1" value=(format!("{:.3}", progress::of_job(job, epoch_count))) aria-label=(format!("fold {}", job.fold)) {}
                " " (progress::words(job, epoch_count))
            }
            td { (eta.map_or("–".to_owned(), Eta::short)) }
            td { (best) }
            td { (number(loss, 4)) }
            td { (number(speed, 1)) }
            td { (job.worker.as_deref().unwrap_or("–")) }
        }
    }
}

/// What can be downloaded.
fn files(job_set: &JobSet) -> Markup {
    let mut files: Vec<(String, Artifact)> = Vec::new();
    let model = |fold: Fold, checkpoint: Artifact| (format!("fold-{fold}.safetensors"), checkpoint);
    match job_set.fit_at_end() {
        Some(FitRecord { fit, fold_results, .. }) => {
            files.push(("oof.csv".into(), fit.oof));
            files.push(("report.json".into(), fit.report));
            // The record keeps that of an earlier test list.
            let submission = job_set.fit.as_ref().unwrap_or(fit).submission;
            files.extend(submission.map(|submission| ("submission.csv".into(), submission)));
            files.extend(fold_results.iter().filter_map(|result| Some(model(result.fold, result.checkpoint?))));
        }
        None => {
            let trained = job_set.jobs_of(JobKind::Train);
            files.extend(trained.filter_map(|job| Some(model(job.fold, job.result.as_ref()?.checkpoint?))));
        }
    }
    if files.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Files" }
        ul {
            @for (name, artifact) in &files {
                li {
                    a href=(format!("{}/files/{}/{name}", job_set.id, artifact.digest)) download { (name) }
                    " " (size_text(artifact.size_bytes))
                    @if artifact.kind == ArtifactKind::Checkpoint { ", the model" }
                }
            }
        }
    }
}

fn timeline(job_set: &JobSet, events: &[Event]) -> Markup {
    html! {
        ol.timeline reversed {
            @for event in events {
                li { (time(event.time)) " " strong { (event_words(event.name)) } " " (event.message) }
            }
        }
        @if events.len() == EVENTS as usize { p { "Earlier events: " code { "fivefold watch " (job_set.id) } } }
    }
}

/// The settings; those that are not the default are marked.
fn settings(spec: &JobSetSpec) -> Markup {
    let (values, defaults) = (keys_of(spec), keys_of(&JobSetSpec::default()));
    let changed: Vec<_> = values.iter().filter(|(key, value)| default_of(&defaults, key) != Some(value)).collect();
    html! {
        @if changed.is_empty() { p { "All settings are the defaults." } } @else {
            p { "These differ from the defaults:" }
            dl.settings { @for (key, value) in &changed { div { dt { code { (key) } } dd { (value) } } } }
        }
        details {
            summary { "All settings" }
            dl.settings { @for (key, value) in &values { div { dt { code { (key) } } dd { (value) } } } }
        }
    }
}

fn default_of<'a>(defaults: &'a [(String, String)], key: &str) -> Option<&'a String> {
    defaults.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// The settings as text, by key.
pub(super) fn keys_of(spec: &JobSetSpec) -> Vec<(String, String)> {
    let Ok(Value::Object(keys)) = serde_json::to_value(spec) else { return Vec::new() };
    let text = |value: Value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    keys.into_iter().map(|(key, value)| (key, text(value))).collect()
}
