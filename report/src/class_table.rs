//! The labels with all their figures.

use fivefold_common::report::Report;
use maud::{Markup, html};

use crate::chart::number;

pub(crate) fn class_table(report: &Report) -> Markup {
    let has_thresholds = report.per_class.iter().any(|class| class.threshold.is_some());
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "Label" } th scope="col" { "F1" } th scope="col" { "Precision" } th scope="col" { "Recall" }
                        th scope="col" { "AUROC" } th scope="col" { "Average precision" }
                        @if has_thresholds { th scope="col" { "Threshold" } }
                        th scope="col" { "Images" } th scope="col" { "Predicted" }
                    }
                }
                tbody {
                    @for class in &report.per_class {
                        tr {
                            th scope="row" { (class.label) " " (class.name) }
                            @if class.scores.support == 0 { td colspan="3" { "no image has it" } } @else {
                                td { (format!("{:.4}", class.scores.f1)) }
                                td { (format!("{:.4}", class.scores.precision)) }
                                td { (format!("{:.4}", class.scores.recall)) }
                            }
                            td { (number(class.auroc, 4)) } td { (number(class.average_precision, 4)) }
                            @if has_thresholds { td { (number(class.threshold, 4)) } }
                            td { (class.scores.support) } td { (class.scores.predicted) }
                        }
                    }
                }
            }
        }
    }
}
