//! Labels that are taken for others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use fivefold_common::report::Report;
use fivefold_common::spec::Task;
use maud::{Markup, html};

use crate::chart::{DrawError, figure};
use crate::heat_map::heat_map;
use crate::rows::Rows;

/// The most classes whose confusion matrix is drawn.
const MATRIX_CLASSES: usize = 40;
/// The confusions in the list.
const LISTED: usize = 20;

/// How often an image lacks a label of its own, and gets another one instead.
fn counts(rows: &Rows<'_>) -> BTreeMap<(u16, u16), u64> {
    let mut counts = BTreeMap::new();
    for row in &rows.rows {
        let target = &row.scored.target;
        for missed in target.iter().filter(|label| !row.predicted.contains(*label)) {
            for wrong in row.predicted.iter().filter(|label| !target.contains(*label)) {
                *counts.entry((missed, wrong)).or_default() += 1;
            }
        }
    }
    counts
}

/// The confusion matrix, if a row has one class and there are few; and the most frequent confusions.
pub(crate) fn confusions(report: &Report, rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let mut counts: Vec<((u16, u16), u64)> = counts(rows).into_iter().collect();
    counts.sort_by_key(|(_, images)| Reverse(*images));
    counts.truncate(LISTED);
    let has_matrix = report.task == Task::Multiclass && report.per_class.len() <= MATRIX_CLASSES;
    Ok(html! {
        @if has_matrix { (matrix(report, rows)?) }
        @if counts.is_empty() { p { "No label is taken for another one." } } @else {
            div.wide {
                table {
                    thead { tr { th scope="col" { "Label" } th scope="col" { "taken for" } th scope="col" { "Images" } } }
                    tbody {
                        @for ((missed, wrong), images) in &counts {
                            tr { th scope="row" { (rows.name(*missed)) } td.text { (rows.name(*wrong)) } td { (images) } }
                        }
                    }
                }
            }
        }
    })
}

fn matrix(report: &Report, rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let count = |target: u16, predicted: u16| {
        let cells = &report.confusion_matrix;
        let place = cells.binary_search_by_key(&(target, predicted), |cell| (cell.target, cell.predicted));
        place.map_or(0, |place| cells[place].rows)
    };
    let support = |target: u16| report.per_class[usize::from(target)].scores.support.max(1);
    let labels: Vec<u16> = report.per_class.iter().map(|class| class.label).collect();
    let share = |target, predicted| count(target, predicted) as f64 / support(target) as f64;
    let text = |target, predicted| match count(target, predicted) {
        0 => String::new(),
        count => count.to_string(),
    };
    let map = heat_map(rows, &labels, share, text)?;
    Ok(figure(
        "Confusion matrix",
        "A row for each class, a column for each prediction. The numbers are images.",
        &[],
        &map,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{report, table};

    #[test]
    fn a_missed_label_and_a_wrong_one_are_a_confusion() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        // c has 1, and 0 beside it: nothing is missed. d has 2, and gets 1.
        assert_eq!(counts(&rows).into_iter().collect::<Vec<_>>(), [((2, 1), 1)]);
    }
}
