//! What a check of a data set found, as text and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use fivefold_common::one_line::one_line;
use fivefold_common::scores::Source;
use fivefold_images::first_of_each::FirstOfEach;
use fivefold_images::{ImageError, image_problem};
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
    /// What is wrong.
    pub(crate) problems: FirstOfEach<ProblemKind, Problem>,
}

/// What problems have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// A file, not one of its rows.
    List,
    /// A row of the test list that is in another list, too.
    Shared,
    /// An image.
    Image(image_problem::ProblemKind),
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
    kind: ProblemKind,
}

impl Problem {
    /// A problem of a whole file.
    pub(crate) fn of_list(file: &Path, error: &anyhow::Error) -> Self {
        let kind = ProblemKind::List;
        Self { file: file.display().to_string(), row: None, id: None, what: format!("{error:#}"), kind }
    }

    /// A row, counted from 0, whose image is also in a list.
    pub(crate) fn of_shared_row(file: &Path, row: usize, id: &str, what: String) -> Self {
        let file = file.display().to_string();
        Self { file, row: Some(row + 1), id: Some(id.to_owned()), what, kind: ProblemKind::Shared }
    }

    /// A row, counted from 0, whose image cannot be used.
    pub(crate) fn of_image(file: &Path, row: usize, id: &str, error: &ImageError) -> Self {
        let (file, kind) = (file.display().to_string(), ProblemKind::Image(error.problem.kind()));
        Self { file, row: Some(row + 1), id: Some(id.to_owned()), what: error.to_string(), kind }
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
        self.problems.add(problem.kind, problem);
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
    match census.problems.count() {
        0 => lines.push("no problems".to_owned()),
        count => {
            lines.push(format!("{count} problem{}:", if count == 1 { "" } else { "s" }));
            let named: Vec<&Problem> = census.problems.named(NAMED).collect();
            lines.extend(named.iter().map(|problem| format!("  {}", problem.text())));
            lines.extend((count > named.len()).then(|| format!("  and {} more", count - named.len())));
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
        .named(NAMED)
        .map(|problem| json!({ "file": problem.file, "row": problem.row, "id": problem.id, "problem": problem.what }))
        .collect();
    json!({
        "lists": lists,
        "classes": classes,
        "formats": census.formats,
        "sizes": sizes,
        "duplicates": census.duplicates,
        "warnings": census.warnings,
        "problem_count": census.problems.count(),
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use fivefold_images::ImageProblem;

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
        let empty = |id: &str| ImageError { path: id.into(), problem: ImageProblem::Empty };
        census.add_problem(Problem::of_image(Path::new("train.csv"), 2, "z", &empty("z.png")));
        census.add_problem(Problem::of_list(Path::new("test.csv"), &anyhow::anyhow!("test.csv, line 1: no")));
        let expected = "train.csv: 3 rows, 1 without a label; 2 of 3 images can be used\n\
            2 classes, with their rows: a 2, b 0\nclasses that no row has: b\n\
            files: 2 PNG; 4 x 4 (1), 5 x 4 (1)\nimages of the same bytes, 1 groups:\n  train.csv x, train.csv y\n\
            2 problems:\n  train.csv, row 3 (z): z.png: is empty\n  test.csv, line 1: no\n";
        assert_eq!(census_text(&census), expected);
        let json = census_json(&census);
        assert_eq!((&json["problem_count"], &json["problems"][0]["row"]), (&json!(2), &json!(3)));
        assert_eq!((&json["classes"][0]["rows"], &json["formats"]["PNG"]), (&json!(2), &json!(2)));
        for row in 3..50 {
            census.add_problem(Problem::of_image(Path::new("train.csv"), row, "y", &empty("y.png")));
        }
        let shared = "the image is also in train.csv, row 1";
        census.add_problem(Problem::of_shared_row(Path::new("test.csv"), 0, "x", shared.to_owned()));
        let text = census_text(&census);
        let named = text.split_once("50 problems:\n").unwrap().1;
        assert!(named.contains(shared) && named.find(shared) < named.find("(y)"), "{text}");
        assert!(named.ends_with("\n  and 40 more\n"), "{text}");
    }
}
