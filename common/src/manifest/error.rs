//! What is wrong with a list, and where.

use crate::labels::LabelsError;

/// The maximum number of rows of a list.
pub(super) const MAX_ROWS: usize = 5_000_000;

/// An invalid list, with the file and the line.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub struct ManifestError {
    /// The name of the file, as given by the caller.
    pub file: String,
    /// The line, counted from 1; the header is line 1.
    pub line: u64,
    /// What is wrong.
    pub problem: ManifestProblem,
}

/// An invalid line of a list.
#[derive(Debug, thiserror::Error)]
pub enum ManifestProblem {
    /// Another header.
    #[error("the header should be {expected}, not {found:?}{advice}")]
    Header {
        /// The expected header.
        expected: String,
        /// What to do, as the end of a sentence; may be empty.
        advice: String,
        /// The header of the file.
        found: String,
    },
    /// A file that is no CSV file.
    #[error("the file {0}")]
    OtherFile(&'static str),
    /// Columns with something else than commas between them.
    #[error("the columns of {found:?} are separated by {separator}: save the list with commas between them")]
    Separator {
        /// What separates them, in plural.
        separator: &'static str,
        /// The header of the file.
        found: String,
    },
    /// A column whose name would be right without spaces around it.
    #[error("the name of the column {column:?} has a space at its beginning or end: remove it")]
    SpacedColumn {
        /// The column's name.
        column: String,
    },
    /// A column that is neither an id, nor labels, nor a group.
    #[error(
        "the column {column:?} is not expected: remove it, or name it with group_column if it has the rows' groups"
    )]
    ExtraColumn {
        /// The column's name.
        column: String,
    },
    /// A column that occurs twice.
    #[error("the header has the column {column:?} twice: remove one of them")]
    DuplicateColumn {
        /// The column's name.
        column: String,
    },
    /// No column of the name that the spec gives.
    #[error("the header should have the column {column:?}, which group_column names, but is {found:?}")]
    NoGroupColumn {
        /// The name in the spec.
        column: String,
        /// The header of the file.
        found: String,
    },
    /// No column for a class.
    #[error("the header should have the column {column:?} for the class of that name, but is {found:?}")]
    NoClassColumn {
        /// The name of the class.
        column: String,
        /// The header of the file.
        found: String,
    },
    /// A value that says neither that the image is of the class nor that it is not.
    #[error("{column}: {text:?} should be 0 or 1")]
    OneHot {
        /// The column.
        column: String,
        /// Its text.
        text: String,
    },
    /// Invalid CSV or UTF-8, or a wrong number of fields.
    #[error("{0}")]
    Csv(String),
    /// An id that cannot be part of a file name.
    #[error(
        "the id {0:?} cannot name an image: expected 1 to 200 ASCII letters (a to z, A to Z), digits, `_`, `-` or `.`, and no `.` at the start; `/` between a folder and a name"
    )]
    Id(String),
    /// An id that occurs twice.
    #[error("the id {id:?} is already on line {first_line}: list each image once")]
    DuplicateId {
        /// The id.
        id: String,
        /// The line of its first occurrence.
        first_line: u64,
    },
    /// Invalid labels.
    #[error("{column}: {error}{advice}")]
    Labels {
        /// The column.
        column: String,
        /// What to do, as the end of a sentence; may be empty.
        advice: String,
        /// What is wrong.
        error: Box<LabelsError>,
    },
    /// A row with no class or several where the task is multiclass.
    #[error("the row has {count} classes, but with task = multiclass each row has exactly one")]
    NotOneClass {
        /// The number of its classes.
        count: usize,
    },
    /// A row without a group, or with one that cannot be shown.
    #[error(
        "{column}: {text:?} is not the name of a group: expected 1 to 200 bytes without line breaks; a row that is a \
         group of its own may have its id there"
    )]
    Group {
        /// The column.
        column: String,
        /// Its text.
        text: String,
    },
    /// An invalid fold or source.
    #[error("{field} {text:?} should be {expected}")]
    Field {
        /// The column.
        field: &'static str,
        /// Its text.
        text: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A list without rows.
    #[error("the list is empty")]
    Empty,
    /// Too many rows.
    #[error("the list has more than {MAX_ROWS} rows")]
    TooLong,
}
