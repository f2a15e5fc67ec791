//! `fivefold synth`.

use std::path::PathBuf;

use clap::Args;
use fivefold_program::number::whole_number;
use fivefold_synth::{DataSet, write_data_set};
use serde_json::json;

use crate::console::{OutputFormat, print_json};

/// The longest list, in rows.
const MAX_ROWS: u64 = 200_000;

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// Output folder, created if missing; it must be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Rows of the training list
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>(1..=MAX_ROWS))]
    train: u64,
    /// Rows of the HPA list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u64>(0..=MAX_ROWS))]
    hpa: u64,
    /// Rows of the test list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u64>(0..=MAX_ROWS))]
    test: u64,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = whole_number::<u32>(16..=2048))]
    size: u32,
    /// Number of classes: the first ones of the Human Protein Atlas, as numbers from 0
    #[arg(long, value_name = "N", default_value_t = 28, value_parser = whole_number::<u16>(2..=28))]
    classes: u16,
    /// Seed; the same seed gives the same bytes
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = whole_number::<u64>(..))]
    seed: u64,
}

pub(crate) fn run(args: &SynthArgs, format: OutputFormat) -> anyhow::Result<()> {
    let SynthArgs { ref out, train, hpa, test, size, classes, seed } = *args;
    let class_count = classes.into();
    let data_set = DataSet { train_rows: train, hpa_rows: hpa, test_rows: test, side_pixels: size, class_count, seed };
    write_data_set(out, &data_set)?;
    eprintln!("Wrote {train} training, {hpa} HPA and {test} test rows of {size} px to {}", out.display());
    match format {
        OutputFormat::Text => Ok(()),
        OutputFormat::Json => print_json(&json!({
            "train": train,
            "hpa": hpa,
            "test": test,
            "size": size,
            "classes": classes,
            "seed": seed,
            "out": out,
        })),
    }
}
