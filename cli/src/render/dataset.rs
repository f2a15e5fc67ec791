//! What a check of a data set found, as text and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use fivefold_common::one_line::one_line;
use fivefold_common::scores::Source;
use serde_json::json;

/// How many problems, sizes and groups of duplicates are named.
const NAMED: usize = 10;
/// How many images of a group of duplicates are named.
const NAMED_OF_GROUP: usize = 4;

/// What a check of a data set found.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// The names of the classes.
    pub(crate) classes: Vec<String>,
    /// The lists that could be read.
    pub(crate) lists: Vec<ListCensus>,
    /// Files by format.
    pub(crate) formats: BTreeMap<&'static str, u64>,
    /// Files by width and height.
    pub(crate) sizes: BTreeMap<(u32, u32), u64>,
    /// Images of the same bytes.
    pub(crate) duplicates: Vec<Vec<String>>,
    /// Doubts about the split.
    pub(crate) warnings: Vec<String>,
    /// The number of problems.
    pub(crate) problem_count: usize,
    /// The first problems.
    pub(crate) problems: Vec<Problem>,
}

/// A list of a data set.
#[derive(Debug)]
pub(crate) struct ListCensus {
    pub(crate) source: Source,
    pub(crate) file: String,
    pub(crate) row_count: usize,
    pub(crate) without_label: usize,
    /// Rows of each class; empty for a test list.
    pub(crate) class_rows: Vec<u64>,
    pub(crate) usable_images: usize,
}

/// Something that would make submitting or training fail.
#[derive(Debug)]
pub(crate) struct Problem {
    file: String,
    /// Counted from 1, after the header.
    row: Option<usize>,
    id: Option<String>,
    what: String,
}

impl Problem {
    /// A problem of a whole file.
    pub(crate) fn of_list(file: &Path, error: &anyhow::Error) -> Self {
        Self { file: file.display().to_string(), row: None, id: None, what: format!("{error:#}") }
    }

    /// A problem of a row, counted from 0.
    pub(crate) fn of_row(file: &Path, row: usize, id: &str, what: String) -> Self {
        Self { file: file.display().to_string(), row: Some(row + 1), id: Some(id.to_owned()), what }
    }

    fn text(&self) -> String {
        let what = one_line(&self.what);
        match (self.row, &self.id) {
            (Some(row), Some(id)) => format!("{}, row {row} ({id}): {what}", self.file),
            // Errors of lists name their file.
            _ if what.starts_with(&self.file) => what.into_owned(),
            _ => format!("{}: {what}", self.file),
        }
    }
}

impl Census {
    pub(crate) fn add_problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        }
    }

    /// Rows of each class in all lists.
    fn class_rows(&self) -> Vec<u64> {
        let mut all = vec![0; self.classes.len()];
        for list in &self.lists {
            for (sum, rows) in all.iter_mut().zip(&list.class_rows) {
                *sum += rows;
            }
        }
        all
    }

    /// The sizes, those of most files first.
    fn common_sizes(&self) -> Vec<(&(u32, u32), &u64)> {
        let mut sizes: Vec<_> = self.sizes.iter().collect();
        sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        sizes
    }
}

/// What was found, for people.
pub(crate) fn census_text(census: &Census) -> String {
    let mut lines = Vec::new();
    for list in &census.lists {
        let ListCensus { source, file, row_count, without_label, usable_images, .. } = list;
        let labels = match (source, without_label) {
            (Source::Test, _) | (_, 0) => String::new(),
            (_, count) => format!(", {count} without a label"),
        };
        lines.push(format!("{file}: {row_count} rows{labels}; {usable_images} of {row_count} images can be used"));
    }
    let class_rows = census.class_rows();
    let counts = census.classes.iter().zip(&class_rows);
    let named: Vec<String> = counts.clone().map(|(class, rows)| format!("{class} {rows}")).collect();
    lines.push(format!("{} classes, with their rows: {}", named.len(), named.join(", ")));
    let empty: Vec<&str> = counts.filter(|(_, rows)| **rows == 0).map(|(class, _)| class.as_str()).collect();
    if !empty.is_empty() {
        lines.push(format!("classes that no row has: {}", empty.join(", ")));
    }
    if !census.formats.is_empty() {
        let formats: Vec<String> = census.formats.iter().map(|(format, count)| format!("{count} {format}")).collect();
        let sizes = census.common_sizes();
        let first: Vec<String> =
            sizes.iter().take(NAMED).map(|((width, height), count)| format!("{width} x {height} ({count})")).collect();
        lines.push(format!("files: {}; {}{}", formats.join(", "), first.join(", "), rest(sizes.len(), NAMED)));
    }
    if !census.duplicates.is_empty() {
        lines.push(format!("images of the same bytes, {} groups:", census.duplicates.len()));
        for group in census.duplicates.iter().take(NAMED) {
            let first: Vec<&str> = group.iter().take(NAMED_OF_GROUP).map(String::as_str).collect();
            lines.push(format!("  {}{}", first.join(", "), rest(group.len(), NAMED_OF_GROUP)));
        }
        lines.extend(
            (census.duplicates.len() > NAMED).then(|| format!("  and {} more", census.duplicates.len() - NAMED)),
        );
    }
    lines.extend(census.warnings.iter().map(|warning| format!("warning: {warning}")));
    match census.problem_count {
        0 => lines.push("no problems".to_owned()),
        count => {
            lines.push(format!("{count} problem{}:", if count == 1 { "" } else { "s" }));
            lines.extend(census.problems.iter().map(|problem| format!("  {}", problem.text())));
            lines.extend(
                (count > census.problems.len()).then(|| format!("  and {} more", count - census.problems.len())),
            );
        }
    }
    lines.join("\n") + "\n"
}

fn rest(count: usize, named: usize) -> String {
    if count > named { format!(" and {} more", count - named) } else { String::new() }
}

/// What was found, for programs.
pub(crate) fn census_json(census: &Census) -> serde_json::Value {
    let lists: Vec<_> = census
        .lists
        .iter()
        .map(|list| {
            json!({
                "list": list.source.word(),
                "file": list.file,
                "rows": list.row_count,
                "without_label": list.without_label,
                "usable_images": list.usable_images,
            })
        })
        .collect();
    let classes: Vec<_> = census
        .classes
        .iter()
        .zip(census.class_rows())
        .map(|(name, rows)| json!({ "name": name, "rows": rows }))
        .collect();
    let sizes: Vec<_> = census
        .common_sizes()
        .into_iter()
        .map(|((width, height), files)| json!({ "width": width, "height": height, "files": files }))
        .collect();
    let problems: Vec<_> = census
        .problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "row": problem.row, "id": problem.id, "problem": problem.what }))
        .collect();
    json!({
        "lists": lists,
        "classes": classes,
        "formats": census.formats,
        "sizes": sizes,
        "duplicates": census.duplicates,
        "warnings": census.warnings,
        "problem_count": census.problem_count,
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_in_lines() {
        let mut census = Census {
            classes: ["a", "b"].map(str::to_owned).to_vec(),
            lists: vec![ListCensus {
                source: Source::Train,
                file: "train.csv".into(),
                row_count: 3,
                without_label: 1,
                class_rows: vec![2, 0],
                usable_images: 2,
            }],
            formats: BTreeMap::from([("PNG", 2)]),
            sizes: BTreeMap::from([((4, 4), 1), ((5, 4), 1)]),
            duplicates: vec![vec!["train.csv x".into(), "train.csv y".into()]],
            ..Census::default()
        };
        assert!(census_text(&census).ends_with("\nno problems\n"));
        census.add_problem(Problem::of_row(Path::new("train.csv"), 2, "z", "is empty".into()));
        census.add_problem(Problem::of_list(Path::new("test.csv"), &anyhow::anyhow!("test.csv, line 1: no")));
        let expected = "train.csv: 3 rows, 1 without a label; 2 of 3 images can be used\n\
            2 classes, with their rows: a 2, b 0\nclasses that no row has: b\n\
            files: 2 PNG; 4 x 4 (1), 5 x 4 (1)\nimages of the same bytes, 1 groups:\n  train.csv x, train.csv y\n\
            2 problems:\n  train.csv, row 3 (z): is empty\n  test.csv, line 1: no\n";
        assert_eq!(census_text(&census), expected);
        let json = census_json(&census);
        assert_eq!((&json["problem_count"], &json["problems"][0]["row"]), (&json!(2), &json!(3)));
        assert_eq!((&json["classes"][0]["rows"], &json["formats"]["PNG"]), (&json!(2), &json!(2)));
    }
}
