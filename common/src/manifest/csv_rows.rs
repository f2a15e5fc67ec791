//! Rows of CSV files, with the line of every error.

use std::io::{BufRead as _, BufReader, Read};

use super::error::MAX_ROWS;
use super::{ManifestError, ManifestProblem};

/// The maximum length of an image id and of a group's name, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 200;

/// Reads a file: `columns` finds the columns in the header, then `each` gets them with the line and the fields of each row.
/// A byte order mark is skipped.
pub(super) fn read_rows<C>(
    file: &str,
    input: impl Read,
    columns: impl Fn(&[&str]) -> Result<C, ManifestProblem>,
    mut each: impl FnMut(&C, u64, &csv::StringRecord) -> Result<(), ManifestProblem>,
) -> Result<C, ManifestError> {
    let at = |line, problem| ManifestError { file: file.to_owned(), line, problem };
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        at(line, ManifestProblem::Csv(csv_problem(&error)))
    };
    let mut input = BufReader::new(input);
    let unreadable = |error| at(1, ManifestProblem::Csv(format!("cannot be read: {error}")));
    if let Some(problem) = other_file(input.fill_buf().map_err(unreadable)?) {
        return Err(at(1, problem));
    }
    let mut reader = csv::ReaderBuilder::new().from_reader(input);
    let mut header: Vec<&str> = reader.headers().map_err(csv_error)?.iter().collect();
    if let Some(first) = header.first_mut() {
        *first = first.trim_start_matches('\u{feff}');
    }
    let columns = columns(&header).map_err(|problem| at(1, cause_in_header(&header, &columns).unwrap_or(problem)))?;
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

/// Why a file that begins with these bytes is no CSV file, if that can be told.
fn other_file(start: &[u8]) -> Option<ManifestProblem> {
    const BYTES: [(&[u8], &str); 4] = [
        (b"\xff\xfe", "is UTF-16 text: save it as UTF-8"),
        (b"\xfe\xff", "is UTF-16 text: save it as UTF-8"),
        (b"\x1f\x8b", "is compressed with gzip: unpack it"),
        (b"PK\x03\x04", "is a ZIP archive or a spreadsheet: unpack it, or export the sheet as CSV"),
    ];
    let known = BYTES.iter().find(|(first, _)| start.starts_with(first)).map(|(_, problem)| *problem);
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let has_zeros = line.contains(&0).then_some("is UTF-16, or no text: save it as UTF-8");
    known.or(has_zeros).map(ManifestProblem::OtherFile)
}

/// Why `columns` does not find the columns of a header, if they are there: another separator, or spaces around names.
fn cause_in_header<C>(
    header: &[&str],
    columns: impl Fn(&[&str]) -> Result<C, ManifestProblem>,
) -> Option<ManifestProblem> {
    if let [whole] = header
        && let Some((_, separator)) =
            [(';', "semicolons"), ('\t', "tabs")].into_iter().find(|(c, _)| whole.contains(*c))
    {
        return Some(ManifestProblem::Separator { separator, found: shown(whole) });
    }
    let trimmed: Vec<&str> = header.iter().map(|column| column.trim()).collect();
    let spaced = header.iter().find(|column| column.trim() != **column)?;
    columns(&trimmed).is_ok().then(|| ManifestProblem::SpacedColumn { column: shown(spaced) })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads rows of the columns `Id` and `Target`.
    fn read(bytes: &[u8]) -> Result<(), String> {
        let columns = |header: &[&str]| match (find_column(header, "Id")?, find_column(header, "Target")?) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err(wrong_header("Id,Target", header, String::new())),
        };
        read_rows("train.csv", bytes, columns, |(), _, _| Ok(())).map_err(|error| error.to_string())
    }

    #[test]
    fn another_separator_and_spaces_in_the_header_are_named() {
        assert_eq!(read(b"Id,Target\na,1\n"), Ok(()));
        for (text, wanted) in [
            ("Id;Target\na;1\n", "train.csv, line 1: the columns of \"Id;Target\" are separated by semicolons: save"),
            ("Id\tTarget\na\t1\n", "train.csv, line 1: the columns of \"Id\\tTarget\" are separated by tabs: save"),
            (
                "Id, Target\na,1\n",
                "train.csv, line 1: the name of the column \" Target\" has a space at its beginning or",
            ),
            ("Id ,Target\na,1\n", "the name of the column \"Id \" has a space"),
            ("Id, Label\na,1\n", "train.csv, line 1: the header should be Id,Target, not \"Id, Label\""),
        ] {
            let message = read(text.as_bytes()).unwrap_err();
            assert!(message.starts_with(wanted) || message.contains(wanted), "{text:?}: {message}");
        }
    }

    #[test]
    fn files_that_are_no_csv_are_named() {
        let utf16: Vec<u8> = "Id,Target\na,1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, wanted) in [
            ([b"\xff\xfe", &utf16[..]].concat(), "line 1: the file is UTF-16 text: save it as UTF-8"),
            (utf16, "the file is UTF-16, or no text"),
            (b"\x1f\x8b\x08\x00abc".to_vec(), "the file is compressed with gzip: unpack it"),
            (b"PK\x03\x04abc".to_vec(), "the file is a ZIP archive or a spreadsheet"),
        ] {
            let message = read(&bytes).unwrap_err();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
