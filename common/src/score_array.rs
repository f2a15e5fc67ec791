//! Score tables as NPY arrays, for pandas and polars: `pandas.DataFrame(numpy.load("oof.npy"))`.

use std::io::{self, Write};

use crate::scores::{ScoreRow, ScoreTable};

impl ScoreTable {
    /// Writes the table as one NPY array (format 1.0) of records: `Id` and `Source` as bytes, padded with zeros to the
    /// longest; `Fold` as u8; `Target` as a bit mask, or `t0` and so on as u8 above 64 classes; `p0` and so on as f32, with
    /// the same bits as in the CSV.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_npy(&self, mut output: impl Write) -> io::Result<()> {
        let id_bytes = self.rows.iter().map(|row| row.id.len()).max().unwrap_or(1).max(1);
        let source_bytes = self.rows.iter().map(|row| row.source.to_string().len()).max().unwrap_or(1);
        let form = TargetForm::of(self.class_count);
        output.write_all(&header(id_bytes, source_bytes, form, self.class_count, self.rows.len()))?;
        for row in &self.rows {
            write_padded(&mut output, row.id.as_bytes(), id_bytes)?;
            write_padded(&mut output, row.source.to_string().as_bytes(), source_bytes)?;
            output.write_all(&[row.fold.0])?;
            form.write(row, &mut output)?;
            for score in &row.scores {
                output.write_all(&score.to_le_bytes())?;
            }
        }
        output.flush()
    }
}

/// How the records of an array have the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetForm {
    /// Up to 32 classes: `Target` as u32, where bit k stands for label k.
    Bits32,
    /// Up to 64 classes: the same as u64.
    Bits64,
    /// More classes: `t0`, `t1` and so on as u8, 0 or 1.
    Fields,
}

impl TargetForm {
    fn of(class_count: usize) -> TargetForm {
        match class_count {
            0..=32 => TargetForm::Bits32,
            33..=64 => TargetForm::Bits64,
            _ => TargetForm::Fields,
        }
    }

    fn fields(self, class_count: usize) -> Vec<String> {
        match self {
            TargetForm::Bits32 => vec!["('Target', '<u4')".to_owned()],
            TargetForm::Bits64 => vec!["('Target', '<u8')".to_owned()],
            TargetForm::Fields => (0..class_count).map(|label| format!("('t{label}', '|u1')")).collect(),
        }
    }

    fn write(self, row: &ScoreRow, output: &mut impl Write) -> io::Result<()> {
        let bits = row.target.bits().unwrap_or_default();
        match self {
            TargetForm::Bits32 => output.write_all(&(bits as u32).to_le_bytes()),
            TargetForm::Bits64 => output.write_all(&bits.to_le_bytes()),
            TargetForm::Fields => {
                let labels = (0_u16..).take(row.scores.len());
                output.write_all(&labels.map(|label| row.target.contains(label).into()).collect::<Vec<u8>>())
            }
        }
    }
}

/// The magic number, the version and the description of the records, padded to a multiple of 64 bytes
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
fn header(id_bytes: usize, source_bytes: usize, form: TargetForm, class_count: usize, rows: usize) -> Vec<u8> {
    let mut fields = vec![
        format!("('Id', '|S{id_bytes}')"),
        format!("('Source', '|S{source_bytes}')"),
        "('Fold', '|u1')".to_owned(),
    ];
    fields.extend(form.fields(class_count));
    fields.extend((0..class_count).map(|label| format!("('p{label}', '<f4')")));
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
        let row = |id: &str, source, fold, labels: &[u16], first: f32| ScoreRow {
            id: id.to_owned(),
            source,
            fold: Fold(fold),
            target: Labels::from_indices(labels.iter().copied()).unwrap(),
            scores: (0..28).map(|label| first / (label + 1) as f32).collect(),
        };
        let rows = vec![
            row("a", Source::Train, 0, &[0, 27], 0.5),
            row("10580_1610_C1_1", Source::Hpa, 4, &[], 1.0),
            row("b-2", Source::Train, 1, &[25], 0.1),
        ];
        let mut bytes = Vec::new();
        ScoreTable { class_count: 28, rows }.write_npy(&mut bytes).unwrap();
        assert_eq!(bytes, include_bytes!("../tests/fixtures/scores.npy"));
    }

    #[test]
    fn more_classes_have_wider_targets() {
        let records = |class_count: u16, labels: &[u16]| {
            let target = Labels::from_indices(labels.iter().copied()).unwrap();
            let (id, source, scores) = ("a".to_owned(), Source::Train, vec![0.5; class_count.into()]);
            let rows = vec![ScoreRow { id, source, fold: Fold(7), target, scores }];
            let mut bytes = Vec::new();
            ScoreTable { class_count: class_count.into(), rows }.write_npy(&mut bytes).unwrap();
            let header_bytes = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            assert_eq!(header_bytes % 64, 0);
            let header = String::from_utf8_lossy(&bytes[10..header_bytes]).into_owned();
            // Id and Source have one and five bytes, and Fold has one.
            (header, bytes[header_bytes + 7..bytes.len() - 4 * usize::from(class_count)].to_vec())
        };
        let (header, target) = records(40, &[0, 39]);
        assert!(header.contains("('Fold', '|u1'), ('Target', '<u8'), ('p0', '<f4')"), "{header}");
        assert_eq!(target, (1_u64 | 1 << 39).to_le_bytes());
        let (header, target) = records(1000, &[0, 998]);
        assert!(header.contains("('Fold', '|u1'), ('t0', '|u1'), ('t1', '|u1')"), "{header}");
        assert!(header.contains("('t999', '|u1'), ('p0', '<f4')"), "{header}");
        let ones: Vec<usize> = (0..1000).filter(|&label| target[label] == 1).collect();
        assert_eq!((target.len(), ones), (1000, vec![0, 998]));
    }
}
