//! Labels that are on the same images.

use std::collections::HashMap;

use maud::{Markup, html};

use crate::chart::{DrawError, figure};
use crate::heat_map::heat_map;
use crate::rows::Rows;

/// The labels in the map, those with most rows.
const LABELS: usize = 40;

/// How many rows have both labels; a label with itself: how many rows have it.
fn pairs(rows: &Rows<'_>) -> HashMap<(u16, u16), u64> {
    let mut pairs = HashMap::new();
    for row in &rows.rows {
        for first in row.scored.target.iter() {
            for second in row.scored.target.iter() {
                *pairs.entry((first, second)).or_default() += 1;
            }
        }
    }
    pairs
}

/// The share of the images of one label that have the other one; nothing if no image has two.
pub(crate) fn co_occurrence(rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let pairs = pairs(rows);
    if pairs.keys().all(|(first, second)| first == second) {
        return Ok(html! {});
    }
    let labels = rows.most_frequent(LABELS);
    let count = |first, second| pairs.get(&(first, second)).copied().unwrap_or(0);
    let share = |row, column| {
        if row == column { 0.0 } else { count(row, column) as f64 / count(row, row).max(1) as f64 }
    };
    let text = |row, column| {
        if row == column || count(row, column) == 0 { String::new() } else { count(row, column).to_string() }
    };
    let map = heat_map(rows, &labels, share, text)?;
    let about =
        "Of the images with the label of the row, the share with the label of the column. The numbers are images.";
    Ok(figure("Labels on the same image", about, &[], &map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{report, table};

    #[test]
    fn both_labels_of_a_row_are_a_pair() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        let pairs = pairs(&rows);
        assert_eq!(pairs[&(0, 1)], 1);
        assert_eq!((pairs[&(0, 0)], pairs[&(1, 1)], pairs.get(&(0, 2))), (2, 2, None));
        assert!(co_occurrence(&rows).unwrap().into_string().contains("<svg"));
    }
}
