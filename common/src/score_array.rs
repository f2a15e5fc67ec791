//! Score tables as NPY arrays, for pandas and polars: `pandas.DataFrame(numpy.load("oof.npy"))`.

use std::io::{self, Write};

use crate::labels::LABEL_COUNT;
use crate::scores::ScoreTable;

impl ScoreTable {
    /// Writes the table as one NPY array (format 1.0) of records: `Id` and `Source` as bytes, padded with zeros to the
    /// longest; `Fold` as u8; `Target` as u32, where bit k stands for label k; `p0` to `p27` as f32, with the same bits as
    /// in the CSV.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_npy(&self, mut output: impl Write) -> io::Result<()> {
        let id_bytes = self.rows.iter().map(|row| row.id.len()).max().unwrap_or(1).max(1);
        let source_bytes = self.rows.iter().map(|row| row.source.to_string().len()).max().unwrap_or(1);
        output.write_all(&header(id_bytes, source_bytes, self.rows.len()))?;
        for row in &self.rows {
            write_padded(&mut output, row.id.as_bytes(), id_bytes)?;
            write_padded(&mut output, row.source.to_string().as_bytes(), source_bytes)?;
            output.write_all(&[row.fold.0])?;
            output.write_all(&row.target.bits().to_le_bytes())?;
            for score in row.scores {
                output.write_all(&score.to_le_bytes())?;
            }
        }
        output.flush()
    }
}

/// The magic number, the version and the description of the records, padded to a multiple of 64 bytes
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
fn header(id_bytes: usize, source_bytes: usize, rows: usize) -> Vec<u8> {
    let mut fields = vec![
        format!("('Id', '|S{id_bytes}')"),
        format!("('Source', '|S{source_bytes}')"),
        "('Fold', '|u1')".to_owned(),
        "('Target', '<u4')".to_owned(),
    ];
    fields.extend((0..LABEL_COUNT).map(|label| format!("('p{label}', '<f4')")));
    let mut text =
        format!("{{'descr': [{}], 'fortran_order': False, 'shape': ({rows},), }}", fields.join(", ")).into_bytes();
    // numpy leaves room for a longer row count, so that an array can grow in place, and then pads to 64 bytes. The header
    // has eight bytes of magic and version, two of length, and a newline at the end.
    let growth = 21 - rows.to_string().len();
    text.resize(text.len() + growth, b' ');
    let padding = 64 - (10 + text.len() + 1) % 64;
    text.resize(text.len() + padding, b' ');
    text.push(b'\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text);
    header
}

fn write_padded(output: &mut impl Write, text: &[u8], width: usize) -> io::Result<()> {
    output.write_all(text)?;
    output.write_all(&vec![0; width - text.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Fold;
    use crate::labels::Labels;
    use crate::scores::{ScoreRow, Source};

    #[test]
    fn the_bytes_are_numpys() {
        let row = |id: &str, source, fold, labels: &[u8], first: f32| ScoreRow {
            id: id.to_owned(),
            source,
            fold: Fold(fold),
            target: Labels::from_indices(labels.iter().copied()).unwrap(),
            scores: std::array::from_fn(|label| first / (label + 1) as f32),
        };
        let rows = vec![
            row("a", Source::Train, 0, &[0, 27], 0.5),
            row("10580_1610_C1_1", Source::Hpa, 4, &[], 1.0),
            row("b-2", Source::Train, 1, &[25], 0.1),
        ];
        let mut bytes = Vec::new();
        ScoreTable { rows }.write_npy(&mut bytes).unwrap();
        assert_eq!(bytes, include_bytes!("../tests/fixtures/scores.npy"));
    }
}
