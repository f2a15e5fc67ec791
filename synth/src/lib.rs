//! Synthetic data sets in the layout of the Human Protein Atlas competition, for demonstrations and tests. The images are
//! drawn cells whose labels are visible; the labels are as frequent as in the real list. The same seed gives the same bytes.
#![warn(missing_docs)]

mod canvas;
mod cell;
mod proteins;
mod rows;

use std::io;
use std::path::{Path, PathBuf};

use fivefold_common::durable_file::{self, WriteError};
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use rayon::prelude::*;

use crate::canvas::Canvas;
use crate::cell::{Picture, draw};
use crate::rows::{List, Row, rows, stream};

/// The sizes and the seed of a data set.
#[derive(Debug, Clone, Copy)]
pub struct DataSet {
    /// Rows of `train.csv`.
    pub train_rows: u64,
    /// Rows of `HPAv18RGBY_wodpl.csv`.
    pub hpa_rows: u64,
    /// Rows of `sample_submission.csv`.
    pub test_rows: u64,
    /// Side of the square images, in pixels.
    pub side_pixels: u32,
    /// The number of classes, 2 to 28: the first ones of the Human Protein Atlas.
    pub class_count: usize,
    /// The seed.
    pub seed: u64,
}

/// A data set that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The folder has content.
    #[error("{} is not empty; empty it or name another folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An image could not be encoded.
    #[error("cannot encode an image: {0}")]
    Encode(#[from] image::ImageError),
}

/// Writes images and lists into `folder`. Each list is written after its images, and `test_truth.csv`, which the real
/// data set does not have, holds the labels of the test images.
///
/// # Errors
/// When `folder` is not empty or cannot be written.
pub fn write_data_set(folder: &Path, data_set: &DataSet) -> Result<(), SynthError> {
    create_folder(folder)?;
    if std::fs::read_dir(folder).map_err(failed(folder))?.next().is_some() {
        return Err(SynthError::NotEmpty { folder: folder.to_owned() });
    }
    let DataSet { train_rows, hpa_rows, test_rows, side_pixels, class_count, seed } = *data_set;
    for (list, count) in [(List::Train, train_rows), (List::Hpa, hpa_rows), (List::Test, test_rows)] {
        let rows = rows(seed, list, count as usize, class_count);
        let images = folder.join(list.folder());
        create_folder(&images)?;
        rows.par_iter().enumerate().try_for_each(|(index, row)| {
            let picture = draw(side_pixels, &row.labels, &mut stream(seed, list, index as u64));
            write_picture(&images, &row.id, side_pixels, &picture)
        })?;
        let labels = |row: &Row| row.labels.to_string();
        match list {
            List::Train => write_list(&folder.join("train.csv"), "Target", &rows, labels)?,
            List::Hpa => write_list(&folder.join("HPAv18RGBY_wodpl.csv"), "Target", &rows, labels)?,
            List::Test => {
                write_list(&folder.join("sample_submission.csv"), "Predicted", &rows, |_| "0".to_owned())?;
                write_list(&folder.join("test_truth.csv"), "Target", &rows, labels)?;
            }
        }
    }
    Ok(())
}

fn create_folder(folder: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(failed(folder))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> WriteError + '_ {
    |error| WriteError { path: path.to_owned(), error }
}

fn write_list(path: &Path, column: &str, rows: &[Row], value: impl Fn(&Row) -> String) -> Result<(), WriteError> {
    durable_file::write(path, |file| {
        writeln!(file, "Id,{column}")?;
        for row in rows {
            writeln!(file, "{},{}", row.id, value(row))?;
        }
        Ok(())
    })
}

fn write_picture(folder: &Path, id: &str, side_pixels: u32, picture: &Picture) -> Result<(), SynthError> {
    let channels: [(&str, &Canvas); 4] =
        [("red", &picture.red), ("green", &picture.green), ("blue", &picture.blue), ("yellow", &picture.yellow)];
    for (colour, canvas) in channels {
        let path = folder.join(format!("{id}_{colour}.png"));
        let mut png = Vec::new();
        let pixels = canvas.to_bytes();
        PngEncoder::new(&mut png).write_image(&pixels, side_pixels, side_pixels, ExtendedColorType::L8)?;
        std::fs::write(&path, png).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fivefold_common::manifest::Manifest;
    use fivefold_common::spec::JobSetSpec;

    use super::*;

    fn data_set(seed: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let data_set = DataSet { train_rows: 6, hpa_rows: 3, test_rows: 2, side_pixels: 32, class_count: 28, seed };
        let data = folder.path().join("data");
        write_data_set(&data, &data_set).unwrap();
        assert!(write_data_set(&data, &data_set).unwrap_err().to_string().contains("not empty"));
        folder
    }

    fn files(folder: &tempfile::TempDir) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![folder.path().join("data")];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder.path()).unwrap().to_owned();
                    files.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_in_the_real_layout() {
        let first = data_set(1);
        assert_eq!(files(&first), files(&data_set(1)));
        assert_ne!(files(&first), files(&data_set(2)));
        assert_eq!(files(&first).len(), 11 * 4 + 4);
        let data = first.path().join("data");
        let open = |list: &str| std::fs::File::open(data.join(list)).unwrap();
        for (list, count) in [("train.csv", 6), ("HPAv18RGBY_wodpl.csv", 3)] {
            assert_eq!(
                Manifest::read_labelled_csv(list, &JobSetSpec::default(), open(list)).unwrap().rows.len(),
                count
            );
        }
        let list = "sample_submission.csv";
        assert_eq!(Manifest::read_test_csv(list, &JobSetSpec::default(), open(list)).unwrap().rows.len(), 2);
    }
}
