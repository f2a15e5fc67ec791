//! The classes of a spec, and how its lists have them.

use std::collections::HashSet;

use super::{JobSetSpec, LabelFormat, LabelSeparator, SpecError};
use crate::classes::HPA_CLASSES;

/// The label columns of the Human Protein Atlas's lists and of its submission.
const HPA_LABEL_COLUMNS: [&str; 2] = ["Target", "Predicted"];

impl JobSetSpec {
    /// The number of classes.
    pub fn class_count(&self) -> usize {
        if self.classes.is_empty() { HPA_CLASSES.len() } else { self.classes.len() }
    }

    /// The names of the classes, in label order.
    pub fn class_names(&self) -> Vec<String> {
        if self.classes.is_empty() { HPA_CLASSES.map(str::to_owned).to_vec() } else { self.classes.clone() }
    }

    /// The columns of a submission: the id and, in the format of the lists, the labels. The column `Target` of the Human
    /// Protein Atlas's lists is `Predicted` there.
    pub fn submission_header(&self) -> Vec<String> {
        let mut header = vec![self.id_column.clone()];
        match self.label_format {
            LabelFormat::OneHot => header.extend(self.class_names()),
            LabelFormat::Numbers | LabelFormat::Names => {
                let [listed, submitted] = HPA_LABEL_COLUMNS;
                let column = self.label_column.as_str();
                header.push(if column == listed { submitted } else { column }.to_owned());
            }
        }
        header
    }

    /// The rules on classes and columns that one entry of the table of keys cannot hold.
    pub(super) fn check_classes(&self) -> Result<(), SpecError> {
        let refuse = |key, problem: String| Err(SpecError { key, problem });
        let mut names = HashSet::new();
        if let Some(name) = self.classes.iter().find(|name| !names.insert(name.as_str())) {
            return refuse("classes", format!("the class {name:?} is named twice"));
        }
        match self.label_format {
            LabelFormat::Numbers => {}
            LabelFormat::Names => {
                let separator = self.label_separator;
                if let Some(name) = self.class_names().iter().find(|name| separator.is_in(name)) {
                    let others: Vec<&str> = LabelSeparator::ALL
                        .iter()
                        .filter(|other| **other != separator)
                        .map(|other| other.word())
                        .collect();
                    let others = others.join(", ");
                    let problem = format!("{separator} is part of the class {name:?}: choose one of {others}");
                    return refuse("label_separator", problem);
                }
            }
            LabelFormat::OneHot => {
                if self.label_column != HPA_LABEL_COLUMNS[0] {
                    let problem = "with label_format = one_hot each class has a column of its name: leave it out";
                    return refuse("label_column", problem.to_owned());
                }
                let names = self.class_names();
                for (key, column) in [("id_column", &self.id_column), ("group_column", &self.group_column)] {
                    if names.contains(column) {
                        return refuse(key, format!("{column:?} is the column of a class"));
                    }
                }
            }
        }
        if self.id_column == self.label_column {
            return refuse("label_column", format!("{:?} is the column of the ids", self.label_column));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> JobSetSpec {
        JobSetSpec { classes: names.iter().map(|&name| name.to_owned()).collect(), ..JobSetSpec::default() }
    }

    #[test]
    fn without_names_the_classes_are_those_of_the_human_protein_atlas() {
        let spec = JobSetSpec::default();
        assert_eq!((spec.class_count(), spec.class_names()[27].as_str()), (28, "Rods & rings"));
        assert_eq!(spec.submission_header(), ["Id", "Predicted"]);
        let spec = named(&["cat", "dog"]);
        assert_eq!((spec.class_count(), spec.class_names()), (2, vec!["cat".to_owned(), "dog".to_owned()]));
    }

    #[test]
    fn a_submission_has_the_columns_of_the_lists() {
        let (id_column, label_column) = ("image_name".to_owned(), "tags".to_owned());
        let spec = JobSetSpec { id_column, label_column, ..named(&["cat", "dog"]) };
        assert_eq!(spec.submission_header(), ["image_name", "tags"]);
        let spec = JobSetSpec { label_format: LabelFormat::OneHot, ..spec };
        assert_eq!(spec.submission_header(), ["image_name", "cat", "dog"]);
    }

    #[test]
    fn classes_that_cannot_be_told_apart_are_refused() {
        let message = |toml: &str| JobSetSpec::from_toml(toml).unwrap_err().to_string();
        let names = "classes = [\"No finding\", \"b|c\"]\nlabel_format = \"names\"\n";
        for (toml, wanted) in [
            ("classes = [\"a\"]", "classes: expected 2 to 1000 names, not 1"),
            ("classes = [\"a\", \"\"]", "classes: a name is 1 to 100 printable characters"),
            ("classes = [\"a\", \" b\"]", "classes: a name is 1 to 100 printable characters"),
            ("classes = [\"a\", \"b\", \"a\"]", "classes: the class \"a\" is named twice"),
            (names, "label_separator: space is part of the class \"No finding\": choose one of bar, comma, semicolon"),
            ("label_format = \"names\"", "label_separator: space is part of the class \"Nuclear membrane\""),
            ("label_format = \"one_hot\"\nlabel_column = \"tags\"", "label_column: with label_format = one_hot"),
            (
                "label_format = \"one_hot\"\nid_column = \"Nucleoli\"",
                "id_column: \"Nucleoli\" is the column of a class",
            ),
            ("id_column = \"Target\"", "label_column: \"Target\" is the column of the ids"),
            ("id_column = \"\"", "id_column: expected 1 to 100"),
            ("label_format = \"words\"", "unknown label_format \"words\": expected one of numbers, names, one_hot"),
        ] {
            let message = message(toml);
            assert!(message.contains(wanted), "{toml}: {message}");
        }
        for (separator, is_refused) in [("bar", true), ("comma", false), ("semicolon", false)] {
            let toml = format!("{names}label_separator = \"{separator}\"");
            assert_eq!(JobSetSpec::from_toml(&toml).is_err(), is_refused, "{separator}");
        }
    }
}
