//! Job sets beside each other, as a page.

use fivefold_common::paired_test::ROUNDS;
use maud::{Markup, html};

use crate::chart::number;
use crate::comparison::{Comparison, FIGURES, Pair};
use crate::page::document;

/// The labels that are listed for each pair.
const LABELS: usize = 20;

/// The page as HTML.
pub fn comparison_html(comparison: &Comparison) -> String {
    let names: Vec<&str> = comparison.sides.iter().map(|side| side.name.as_str()).collect();
    let title = names.join(" and ");
    let content = html! {
        h1 { (title) }
        (figures(comparison, &names))
        h2 { "Settings" }
        (settings(comparison, &names))
        h2 { "Differences" }
        p {
            "A difference in macro F1 is tested by exchanging the predictions of each image at random, " (ROUNDS) " times: p is the share of "
            "exchanges with a difference that is as large. A small p means that it is hardly an accident of these images. It says nothing about other seeds."
        }
        @for (pair, side) in comparison.pairs.iter().zip(comparison.sides.iter().skip(1)) {
            h3 { (side.name) " against " (names[0]) }
            (difference(pair))
        }
    };
    document(&title, &content).into_string()
}

fn figures(comparison: &Comparison, names: &[&str]) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { td {} @for name in names { th scope="col" { (name) } } } }
                tbody {
                    @for (figure, of) in FIGURES {
                        tr { th scope="row" { (figure) } @for side in &comparison.sides { td { (number(of(&side.report), 4)) } } }
                    }
                    tr { th scope="row" { "rows" } @for side in &comparison.sides { td { (side.report.rows) } } }
                    tr {
                        th scope="row" { "folds" }
                        @for side in &comparison.sides { td { (side.report.per_fold.len()) @if side.report.partial.is_some() { " (partial)" } } }
                    }
                }
            }
        }
    }
}

fn settings(comparison: &Comparison, names: &[&str]) -> Markup {
    let differing = comparison.differing_settings();
    html! {
        @if differing.is_empty() { p { "Their settings are the same." } } @else {
            div.wide {
                table {
                    thead { tr { td {} @for name in names { th scope="col" { (name) } } } }
                    tbody { @for (key, values) in &differing { tr { th scope="row" { code { (key) } } @for value in values { td { (value) } } } } }
                }
            }
        }
    }
}

fn difference(pair: &Pair) -> Markup {
    html! {
        @match &pair.test {
            Err(reason) => p { "Not tested: " (reason) "." },
            Ok(test) => p {
                "Macro F1 " (format!("{:+.4}", test.macro_f1[1] - test.macro_f1[0])) " on the " (test.rows) " images of both, "
                (test.differing_rows) " of which are predicted differently; p = " (format!("{:.4}", test.p_value)) "."
            },
        }
        @if !pair.labels.is_empty() {
            div.wide {
                table {
                    thead { tr { th scope="col" { "Label" } th scope="col" { "F1" } } }
                    tbody {
                        @for (name, difference) in pair.labels.iter().take(LABELS) {
                            tr { th scope="row" { (name) } td { (format!("{difference:+.4}")) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::comparison;

    #[test]
    fn a_page_has_the_figures_of_both_and_the_test() {
        let page = comparison_html(&comparison());
        for part in ["first &lt;1&gt; and second", "<code>rate</code>", "cross-fitted", "p = ", "second against first"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
