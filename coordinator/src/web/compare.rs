//! Job sets side by side.

use std::collections::BTreeSet;

use axum::extract::{Extension, RawQuery, State};
use maud::{Markup, html};

use super::Page;
use super::gate::Viewer;
use super::job_set::{keys_of, parsed};
use super::layout::{self, TOP, name_of, number, state_of_set};
use super::problem::Problem;
use crate::app;
use crate::queue::JobSet;

/// Job sets side by side at most.
const LIMIT: usize = 20;

pub(super) async fn show(
    State(page): State<Page>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(query): RawQuery,
) -> Result<Markup, Problem> {
    let query = query.unwrap_or_default();
    let ids: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("id=")).take(LIMIT).collect();
    let mut job_sets = Vec::new();
    for id in ids {
        job_sets.push(app::job_set(&page.coordinator, &parsed(id)?).await?);
    }
    Ok(layout::page(TOP, "Comparison", viewer, &content(&job_sets)))
}

fn content(job_sets: &[JobSet]) -> Markup {
    let specs: Vec<_> = job_sets.iter().map(|job_set| keys_of(&job_set.spec)).collect();
    let differing: Vec<Vec<&str>> = differing(&specs);
    html! {
        h1 { "Comparison" }
        @if job_sets.len() < 2 {
            p { "Mark two job sets or more in the " a href="./" { "list" } "." }
        } @else {
            div.wide role="region" aria-label="Comparison" tabindex="0" {
                table {
                    thead { tr { td {} @for job_set in job_sets { th scope="col" { a href=(format!("job-sets/{}", job_set.id)) { (name_of(job_set)) } } } } }
                    tbody {
                        tr { th scope="row" { "State" } @for job_set in job_sets { td { (state_of_set(job_set)) } } }
                        tr { th scope="row" { "Macro F1" } @for job_set in job_sets { td { (number(job_set.fit.as_ref().map(|fit| fit.scores.macro_f1), 4)) } } }
                        tr { th scope="row" { "Threshold" } @for job_set in job_sets { td { (number(job_set.fit.as_ref().and_then(|fit| fit.scores.threshold), 4)) } } }
                        tr { th scope="row" { "Folds of the fit" } @for job_set in job_sets { td { @if let Some(fit) = &job_set.fit { (fit.folds) } @else { "–" } } } }
                        tr { th scope="row" { "Objective" } @for job_set in job_sets { td { (job_set.spec.objective.title()) } } }
                        tr { th scope="row" { "Mean best objective in validation" } @for job_set in job_sets { td { (number(mean_best(job_set), 4)) } } }
                    }
                    tbody { @for row in &differing { tr { @for (column, text) in row.iter().enumerate() { @if column == 0 { th scope="row" { code { (text) } } } @else { td { (text) } } } } } }
                }
            }
            @if differing.is_empty() { p { "Their settings are the same." } }
        }
    }
}

/// Over the folds that have finished an epoch.
fn mean_best(job_set: &JobSet) -> Option<f64> {
    let best: Vec<f64> = job_set
        .jobs
        .iter()
        .filter_map(|job| job.best_score)
        .filter_map(|score| job_set.spec.objective.value_of_score(score))
        .collect();
    (!best.is_empty()).then(|| best.iter().sum::<f64>() / best.len() as f64)
}

/// The settings that are not the same in all: the key, then the value of each.
fn differing(specs: &[Vec<(String, String)>]) -> Vec<Vec<&str>> {
    let keys: BTreeSet<&str> = specs.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let value = |spec: &'_ [(String, String)], key: &str| spec.iter().position(|(name, _)| name == key);
    let mut rows = Vec::new();
    for key in keys {
        let values: Vec<&str> =
            specs.iter().map(|spec| value(spec, key).map_or("–", |place| spec[place].1.as_str())).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            rows.push([vec![key], values].concat());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let spec =
            |rate: &str| vec![("epochs".to_owned(), "3".to_owned()), ("learning_rate".to_owned(), rate.to_owned())];
        assert_eq!(differing(&[spec("0.1"), spec("0.2")]), [["learning_rate", "0.1", "0.2"]]);
        assert!(differing(&[spec("0.1"), spec("0.1")]).is_empty());
        let lacking = vec![("epochs".to_owned(), "3".to_owned())];
        assert_eq!(differing(&[spec("0.1"), lacking]), [["learning_rate", "0.1", "–"]]);
    }
}
