//! The frame around every page.

use fivefold_common::event::EventName;
use fivefold_common::job::JobState;
use fivefold_common::job_set::JobSetState;
use fivefold_common::spec::Objective;
use maud::{DOCTYPE, Markup, html};

use super::gate::Viewer;
use crate::clock::Timestamp;
use crate::queue::{FitScores, JobSet};

/// The relative path from a page to the list of job sets: `.` for pages at the top, `..` for those one level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root<'a>(pub(super) &'a str);

pub(super) const TOP: Root<'_> = Root(".");
pub(super) const BELOW: Root<'_> = Root("..");

/// A page with the navigation.
pub(super) fn page(root: Root<'_>, title: &str, viewer: Viewer, content: &Markup) -> Markup {
    framed(root, title, viewer, content, None)
}

/// A page whose content is sent anew by `live`, a path relative to the page.
pub(super) fn live_page(root: Root<'_>, title: &str, viewer: Viewer, content: &Markup, live: &str) -> Markup {
    framed(root, title, viewer, content, Some(live))
}

fn framed(root: Root<'_>, title: &str, viewer: Viewer, content: &Markup, live: Option<&str>) -> Markup {
    let Root(root) = root;
    document(
        root,
        title,
        &html! {
            header {
                nav aria-label="Pages" {
                    a.brand href=(format!("{root}/")) { "Fivefold" }
                    a href=(format!("{root}/")) { "Job sets" }
                    a href=(format!("{root}/workers")) { "Workers" }
                }
                @if viewer.has_logged_in() {
                    form method="post" action=(format!("{root}/logout")) { button { "Log out" } }
                }
            }
            main data-live=[live] { (content) }
            p.connection role="status" {}
        },
    )
}

/// A page without navigation, such as the login.
pub(super) fn bare_page(Root(root): Root<'_>, title: &str, content: &Markup) -> Markup {
    document(root, title, &html! { main { (content) p { a href=(format!("{root}/")) { "To the job sets" } } } })
}

fn document(root: &str, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Fivefold" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(format!("{root}/assets/uPlot.css"));
                link rel="stylesheet" href=(format!("{root}/assets/style.css"));
                script src=(format!("{root}/assets/uPlot.js")) defer {}
                script src=(format!("{root}/assets/page.js")) defer {}
            }
            body { (body) }
        }
    }
}

/// A point in time, which the script shows in the browser's time zone.
pub(super) fn time(time: Timestamp) -> Markup {
    let text = rfc3339(time);
    html! { time datetime=(text) { (text.replace('T', " ")) } }
}

fn rfc3339(time: Timestamp) -> String {
    fivefold_proto::Timestamp { seconds: time.0.div_euclid(1000), nanos: 0 }.to_string()
}

/// The state of a job set with a mark, so that it is not told by colour alone.
pub(super) fn state_of_set(job_set: &JobSet) -> Markup {
    let (class, mark, word) = match job_set.state {
        _ if job_set.paused => ("paused", "‖", "paused"),
        JobSetState::Training => ("running", "▶", "training"),
        JobSetState::Predicting => ("running", "▶", "predicting"),
        JobSetState::Succeeded => ("good", "✓", "succeeded"),
        JobSetState::Failed => ("bad", "✗", "failed"),
        JobSetState::Cancelled => ("ended", "–", "cancelled"),
    };
    html! { span class=(format!("state {class}")) { (mark) " " (word) } }
}

pub(super) fn state_of_job(state: JobState, is_stalled: bool) -> Markup {
    let (class, mark, word) = match state {
        JobState::Leased if is_stalled => ("bad", "!", "stalled"),
        JobState::Queued => ("waiting", "…", "queued"),
        JobState::Leased => ("running", "▶", "running"),
        JobState::Succeeded => ("good", "✓", "succeeded"),
        JobState::Failed => ("bad", "✗", "failed"),
        JobState::Cancelled => ("ended", "–", "cancelled"),
    };
    html! { span class=(format!("state {class}")) { (mark) " " (word) } }
}

/// The name of an event as words.
pub(super) fn event_words(name: EventName) -> String {
    name.word().replace('_', " ")
}

/// The best value of the objective among the folds' epochs.
pub(super) fn best_of_folds(job_set: &JobSet) -> Option<f64> {
    let best = job_set.jobs.iter().filter_map(|job| job.best_score).reduce(f64::max)?;
    job_set.spec.objective.value_of_score(best)
}

/// The figures of a fit as items of a list: that of the objective, and macro F1.
pub(super) fn score_items(objective: Objective, scores: FitScores) -> Markup {
    let value = scores.objective.filter(|_| objective != Objective::MacroF1);
    html! {
        @if let Some(value) = value { div { dt { (objective.title()) } dd { (format!("{value:.4}")) } } }
        div { dt { "macro F1" } dd { (format!("{:.4}", scores.macro_f1)) } }
    }
}

/// What people call a job set: its name, or its id.
pub(super) fn name_of(job_set: &JobSet) -> String {
    if job_set.spec.name.is_empty() { job_set.id.to_string() } else { job_set.spec.name.clone() }
}

/// A number with a fixed number of decimals, or a dash.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_escaped() {
        let content = html! { p { ("<script>") } };
        let page = page(TOP, "<title>", Viewer::Anybody, &content).into_string();
        assert!(page.contains("&lt;script&gt;") && page.contains("&lt;title&gt;"), "{page}");
        assert!(!page.contains("Log out"));
    }

    #[test]
    fn times_are_readable_without_a_script() {
        let text = time(Timestamp(1_735_787_045_678)).into_string();
        assert_eq!(text, r#"<time datetime="2025-01-02T03:04:05Z">2025-01-02 03:04:05Z</time>"#);
    }
}
