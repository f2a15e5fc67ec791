//! `fivefold synth`: a data set in the real one's layout, for trying things and for tests. Cells that look like cells, labels
//! that can be seen; the same seed gives the same bytes.

mod canvas;
mod cells;
mod rows;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_common::durable_file;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use rayon::prelude::*;

use crate::synth::canvas::Canvas;
use crate::synth::cells::{Picture, draw};
use crate::synth::rows::{List, Row, rows, stream};

/// The most rows of one list.
const MAX_ROWS: u64 = 200_000;

/// Arguments of `fivefold synth`.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// The folder that gets the data; it is made, and has to be empty where it is there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Rows of train.csv
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_ROWS))]
    train: u64,
    /// Rows of the HPA list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MAX_ROWS))]
    hpa: u64,
    /// Rows of the test list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MAX_ROWS))]
    test: u64,
    /// Side of the pictures in pixels
    #[arg(long, value_name = "PX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=2048))]
    size: u32,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// Draws the pictures, then writes the lists: a folder without lists is one that was not finished.
pub(crate) fn run(args: &SynthArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut entries = std::fs::read_dir(&args.out).with_context(|| format!("cannot list {}", args.out.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: choose another folder, or empty it", args.out.display());
    }
    for (list, count) in [(List::Train, args.train), (List::Hpa, args.hpa), (List::Test, args.test)] {
        let rows = rows(args.seed, list, count as usize);
        let folder = args.out.join(list.folder());
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        rows.par_iter().enumerate().try_for_each(|(index, row)| {
            let picture = draw(args.size, row.labels, &mut stream(args.seed, list, index as u64));
            write_picture(&folder, &row.id, args.size, &picture)
        })?;
        match list {
            List::Train => write_list(&args.out.join("train.csv"), "Target", &rows, |row| row.labels.to_string())?,
            List::Hpa => {
                write_list(&args.out.join("HPAv18RGBY_wodpl.csv"), "Target", &rows, |row| row.labels.to_string())?;
            }
            List::Test => {
                write_list(&args.out.join("sample_submission.csv"), "Predicted", &rows, |_| "0".to_owned())?;
                // What a submission may be scored with; the real data has no such file.
                write_list(&args.out.join("test_truth.csv"), "Target", &rows, |row| row.labels.to_string())?;
            }
        }
    }
    eprintln!(
        "{} has {} train, {} HPA and {} test rows of {} px",
        args.out.display(),
        args.train,
        args.hpa,
        args.test,
        args.size
    );
    Ok(())
}

fn write_list(path: &Path, column: &str, rows: &[Row], value: impl Fn(&Row) -> String) -> anyhow::Result<()> {
    let written = durable_file::write(path, |file| {
        writeln!(file, "Id,{column}")?;
        for row in rows {
            writeln!(file, "{},{}", row.id, value(row))?;
        }
        Ok(())
    });
    Ok(written?)
}

fn write_picture(folder: &Path, id: &str, size: u32, picture: &Picture) -> anyhow::Result<()> {
    let planes: [(&str, &Canvas); 4] =
        [("red", &picture.red), ("green", &picture.green), ("blue", &picture.blue), ("yellow", &picture.yellow)];
    for (colour, canvas) in planes {
        let path = folder.join(format!("{id}_{colour}.png"));
        let mut png = Vec::new();
        PngEncoder::new(&mut png).write_image(&canvas.to_bytes(), size, size, ExtendedColorType::L8)?;
        std::fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fivefold_common::manifest::{Manifest, ManifestKind};

    use super::*;

    fn made(seed: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let args = SynthArgs { out: folder.path().join("data"), train: 6, hpa: 3, test: 2, size: 32, seed };
        run(&args).unwrap();
        assert!(run(&args).unwrap_err().to_string().contains("not empty"));
        folder
    }

    fn bytes(folder: &tempfile::TempDir) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![folder.path().join("data")];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files
                        .push((path.strip_prefix(folder.path()).unwrap().to_owned(), std::fs::read(&path).unwrap())),
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_in_the_real_layout() {
        let first = made(1);
        assert_eq!(bytes(&first), bytes(&made(1)));
        assert_ne!(bytes(&first), bytes(&made(2)));
        assert_eq!(bytes(&first).len(), 11 * 4 + 4);
        let data = first.path().join("data");
        for (list, kind, count) in [
            ("train.csv", ManifestKind::Labelled, 6),
            ("HPAv18RGBY_wodpl.csv", ManifestKind::Labelled, 3),
            ("sample_submission.csv", ManifestKind::Test, 2),
        ] {
            let file = std::fs::File::open(data.join(list)).unwrap();
            assert_eq!(Manifest::read_csv(list, kind, file).unwrap().rows.len(), count);
        }
    }
}
