//! Test-time augmentation compared with PyTorch: the same weights, images and matrices give the same probabilities. The matrices
//! are in `fixtures/tta_matrices.json` (`FIVEFOLD_RECORD=1` writes it), from which `tests/golden/tta.py` makes
//! `fixtures/tta.json`.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::Path;
use std::sync::Arc;

use fivefold_common::ids::Fold;
use fivefold_common::labels::Labels;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::Source;
use fivefold_common::spec::{Head, JobSetSpec};
use fivefold_images::ImageFolder;
use fivefold_train::engine::scoring::{Scored, Scoring};
use fivefold_train::engine::stop::StopFlag;
use fivefold_train::models::Model;
use fivefold_train::torch::device::Device;
use fivefold_train::transform::augmentation::test_time_matrices;

use crate::reference::{fill, units, write_plane};

mod reference;

const IMAGES: usize = 6;
const SIZE: u32 = 64;
const FOLD: Fold = Fold(2);

fn spec() -> JobSetSpec {
    JobSetSpec {
        base_width: 8,
        head: Head::Linear,
        image_size: SIZE,
        // The last batch is smaller.
        batch_size: 4,
        tta: 10,
        intraop_threads: 1,
        ..JobSetSpec::default()
    }
}

/// The matrix of each image, pass by pass, from the pixels of the output to those of the input.
fn matrices() -> Vec<Vec<[f64; 6]>> {
    let of_pass =
        |pass| test_time_matrices(&spec(), FOLD, pass, 0, IMAGES).into_iter().map(|matrix| matrix.0).collect();
    (0..spec().tta).map(of_pass).collect()
}

#[test]
fn the_matrices_are_those_that_were_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tta_matrices.json");
    if std::env::var_os("FIVEFOLD_RECORD").is_some() {
        let lines: Vec<String> = matrices().iter().map(|pass| serde_json::to_string(pass).unwrap()).collect();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    let recorded: Vec<Vec<[f64; 6]>> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(matrices(), recorded, "resumed job sets would be augmented differently than before");
}

#[test]
fn probabilities_are_pytorchs() {
    let folder = tempfile::tempdir().unwrap();
    let plane = (SIZE * SIZE) as usize;
    let rows: Vec<LabelledRow> = (0..IMAGES)
        .map(|image| {
            for colour in ["red", "green", "blue"] {
                let values = units(&format!("tta {image} {colour}"), plane);
                let bytes: Vec<u8> = values.iter().map(|unit| ((unit + 1.0) * 128.0) as u8).collect();
                write_plane(folder.path(), &format!("i{image}"), colour, SIZE, &bytes);
            }
            LabelledRow { id: format!("i{image}"), source: Source::Train, labels: Labels::default() }
        })
        .collect();
    let model = Model::new(&spec(), FOLD, Device::Cpu);
    fill(&model);
    let images = Arc::new(ImageFolder::open(folder.path()).unwrap()).into();
    let stop = StopFlag::new();
    let scoring = Scoring { spec: &spec(), fold: FOLD, images: &images, rows: &rows.into(), decode_threads: 2 };
    let scored = scoring.run(&model, &mut |_| {}, &stop).unwrap();
    let Scored::Finished(table) = scored else { panic!("stopped without being asked to") };

    let reference: Vec<Vec<f64>> = serde_json::from_str(include_str!("fixtures/tta.json")).unwrap();
    assert_eq!(table.rows.len(), reference.len());
    let mut worst: f64 = 0.0;
    for (row, reference) in table.rows.iter().zip(&reference) {
        for (score, reference) in row.scores.iter().zip(reference) {
            worst = worst.max((f64::from(*score) - reference).abs());
        }
    }
    println!("largest difference {worst:.1e}");
    assert!(worst <= 1e-5, "{worst:e}");
}
