//! Lists of images as CSV files, their folds, and the training and validation rows of a fold.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};

use crate::folds::{FoldsError, RowOrder, multilabel_stratified_folds};
use crate::ids::Fold;
use crate::labels::{LABEL_COUNT, Labels, LabelsError};
use crate::scores::Source;
use crate::spec::{JobSetSpec, SplitMethod};

/// The maximum length of an image id, in bytes.
const MAX_ID_BYTES: usize = 200;
/// The maximum number of rows of a list.
const MAX_ROWS: usize = 5_000_000;

/// A list of images in the order of the file, with unique ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The rows.
    pub rows: Vec<ManifestRow>,
}

/// One image and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    /// The image's id: the stem of a file name, never a path.
    pub id: String,
    /// Its labels; none in a test list.
    pub labels: Labels,
}

/// The columns of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// `Id,Target`: images and labels.
    Labelled,
    /// `Id` or `Id,Predicted`: a test list. The second column is ignored.
    Test,
}

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
    #[error("the header should be {expected}, not {found:?}")]
    Header {
        /// The expected header.
        expected: &'static str,
        /// The header of the file.
        found: String,
    },
    /// Invalid CSV or UTF-8, or a wrong number of fields.
    #[error("{0}")]
    Csv(String),
    /// An id that cannot be part of a file name.
    #[error(
        "the id {0:?} cannot name an image: expected 1 to 200 letters, digits, `_`, `-` or `.`, and no `.` at the start"
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
    #[error("Target: {0}")]
    Labels(#[from] LabelsError),
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

impl Manifest {
    /// Reads and checks a list. `file` is its name in errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_csv(file: &str, kind: ManifestKind, input: impl Read) -> Result<Manifest, ManifestError> {
        let expected = match kind {
            ManifestKind::Labelled => "Id,Target",
            ManifestKind::Test => "Id,Predicted",
        };
        let is_header = |found: &str| found == expected || (kind == ManifestKind::Test && found == "Id");
        let mut rows: Vec<ManifestRow> = Vec::new();
        let mut lines = HashMap::new();
        read_rows(file, expected, is_header, input, |line, record| {
            let id = checked_id(record.get(0).unwrap_or_default())?;
            if let Some(&first_line) = lines.get(&id) {
                return Err(ManifestProblem::DuplicateId { id, first_line });
            }
            let labels = match kind {
                ManifestKind::Labelled => record.get(1).unwrap_or_default().parse()?,
                ManifestKind::Test => Labels::default(),
            };
            lines.insert(id.clone(), line);
            rows.push(ManifestRow { id, labels });
            Ok(())
        })?;
        Ok(Manifest { rows })
    }

    /// The fold of each row, in order, as the spec splits them.
    pub fn split(&self, spec: &JobSetSpec) -> Result<Vec<Fold>, FoldsError> {
        let labels: Vec<Labels> = self.rows.iter().map(|row| row.labels).collect();
        let order = if spec.split_shuffle { RowOrder::Shuffled } else { RowOrder::AsGiven };
        let folds = match spec.split_method {
            SplitMethod::Mskf => {
                multilabel_stratified_folds(&labels, LABEL_COUNT, spec.folds as usize, spec.split_seed, order)?
            }
        };
        Ok(folds.into_iter().map(Fold).collect())
    }
}

/// The fold of each row of a job set's lists: the training list, then the HPA list, each in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldTable {
    /// The rows.
    pub rows: Vec<FoldRow>,
}

/// One row's fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldRow {
    /// The image.
    pub id: String,
    /// The list it is from.
    pub source: Source,
    /// Its fold.
    pub fold: Fold,
}

impl FoldTable {
    /// Splits each list separately.
    ///
    /// # Errors
    /// If a list cannot be split into the spec's number of folds.
    pub fn split(spec: &JobSetSpec, train: &Manifest, hpa: Option<&Manifest>) -> Result<FoldTable, FoldsError> {
        let mut rows = Vec::new();
        for (source, manifest) in [(Source::Train, Some(train)), (Source::Hpa, hpa)] {
            let Some(manifest) = manifest else { continue };
            let folds = manifest.split(spec)?;
            rows.extend(manifest.rows.iter().zip(folds).map(|(row, fold)| FoldRow {
                id: row.id.clone(),
                source,
                fold,
            }));
        }
        Ok(FoldTable { rows })
    }

    /// Writes the table as CSV, `Id,Source,Fold`.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_csv(&self, mut output: impl Write) -> std::io::Result<()> {
        writeln!(output, "Id,Source,Fold")?;
        for row in &self.rows {
            writeln!(output, "{},{},{}", row.id, row.source, row.fold)?;
        }
        output.flush()
    }

    /// Reads what [`FoldTable::write_csv`] writes. `file` is its name in errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_csv(file: &str, input: impl Read) -> Result<FoldTable, ManifestError> {
        const HEADER: &str = "Id,Source,Fold";
        let mut rows = Vec::new();
        read_rows(
            file,
            HEADER,
            |found| found == HEADER,
            input,
            |_, record| {
                let field = |field, place, expected| {
                    let text: String = record.get(place).unwrap_or_default().chars().take(80).collect();
                    ManifestProblem::Field { field, text, expected }
                };
                let id = checked_id(record.get(0).unwrap_or_default())?;
                let source = record.get(1).unwrap_or_default().parse();
                let source = source.map_err(|_| field("Source", 1, "train or hpa"))?;
                let fold = record.get(2).unwrap_or_default().parse::<u8>().ok().filter(|&fold| fold < 100);
                let fold = fold.ok_or_else(|| field("Fold", 2, "a number from 0 to 99"))?;
                rows.push(FoldRow { id, source, fold: Fold(fold) });
                Ok(())
            },
        )?;
        Ok(FoldTable { rows })
    }
}

/// An image of a training or HPA list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelledRow {
    /// The image.
    pub id: String,
    /// The list it is from.
    pub source: Source,
    /// Its labels.
    pub labels: Labels,
}

/// The rows of one fold: those of the training list, then those of the HPA list, each in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldRows {
    /// The rows to train on.
    pub train: Vec<LabelledRow>,
    /// The rows to validate on, which are also those of the out-of-fold table.
    pub valid: Vec<LabelledRow>,
}

/// Lists and a fold table that do not belong together, or a fold without rows.
#[derive(Debug, thiserror::Error)]
pub enum FoldRowsError {
    /// Different numbers of rows.
    #[error("the fold table has {found} rows, the lists have {expected}: they do not belong together")]
    RowCount {
        /// Rows of the lists.
        expected: usize,
        /// Rows of the fold table.
        found: usize,
    },
    /// Different rows.
    #[error("row {row} of the fold table is {found}, that of the lists is {expected}: they do not belong together")]
    Row {
        /// The row, counted from 1.
        row: usize,
        /// The row of the lists.
        expected: String,
        /// The row of the fold table.
        found: String,
    },
    /// A fold without rows.
    #[error("fold {fold} has no {part} rows")]
    Empty {
        /// The fold.
        fold: Fold,
        /// Which rows: `training` or `validation`.
        part: &'static str,
    },
}

impl FoldRows {
    /// The rows of `fold`. HPA rows take part as the spec says.
    ///
    /// # Errors
    /// If the lists and the fold table do not belong together, or there are no rows to train or to validate on.
    pub fn of(
        spec: &JobSetSpec,
        fold: Fold,
        train: &Manifest,
        hpa: Option<&Manifest>,
        folds: &FoldTable,
    ) -> Result<FoldRows, FoldRowsError> {
        let hpa_rows = hpa.map_or(&[][..], |manifest| &manifest.rows);
        let expected = train.rows.len() + hpa_rows.len();
        if folds.rows.len() != expected {
            return Err(FoldRowsError::RowCount { expected, found: folds.rows.len() });
        }
        let listed = train.rows.iter().map(|row| (Source::Train, row));
        let listed = listed.chain(hpa_rows.iter().map(|row| (Source::Hpa, row)));
        let mut rows = FoldRows { train: Vec::new(), valid: Vec::new() };
        for (place, ((source, row), split)) in listed.zip(&folds.rows).enumerate() {
            if split.source != source || split.id != row.id {
                let (expected, found) = (format!("{source}/{}", row.id), format!("{}/{}", split.source, split.id));
                return Err(FoldRowsError::Row { row: place + 1, expected, found });
            }
            let (part, wanted) = match (split.fold == fold, source) {
                (true, Source::Hpa) => (&mut rows.valid, spec.valid_with_hpa),
                (false, Source::Hpa) => (&mut rows.train, spec.train_with_hpa),
                (true, _) => (&mut rows.valid, true),
                (false, _) => (&mut rows.train, true),
            };
            if wanted {
                part.push(LabelledRow { id: row.id.clone(), source, labels: row.labels });
            }
        }
        for (part, rows) in [("training", &rows.train), ("validation", &rows.valid)] {
            if rows.is_empty() {
                return Err(FoldRowsError::Empty { fold, part });
            }
        }
        Ok(rows)
    }
}

/// The first id that is in both lists. Such lists cannot be used together: an id must be unique within a job set.
pub fn shared_id<'a>(train: &'a Manifest, hpa: &Manifest) -> Option<&'a str> {
    let hpa_ids: HashSet<&str> = hpa.rows.iter().map(|row| row.id.as_str()).collect();
    train.rows.iter().map(|row| row.id.as_str()).find(|id| hpa_ids.contains(id))
}

/// An id that can be part of a file name: without separators, parent folders and characters to escape.
fn checked_id(id: &str) -> Result<String, ManifestProblem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(ManifestProblem::Id(id.chars().take(80).collect()));
    }
    Ok(id.to_owned())
}

fn read_rows(
    file: &str,
    expected: &'static str,
    is_header: impl Fn(&str) -> bool,
    input: impl Read,
    mut each: impl FnMut(u64, &csv::StringRecord) -> Result<(), ManifestProblem>,
) -> Result<(), ManifestError> {
    let at = |line, problem| ManifestError { file: file.to_owned(), line, problem };
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        at(line, ManifestProblem::Csv(csv_problem(&error)))
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(input);
    let header = reader.headers().map_err(csv_error)?;
    let found = header.iter().collect::<Vec<_>>().join(",");
    let found = found.trim_start_matches('\u{feff}');
    if !is_header(found) {
        let found = found.chars().take(80).collect();
        return Err(at(1, ManifestProblem::Header { expected, found }));
    }
    let mut record = csv::StringRecord::new();
    let mut count = 0;
    while reader.read_record(&mut record).map_err(csv_error)? {
        let line = record.position().map_or(0, csv::Position::line);
        count += 1;
        if count > MAX_ROWS {
            return Err(at(line, ManifestProblem::TooLong));
        }
        each(line, &record).map_err(|problem| at(line, problem))?;
    }
    if count == 0 {
        return Err(at(1, ManifestProblem::Empty));
    }
    Ok(())
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

    fn labelled(text: &str) -> Result<Manifest, String> {
        Manifest::read_csv("train.csv", ManifestKind::Labelled, text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_in_order() {
        let manifest = labelled("Id,Target\na-1,16 0\nb_2,\n").unwrap();
        assert_eq!(manifest.rows[0].id, "a-1");
        assert_eq!(manifest.rows[0].labels.to_string(), "0 16");
        assert!(manifest.rows[1].labels.is_empty());
    }

    #[test]
    fn bad_lists_are_refused_with_line_and_reason() {
        for (text, wanted) in [
            ("", "header"),
            ("Id,Label\na,1\n", "line 1: the header should be Id,Target, not \"Id,Label\""),
            ("Id,Target\n", "empty"),
            ("Id,Target\na,1\na,2\n", "line 3: the id \"a\" is already on line 2"),
            ("Id,Target\na,1\nb,28\n", "line 3: Target"),
            ("Id,Target\na,1,2\n", "line 2: 3 fields where the header has 2"),
            ("Id,Target\n../a,1\n", "line 2: the id \"../a\" cannot name"),
            ("Id,Target\na,one\n", "line 2: Target"),
        ] {
            let message = labelled(text).unwrap_err();
            assert!(message.contains(wanted), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_fold_has_the_rows_that_the_spec_wants() {
        let list = |prefix: &str| {
            let rows = (0..20)
                .map(|i| ManifestRow { id: format!("{prefix}{i}"), labels: Labels::from_indices([i % 3]).unwrap() });
            Manifest { rows: rows.collect() }
        };
        let (train, hpa) = (list("t"), list("h"));
        let mut spec = JobSetSpec::default();
        let table = FoldTable::split(&spec, &train, Some(&hpa)).unwrap();
        let mut csv = Vec::new();
        table.write_csv(&mut csv).unwrap();
        assert_eq!(FoldTable::read_csv("folds.csv", csv.as_slice()).unwrap(), table);

        let rows = FoldRows::of(&spec, Fold(1), &train, Some(&hpa), &table).unwrap();
        assert_eq!(rows.train.len() + rows.valid.len(), 40);
        spec.valid_with_hpa = false;
        let rows = FoldRows::of(&spec, Fold(1), &train, Some(&hpa), &table).unwrap();
        assert!(rows.valid.iter().all(|row| row.source == Source::Train));
        assert!(FoldRows::of(&spec, Fold(1), &train, None, &table).is_err());
        assert_eq!(shared_id(&train, &hpa), None);
        assert_eq!(shared_id(&train, &train), Some("t0"));
    }
}
