//! `fivefold synth`.

use std::path::PathBuf;

use clap::Args;
use fivefold_synth::{DataSet, write_data_set};

/// The longest list, in rows.
const MAX_ROWS: u64 = 200_000;

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// Output folder, created if missing; it must be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Rows of the training list
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_ROWS))]
    train: u64,
    /// Rows of the HPA list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MAX_ROWS))]
    hpa: u64,
    /// Rows of the test list
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MAX_ROWS))]
    test: u64,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=2048))]
    size: u32,
    /// Number of classes: the first ones of the Human Protein Atlas, as numbers from 0
    #[arg(long, value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u16).range(2..=28))]
    classes: u16,
    /// Seed; the same seed gives the same bytes
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &SynthArgs) -> anyhow::Result<()> {
    let SynthArgs { ref out, train, hpa, test, size, classes, seed } = *args;
    let class_count = classes.into();
    let data_set = DataSet { train_rows: train, hpa_rows: hpa, test_rows: test, side_pixels: size, class_count, seed };
    write_data_set(out, &data_set)?;
    eprintln!("Wrote {train} training, {hpa} HPA and {test} test rows of {size} px to {}", out.display());
    Ok(())
}
