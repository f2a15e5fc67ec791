//! What a report was made from.

use fivefold_common::report::Report;
use maud::{Markup, html};
use serde_json::Value;

/// The origin of the scores, as a list of names and values.
pub(crate) fn origin(report: &Report) -> Markup {
    html! {
        dl.origin {
            @if let Some(job_set) = &report.job_set { div { dt { "job set" } dd { (job_set) } } }
            div { dt { "out-of-fold table" } dd { code { (report.oof_digest) } } }
            @if let Some(split) = &report.split { div { dt { "folds" } dd { (split) } } }
        }
        @if let Value::Object(parts) = &report.made_by {
            @for (name, part) in parts {
                details {
                    summary { (name.replace('_', " ")) }
                    pre { (serde_json::to_string_pretty(part).unwrap_or_default()) }
                }
            }
        }
    }
}
