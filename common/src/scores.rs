//! Score tables: the scores of images for each class, out of fold or of the test list.
//!
//! As CSV, a table has the columns `Id,Source,Fold,Target,p0,…`, with one `p` for each class. `Target` has the labels as
//! numbers, separated by spaces; it is empty for rows without labels, and so for the whole test list. Each score is written
//! as the shortest decimal that is read as the same f32, so that writing and reading preserves all bits.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

use crate::classes::MOST_CLASSES;
use crate::ids::Fold;
use crate::labels::Labels;
use crate::spec::LabelSeparator;
use crate::words::words;

words! {
    /// The list that an image is from.
    pub enum Source, "source" {
        /// The training list.
        Train,
        /// The list of public images of the Human Protein Atlas.
        Hpa,
        /// The test list, whose labels are unknown.
        Test,
    }
}

/// One image's scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// The image's id, unique within its list.
    pub id: String,
    /// The list that the image is from.
    pub source: Source,
    /// The fold whose model made the scores.
    pub fold: Fold,
    /// The true labels; empty for the test list.
    pub target: Labels,
    /// One probability per class, each in 0..=1.
    pub scores: Vec<f32>,
}

/// The scores of a list of images.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTable {
    /// The number of classes, 1 to 1,000.
    pub class_count: usize,
    /// The rows, with unique pairs of source and id.
    pub rows: Vec<ScoreRow>,
}

/// An invalid score table. Rows are counted from 1, after the header.
#[derive(Debug, thiserror::Error)]
pub enum ScoreTableError {
    /// The text is not CSV, or reading failed.
    #[error("{file}: cannot be read as CSV: {error}")]
    Csv {
        /// The name of the table, as given by the caller.
        file: String,
        /// The error of the CSV reader, with its position.
        error: csv::Error,
    },
    /// Another header.
    #[error("{file}: the header must be Id,Source,Fold,Target,p0,p1,…, one p for each class, but is {found:?}")]
    Header {
        /// The name of the table, as given by the caller.
        file: String,
        /// The header of the file.
        found: String,
    },
    /// A wrong number of fields.
    #[error("{file}: row {row} must have {expected} fields, but has {found}")]
    FieldCount {
        /// The name of the table, as given by the caller.
        file: String,
        /// Counted from 1.
        row: usize,
        /// The number of fields in the header.
        expected: usize,
        /// The number of fields in the row.
        found: usize,
    },
    /// A row with another number of scores than there are classes, or a number of classes that is not possible.
    #[error("{file}: row {row} has {found} scores, where {expected} are expected")]
    ScoreCount {
        /// The name of the table, as given by the caller.
        file: String,
        /// Counted from 1.
        row: usize,
        /// The number of classes of the table.
        expected: usize,
        /// The number of scores in the row.
        found: usize,
    },
    /// An invalid field.
    #[error("{file}: row {row}, field {field}: {reason}")]
    Field {
        /// The name of the table, as given by the caller.
        file: String,
        /// Counted from 1.
        row: usize,
        /// The name of the field in the header.
        field: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// An image that occurs twice.
    #[error(
        "{file}: row {row}, field Id: {source_list} image {id:?} is already in row {first_row}; each may occur once"
    )]
    Duplicate {
        /// The name of the table, as given by the caller.
        file: String,
        /// Counted from 1.
        row: usize,
        /// The list that the image is from.
        source_list: Source,
        /// The image's id.
        id: String,
        /// The row of its first occurrence, counted from 1.
        first_row: usize,
    },
}

const FIXED_FIELDS: [&str; 4] = ["Id", "Source", "Fold", "Target"];

fn header(class_count: usize) -> Vec<String> {
    let scores = (0..class_count).map(|class| format!("p{class}"));
    FIXED_FIELDS.iter().map(|name| (*name).to_owned()).chain(scores).collect()
}

/// Whether a score is in 0..=1; false for NaN.
pub(crate) fn is_probability(score: f32) -> bool {
    (0.0..=1.0).contains(&score)
}

impl ScoreTable {
    /// A table of no rows.
    pub fn new(class_count: usize) -> ScoreTable {
        ScoreTable { class_count, rows: Vec::new() }
    }

    /// Reads a score table from CSV; the header has the number of classes. `file` is its name in errors.
    ///
    /// # Errors
    /// The first error, with its row and field: another header, a wrong number of fields, an empty id, an unknown source, a
    /// fold outside 0..=255, invalid labels, a score that is NaN or outside 0..=1, or an image that occurs twice.
    pub fn read_csv(file: &str, input: impl Read) -> Result<ScoreTable, ScoreTableError> {
        let csv_error = |error| ScoreTableError::Csv { file: file.to_owned(), error };
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let found = reader.headers().map_err(csv_error)?;
        let class_count = found.len().saturating_sub(FIXED_FIELDS.len());
        let is_possible = (1..=MOST_CLASSES).contains(&class_count);
        if !is_possible || !found.iter().eq(header(class_count).iter().map(String::as_str)) {
            let found = found.iter().collect::<Vec<_>>().join(",");
            return Err(ScoreTableError::Header { file: file.to_owned(), found });
        }
        let mut table = ScoreTable::new(class_count);
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            let row = table.rows.len() + 1;
            table.rows.push(parse_row(file, row, class_count, &record)?);
        }
        table.check(file)?;
        Ok(table)
    }

    /// Writes the table as CSV, in its order.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_csv(&self, output: impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(output);
        writer.write_record(header(self.class_count))?;
        let mut field = String::new();
        for row in &self.rows {
            writer.write_field(&row.id)?;
            // Writing to a String cannot fail.
            for value in [&row.source as &dyn fmt::Display, &row.fold, &row.target] {
                field.clear();
                let _ = write!(field, "{value}");
                writer.write_field(&field)?;
            }
            for score in &row.scores {
                field.clear();
                let _ = write!(field, "{score}");
                writer.write_field(&field)?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }

    /// Checks what the types do not: one score per class, each in 0..=1, no empty id, no image twice. `name` is the table's
    /// name in errors.
    ///
    /// # Errors
    /// The first invalid row.
    pub fn check(&self, name: &str) -> Result<(), ScoreTableError> {
        let mut first_rows = HashMap::with_capacity(self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            let field_error = |field: String, reason: String| {
                Err(ScoreTableError::Field { file: name.to_owned(), row: index + 1, field, reason })
            };
            if row.scores.len() != self.class_count || !(1..=MOST_CLASSES).contains(&self.class_count) {
                let (file, expected, found) = (name.to_owned(), self.class_count, row.scores.len());
                return Err(ScoreTableError::ScoreCount { file, row: index + 1, expected, found });
            }
            if row.id.is_empty() {
                return field_error("Id".to_owned(), "is empty".to_owned());
            }
            if let Some(class) = row.scores.iter().position(|score| !is_probability(*score)) {
                let reason = format!("a score must be in 0..=1, but is {}", row.scores[class]);
                return field_error(format!("p{class}"), reason);
            }
            if let Some(first) = first_rows.insert((row.source, row.id.as_str()), index) {
                return Err(ScoreTableError::Duplicate {
                    file: name.to_owned(),
                    row: index + 1,
                    source_list: row.source,
                    id: row.id.clone(),
                    first_row: first + 1,
                });
            }
        }
        Ok(())
    }

    /// The BLAKE3 digest, in hex, of the table's CSV as [`ScoreTable::write_csv`] writes it.
    pub fn digest_hex(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        // Writing to a hasher cannot fail.
        let _ = self.write_csv(&mut hasher);
        hasher.finalize().to_hex().to_string()
    }
}

fn parse_row(
    file: &str,
    row: usize,
    class_count: usize,
    record: &csv::StringRecord,
) -> Result<ScoreRow, ScoreTableError> {
    let expected = FIXED_FIELDS.len() + class_count;
    if record.len() != expected {
        return Err(ScoreTableError::FieldCount { file: file.to_owned(), row, expected, found: record.len() });
    }
    let field_error = |field: &str, reason: String| ScoreTableError::Field {
        file: file.to_owned(),
        row,
        field: field.to_owned(),
        reason,
    };
    let source = record[1].parse::<Source>().map_err(|error| field_error("Source", error.to_string()))?;
    let fold = record[2]
        .parse::<u8>()
        .map_err(|_| field_error("Fold", format!("must be a number in 0..=255, but is {:?}", &record[2])))?;
    let target = Labels::from_numbers(&record[3], LabelSeparator::Space, class_count)
        .map_err(|error| field_error("Target", error.to_string()))?;
    let mut scores = vec![0.0; class_count];
    for (class, score) in scores.iter_mut().enumerate() {
        let text = &record[FIXED_FIELDS.len() + class];
        *score = text.parse::<f32>().ok().filter(|value| is_probability(*value)).ok_or_else(|| {
            field_error(&format!("p{class}"), format!("a score must be a number in 0..=1, but is {text:?}"))
        })?;
    }
    Ok(ScoreRow { id: record[0].to_owned(), source, fold: Fold(fold), target, scores })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LABEL_COUNT;

    fn row(id: &str, source: Source, scores: [f32; LABEL_COUNT]) -> ScoreRow {
        let (target, scores) = ("16 0".parse().unwrap(), scores.to_vec());
        ScoreRow { id: id.to_owned(), source, fold: Fold(3), target, scores }
    }

    fn table(rows: Vec<ScoreRow>) -> ScoreTable {
        ScoreTable { class_count: LABEL_COUNT, rows }
    }

    fn written(table: &ScoreTable) -> String {
        let mut bytes = Vec::new();
        table.write_csv(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn csv_keeps_every_bit() {
        let mut state = 1_u32;
        let mut rows = Vec::new();
        for index in 0..500 {
            let scores = std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Any bit pattern of a float in 0..=1, denormals too.
                f32::from_bits(state % (1.0_f32.to_bits() + 1))
            });
            rows.push(row(&format!("id,{index}"), Source::Train, scores));
        }
        rows[0].target = Labels::default();
        rows[0].scores[..3].copy_from_slice(&[0.0, 1.0, f32::from_bits(1)]);
        let table = table(rows);
        let text = written(&table);
        assert!(text.lines().nth(1).unwrap().starts_with("\"id,0\",train,3,,0,1,0.00"), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("\"id,1\",train,3,0 16,"), "{text}");
        let back = ScoreTable::read_csv("oof.csv", text.as_bytes()).unwrap();
        assert_eq!(back, table);
        for (a, b) in back.rows.iter().zip(&table.rows) {
            assert!(a.scores.iter().map(|score| score.to_bits()).eq(b.scores.iter().map(|score| score.to_bits())));
        }
    }

    #[test]
    fn the_same_id_may_be_in_two_sources() {
        let zeros = [0.0; LABEL_COUNT];
        let table = table(vec![row("a", Source::Train, zeros), row("a", Source::Hpa, zeros)]);
        assert_eq!(ScoreTable::read_csv("x", written(&table).as_bytes()).unwrap(), table);
    }

    #[test]
    fn refusals_name_file_row_and_field() {
        let rows = vec![row("a", Source::Train, [0.25; LABEL_COUNT]), row("b", Source::Train, [0.5; LABEL_COUNT])];
        let good = written(&table(rows));
        let refused = |text: String| ScoreTable::read_csv("oof.csv", text.as_bytes()).unwrap_err().to_string();
        let changed = |from: &str, to: &str| {
            assert!(good.contains(from));
            refused(good.replacen(from, to, 1))
        };
        assert!(changed("Id,Source", "Id,Sauce").starts_with("oof.csv: the header must be Id,Source,Fold,Target,p0"));
        assert!(refused(String::new()).starts_with("oof.csv: the header must be"));
        let score = "oof.csv: row 2, field p0: a score must be a number in 0..=1, but is ";
        for wrong in ["NaN", "1.5", "-0.1", "inf", "", "x"] {
            assert_eq!(changed("16,0.5", &format!("16,{wrong}")), format!("{score}{wrong:?}"));
        }
        assert!(changed("b,train,3,0 16", "b,train,3,0 28").starts_with("oof.csv: row 2, field Target: "));
        assert!(changed("b,train,3", "b,train,256").starts_with("oof.csv: row 2, field Fold: "));
        assert!(changed("b,train,3", "b,Train,3").starts_with("oof.csv: row 2, field Source: "));
        assert_eq!(changed("\na,", "\n,"), "oof.csv: row 1, field Id: is empty");
        assert_eq!(changed("16,0.5", "16,0.5,0.5"), "oof.csv: row 2 must have 32 fields, but has 33");
        assert_eq!(
            changed("\nb,", "\na,"),
            "oof.csv: row 2, field Id: train image \"a\" is already in row 1; each may occur once"
        );
    }

    #[test]
    fn tables_that_are_not_from_a_file_are_checked_too() {
        let mut table = table(vec![row("a", Source::Train, [0.25; LABEL_COUNT])]);
        assert!(table.check("table").is_ok());
        table.rows[0].scores[27] = f32::NAN;
        let message = table.check("table").unwrap_err().to_string();
        assert_eq!(message, "table: row 1, field p27: a score must be in 0..=1, but is NaN");
        table.rows[0].scores.truncate(27);
        let message = table.check("table").unwrap_err().to_string();
        assert_eq!(message, "table: row 1 has 27 scores, where 28 are expected");
    }

    #[test]
    fn the_header_has_the_number_of_classes() {
        for class_count in [1_u16, 5, 1000] {
            let mut table = ScoreTable::new(class_count.into());
            assert_eq!(ScoreTable::read_csv("x", written(&table).as_bytes()).unwrap(), table);
            let (target, scores) = (Labels::from_indices([class_count - 1]).unwrap(), vec![0.5; class_count.into()]);
            table.rows.push(ScoreRow { id: "a".to_owned(), source: Source::Train, fold: Fold(7), target, scores });
            assert_eq!(ScoreTable::read_csv("x", written(&table).as_bytes()).unwrap(), table);
            let outside = written(&table).replace(&format!(",{},", class_count - 1), &format!(",{class_count},"));
            let message = ScoreTable::read_csv("x", outside.as_bytes()).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("x: row 1, field Target: label {class_count} is out of")),
                "{message}"
            );
        }
        for header in ["Id,Source,Fold,Target", "Id,Source,Fold,Target,p1", "Id,Source,Fold,Target,p0,p2"] {
            assert!(matches!(ScoreTable::read_csv("x", header.as_bytes()), Err(ScoreTableError::Header { .. })));
        }
    }

    #[test]
    fn digest_is_that_of_the_csv() {
        let table = table(vec![row("a", Source::Train, [0.25; LABEL_COUNT])]);
        assert_eq!(table.digest_hex(), blake3::hash(written(&table).as_bytes()).to_hex().to_string());
    }
}
