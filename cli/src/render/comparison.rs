//! Job sets beside each other.

use std::fmt::Write as _;

use fivefold_report::{Comparison, FIGURES, Pair};
use serde_json::{Value, json};

use super::table::{NOTHING, number};

/// The labels that are named for each pair.
const LABELS: usize = 5;

/// The figures, the settings that differ, and the tests.
pub(crate) fn comparison_text(comparison: &Comparison) -> String {
    let mut rows =
        vec![std::iter::once(String::new()).chain(comparison.sides.iter().map(|side| side.name.clone())).collect()];
    for (figure, of) in FIGURES {
        rows.push(row(figure, comparison.sides.iter().map(|side| number(of(&side.report), 4))));
    }
    rows.push(row("rows", comparison.sides.iter().map(|side| side.report.rows.to_string())));
    rows.push(row(
        "folds",
        comparison.sides.iter().map(|side| {
            let partial = if side.report.partial.is_some() { " (partial)" } else { "" };
            format!("{}{partial}", side.report.per_fold.len())
        }),
    ));
    for (key, values) in comparison.differing_settings() {
        rows.push(row(key, values.iter().map(|value| if value.is_empty() { NOTHING } else { value }.to_owned())));
    }
    let mut text = columns(&rows);
    for (pair, side) in comparison.pairs.iter().zip(comparison.sides.iter().skip(1)) {
        let _ = writeln!(text, "\n{} against {}: {}", side.name, comparison.sides[0].name, difference(pair));
        let labels: Vec<String> =
            pair.labels.iter().take(LABELS).map(|(name, difference)| format!("{name} {difference:+.4}")).collect();
        if !labels.is_empty() {
            let _ = writeln!(text, "F1 of labels: {}", labels.join(", "));
        }
    }
    text
}

fn row(name: &str, values: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(values).collect()
}

fn difference(pair: &Pair) -> String {
    match &pair.test {
        Err(reason) => format!("not tested: {reason}"),
        Ok(test) => format!(
            "macro F1 {:+.4} on {} images, {} of them predicted differently; p = {:.4}",
            test.macro_f1[1] - test.macro_f1[0],
            test.rows,
            test.differing_rows,
            test.p_value
        ),
    }
}

/// Rows of as many cells, in columns.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

pub(crate) fn comparison_json(comparison: &Comparison, ids: &[String]) -> Value {
    let sides: Vec<Value> = comparison
        .sides
        .iter()
        .zip(ids)
        .map(|(side, id)| {
            let figures: serde_json::Map<String, Value> = FIGURES
                .iter()
                .map(|(name, of)| (name.to_lowercase().replace([' ', '-'], "_"), json!(of(&side.report))))
                .collect();
            json!({ "id": id, "figures": figures, "rows": side.report.rows, "partial": side.report.partial.is_some() })
        })
        .collect();
    let pairs: Vec<Value> =
        comparison.pairs.iter().zip(ids.iter().skip(1)).map(|(pair, id)| pair_json(pair, id)).collect();
    let settings: serde_json::Map<String, Value> =
        comparison.differing_settings().into_iter().map(|(key, values)| (key.to_owned(), json!(values))).collect();
    json!({ "job_sets": sides, "settings": settings, "against_first": pairs })
}

fn pair_json(pair: &Pair, id: &str) -> Value {
    let labels: Vec<Value> =
        pair.labels.iter().map(|(name, difference)| json!({ "label": name, "f1_difference": difference })).collect();
    match &pair.test {
        Err(reason) => json!({ "id": id, "untested": reason.to_string(), "labels": labels }),
        Ok(test) => json!({
            "id": id,
            "macro_f1_difference": test.macro_f1[1] - test.macro_f1[0],
            "rows": test.rows,
            "differing_rows": test.differing_rows,
            "p_value": test.p_value,
            "labels": labels,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["", "a", "bb"], ["macro F1", "0.5", "-"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "          a    bb\nmacro F1  0.5  -\n");
    }
}
