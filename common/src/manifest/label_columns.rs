//! The labels of a list's rows: in one column as numbers or names, or in a column of 0 and 1 for each class.

use std::collections::HashMap;

use super::ManifestProblem;
use super::csv_rows::{column_advice, find_column, shown, wrong_header};
use crate::labels::{Labels, LabelsError};
use crate::spec::{JobSetSpec, LabelFormat, LabelSeparator};

/// The places of the labels in a list, and how they are read.
pub(super) struct LabelColumns {
    class_count: usize,
    form: Form,
}

enum Form {
    Numbers { column: Column, separator: LabelSeparator },
    Names { column: Column, separator: LabelSeparator, label_of: HashMap<String, u16>, example: String },
    OneHot { columns: Vec<Column> },
}

struct Column {
    name: String,
    place: usize,
}

impl LabelColumns {
    /// Finds the columns that the spec describes.
    pub(super) fn find(header: &[&str], spec: &JobSetSpec) -> Result<LabelColumns, ManifestProblem> {
        let label_column = || match find_column(header, &spec.label_column)? {
            Some(place) => Ok(Column { name: spec.label_column.clone(), place }),
            None => {
                let expected = format!("{},{}", spec.id_column, spec.label_column);
                Err(wrong_header(expected, header, column_advice(header, "label_column", &spec.label_column, "labels")))
            }
        };
        let (class_count, separator) = (spec.class_count(), spec.label_separator);
        let form = match spec.label_format {
            LabelFormat::Numbers => Form::Numbers { column: label_column()?, separator },
            LabelFormat::Names => {
                let names = spec.class_names();
                let example = names.first().cloned().unwrap_or_default();
                let label_of = names.into_iter().zip(0..).collect();
                Form::Names { column: label_column()?, separator, label_of, example }
            }
            LabelFormat::OneHot => {
                let mut columns = Vec::with_capacity(class_count);
                for name in spec.class_names() {
                    let Some(place) = find_column(header, &name)? else {
                        let found = shown(&header.join(","));
                        return Err(ManifestProblem::NoClassColumn { column: name, found });
                    };
                    columns.push(Column { name, place });
                }
                Form::OneHot { columns }
            }
        };
        Ok(LabelColumns { class_count, form })
    }

    /// Whether the column at `place` has labels.
    pub(super) fn has(&self, place: usize) -> bool {
        match &self.form {
            Form::Numbers { column, .. } | Form::Names { column, .. } => column.place == place,
            Form::OneHot { columns } => columns.iter().any(|column| column.place == place),
        }
    }

    /// The labels of a row.
    pub(super) fn read(&self, record: &csv::StringRecord) -> Result<Labels, ManifestProblem> {
        let field = |column: &Column| record.get(column.place).unwrap_or_default();
        let problem = |column: &Column, advice, error| {
            let column = column.name.clone();
            ManifestProblem::Labels { column, advice, error: Box::new(error) }
        };
        match &self.form {
            Form::Numbers { column, separator } => {
                let text = field(column);
                Labels::from_numbers(text, *separator, self.class_count).map_err(|error| {
                    let is_label =
                        |part: &str| part.parse().is_ok_and(|label: u16| usize::from(label) < self.class_count);
                    problem(column, separator_advice(text, *separator, is_label), error)
                })
            }
            Form::Names { column, separator, label_of, example } => {
                let mut labels = Vec::new();
                for name in separator.split(field(column)) {
                    let Some(label) = label_of.get(name) else {
                        let advice = match label_of.keys().find(|class| class.eq_ignore_ascii_case(name)) {
                            Some(class) => format!("; it differs from the class {class:?} in case alone"),
                            None => separator_advice(field(column), *separator, |part| label_of.contains_key(part)),
                        };
                        let (name, class_count, example) = (shown(name), self.class_count, example.clone());
                        let error = LabelsError::UnknownName { name, class_count, example, separator: *separator };
                        return Err(problem(column, advice, error));
                    };
                    if labels.contains(label) {
                        let error = LabelsError::Duplicate { label: format!("{name:?}") };
                        return Err(problem(column, String::new(), error));
                    }
                    labels.push(*label);
                }
                Labels::from_indices(labels).map_err(|error| problem(column, String::new(), error))
            }
            Form::OneHot { columns } => {
                let mut labels = Vec::new();
                for (label, column) in (0..).zip(columns) {
                    match field(column).trim_ascii() {
                        // Some programs write every number as a float.
                        "0" | "0.0" => {}
                        "1" | "1.0" => labels.push(label),
                        text => {
                            let (column, text) = (column.name.clone(), shown(text));
                            return Err(ManifestProblem::OneHot { column, text });
                        }
                    }
                }
                // No column is named twice.
                Labels::from_indices(labels).map_err(|error| problem(&columns[0], String::new(), error))
            }
        }
    }
}

/// Names the other separator that cuts a text into labels alone, if there is one.
fn separator_advice(text: &str, used: LabelSeparator, is_label: impl Fn(&str) -> bool) -> String {
    let cuts = |separator: &&LabelSeparator| {
        let parts = separator.split(text);
        **separator != used && parts.len() > 1 && parts.iter().all(|part| is_label(part))
    };
    match LabelSeparator::ALL.iter().find(cuts) {
        Some(other) => {
            format!("; separated by {}, these are labels: --label_separator {}", other.plural(), other.word())
        }
        None => String::new(),
    }
}
