//! Rows of CSV files, with the line of every error.

use std::io::Read;

use super::error::MAX_ROWS;
use super::{ManifestError, ManifestProblem};

/// The maximum length of an image id and of a group's name, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 200;

/// Reads a file: `columns` finds the columns in the header, then `each` gets them with the line and the fields of each row.
/// A byte order mark is skipped.
pub(super) fn read_rows<C>(
    file: &str,
    input: impl Read,
    columns: impl FnOnce(&[&str]) -> Result<C, ManifestProblem>,
    mut each: impl FnMut(&C, u64, &csv::StringRecord) -> Result<(), ManifestProblem>,
) -> Result<C, ManifestError> {
    let at = |line, problem| ManifestError { file: file.to_owned(), line, problem };
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        at(line, ManifestProblem::Csv(csv_problem(&error)))
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(input);
    let mut header: Vec<&str> = reader.headers().map_err(csv_error)?.iter().collect();
    if let Some(first) = header.first_mut() {
        *first = first.trim_start_matches('\u{feff}');
    }
    let columns = columns(&header).map_err(|problem| at(1, problem))?;
    let mut record = csv::StringRecord::new();
    let mut count = 0;
    while reader.read_record(&mut record).map_err(csv_error)? {
        let line = record.position().map_or(0, csv::Position::line);
        count += 1;
        if count > MAX_ROWS {
            return Err(at(line, ManifestProblem::TooLong));
        }
        each(&columns, line, &record).map_err(|problem| at(line, problem))?;
    }
    if count == 0 {
        return Err(at(1, ManifestProblem::Empty));
    }
    Ok(columns)
}

/// The place of the column `name`, if the header has it.
///
/// # Errors
/// If the header has it twice.
pub(super) fn find_column(header: &[&str], name: &str) -> Result<Option<usize>, ManifestProblem> {
    let mut places = header.iter().enumerate().filter(|(_, column)| **column == name).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (_, Some(_)) => Err(ManifestProblem::DuplicateColumn { column: shown(name) }),
        (place, None) => Ok(place),
    }
}

/// The error of a header that lacks columns.
pub(super) fn wrong_header(expected: impl Into<String>, header: &[&str], advice: String) -> ManifestProblem {
    ManifestProblem::Header { expected: expected.into(), found: shown(&header.join(",")), advice }
}

/// What to do if the header lacks the column `name`, which `key` of the spec names and which has the `content` of the rows;
/// empty if it has the column.
pub(super) fn column_advice(header: &[&str], key: &str, name: &str, content: &str) -> String {
    if header.contains(&name) {
        return String::new();
    }
    match header.iter().find(|column| column.eq_ignore_ascii_case(name)) {
        Some(column) => format!("; {:?} differs in case: name it with --{key} {column}", shown(column)),
        None => format!("; name the column of the {content} with --{key}"),
    }
}

/// As much of a text as a message has room for.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// An id that can be part of a path below a folder: perhaps with sub-folders, without parent folders, hidden files and
/// characters to escape.
pub(super) fn checked_id(id: &str) -> Result<String, ManifestProblem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_name = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    if id.len() > MAX_NAME_BYTES || !id.split('/').all(is_name) {
        return Err(ManifestProblem::Id(shown(id)));
    }
    Ok(id.to_owned())
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("field {} is not UTF-8", err.field() + 1),
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => error.to_string(),
    }
}
