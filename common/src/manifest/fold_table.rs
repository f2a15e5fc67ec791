//! The fold of each row of a job set, as the folds file has it.

use std::io::{Read, Write};

use super::ManifestError;
use super::csv_rows::{checked_id, read_rows, shown, wrong_header};
use super::error::ManifestProblem;
use crate::ids::Fold;
use crate::scores::Source;

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
        let mut rows = Vec::new();
        let columns = |header: &[&str]| match header {
            ["Id", "Source", "Fold"] => Ok(()),
            _ => Err(wrong_header("Id,Source,Fold", header, String::new())),
        };
        read_rows(file, input, columns, |(), _, record| {
            let field = |place| record.get(place).unwrap_or_default();
            let id = checked_id(field(0))?;
            let source = field(1).parse().map_err(|_| invalid("Source", field(1), "train or hpa"))?;
            rows.push(FoldRow { id, source, fold: fold_of(field(2))? });
            Ok(())
        })?;
        Ok(FoldTable { rows })
    }
}

/// The fold in a field `Fold`.
pub(super) fn fold_of(text: &str) -> Result<Fold, ManifestProblem> {
    text.parse().ok().and_then(Fold::new).ok_or_else(|| invalid("Fold", text, "a number from 0 to 99"))
}

fn invalid(field: &'static str, text: &str, expected: &'static str) -> ManifestProblem {
    ManifestProblem::Field { field, text: shown(text), expected }
}
