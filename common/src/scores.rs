//! Score tables: the scores of images for the 28 labels, out of fold or of the test list.
//!
//! As CSV, a table has the columns `Id,Source,Fold,Target,p0,…,p27`. `Target` has the labels, separated by spaces; it is
//! empty for rows without labels, and so for the whole test list. Each score is written as the shortest decimal that is read
//! as the same f32, so that writing and reading preserves all bits.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

use crate::ids::Fold;
use crate::labels::{LABEL_COUNT, Labels};
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
    /// One probability per label, each in 0..=1.
    pub scores: [f32; LABEL_COUNT],
}

/// The scores of a list of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreTable {
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
    #[error("{file}: the header must be Id,Source,Fold,Target,p0,p1,…,p{}, but is {found:?}", LABEL_COUNT - 1)]
    Header {
        /// The name of the table, as given by the caller.
        file: String,
        /// The header of the file.
        found: String,
    },
    /// A wrong number of fields.
    #[error("{file}: row {row} must have {} fields, but has {found}", 4 + LABEL_COUNT)]
    FieldCount {
        /// The name of the table, as given by the caller.
        file: String,
        /// Counted from 1.
        row: usize,
        /// The number of fields in the row.
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

fn header() -> Vec<String> {
    let scores = (0..LABEL_COUNT).map(|class| format!("p{class}"));
    FIXED_FIELDS.iter().map(|name| (*name).to_owned()).chain(scores).collect()
}

/// Whether a score is in 0..=1; false for NaN.
pub(crate) fn is_probability(score: f32) -> bool {
    (0.0..=1.0).contains(&score)
}

impl ScoreTable {
    /// Reads a score table from CSV. `file` is its name in errors.
    ///
    /// # Errors
    /// The first error, with its row and field: another header, a wrong number of fields, an empty id, an unknown source, a
    /// fold outside 0..=255, invalid labels, a score that is NaN or outside 0..=1, or an image that occurs twice.
    pub fn read_csv(file: &str, input: impl Read) -> Result<ScoreTable, ScoreTableError> {
        let csv_error = |error| ScoreTableError::Csv { file: file.to_owned(), error };
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let found = reader.headers().map_err(csv_error)?;
        if !found.iter().eq(header().iter().map(String::as_str)) {
            let found = found.iter().collect::<Vec<_>>().join(",");
            return Err(ScoreTableError::Header { file: file.to_owned(), found });
        }
        let mut table = ScoreTable::default();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            let row = table.rows.len() + 1;
            table.rows.push(parse_row(file, row, &record)?);
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
        writer.write_record(header())?;
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

    /// Checks what the types do not: scores in 0..=1, no empty id, no image twice. `name` is the table's name in errors.
    ///
    /// # Errors
    /// The first invalid row.
    pub fn check(&self, name: &str) -> Result<(), ScoreTableError> {
        let mut first_rows = HashMap::with_capacity(self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            let field_error = |field: String, reason: String| {
                Err(ScoreTableError::Field { file: name.to_owned(), row: index + 1, field, reason })
            };
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

fn parse_row(file: &str, row: usize, record: &csv::StringRecord) -> Result<ScoreRow, ScoreTableError> {
    if record.len() != FIXED_FIELDS.len() + LABEL_COUNT {
        return Err(ScoreTableError::FieldCount { file: file.to_owned(), row, found: record.len() });
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
    let target = record[3].parse::<Labels>().map_err(|error| field_error("Target", error.to_string()))?;
    let mut scores = [0.0; LABEL_COUNT];
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

    fn row(id: &str, source: Source, scores: [f32; LABEL_COUNT]) -> ScoreRow {
        ScoreRow { id: id.to_owned(), source, fold: Fold(3), target: "16 0".parse().unwrap(), scores }
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
        let table = ScoreTable { rows };
        let text = written(&table);
        assert!(text.lines().nth(1).unwrap().starts_with("\"id,0\",train,3,,0,1,0.00"), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("\"id,1\",train,3,0 16,"), "{text}");
        let back = ScoreTable::read_csv("oof.csv", text.as_bytes()).unwrap();
        assert_eq!(back, table);
        for (a, b) in back.rows.iter().zip(&table.rows) {
            assert_eq!(a.scores.map(f32::to_bits), b.scores.map(f32::to_bits));
        }
    }

    #[test]
    fn the_same_id_may_be_in_two_sources() {
        let zeros = [0.0; LABEL_COUNT];
        let table = ScoreTable { rows: vec![row("a", Source::Train, zeros), row("a", Source::Hpa, zeros)] };
        assert_eq!(ScoreTable::read_csv("x", written(&table).as_bytes()).unwrap(), table);
    }

    #[test]
    fn refusals_name_file_row_and_field() {
        let good = written(&ScoreTable {
            rows: vec![row("a", Source::Train, [0.25; LABEL_COUNT]), row("b", Source::Train, [0.5; LABEL_COUNT])],
        });
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
        let mut table = ScoreTable { rows: vec![row("a", Source::Train, [0.25; LABEL_COUNT])] };
        assert!(table.check("table").is_ok());
        table.rows[0].scores[27] = f32::NAN;
        let message = table.check("table").unwrap_err().to_string();
        assert_eq!(message, "table: row 1, field p27: a score must be in 0..=1, but is NaN");
    }

    #[test]
    fn digest_is_that_of_the_csv() {
        let table = ScoreTable { rows: vec![row("a", Source::Train, [0.25; LABEL_COUNT])] };
        assert_eq!(table.digest_hex(), blake3::hash(written(&table).as_bytes()).to_hex().to_string());
    }
}
