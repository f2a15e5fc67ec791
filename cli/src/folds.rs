//! `fivefold folds`: splits a list on this machine, as the coordinator does.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_common::durable_file;
use fivefold_common::folds::{RowOrder, multilabel_stratified_folds};
use fivefold_common::labels::{LABEL_COUNT, Labels};
use serde_json::json;

use crate::failure::Usage;
use crate::lists::List;
use crate::output::{OutputFormat, print, print_json};

/// Arguments of `fivefold folds`.
#[derive(Debug, Args)]
pub(crate) struct FoldsArgs {
    /// The list (`Id,Target`)
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// How many folds, 2 to 100
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: u32,
    /// Seed of the split, as numpy's RandomState takes it
    #[arg(long, default_value_t = 42)]
    seed: u32,
    /// Shuffle the rows before they are split
    #[arg(long)]
    shuffle: bool,
    /// Where the folds go (`Id,Fold`, in the list's order)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Splits the list and writes its folds.
pub(crate) fn run(args: &FoldsArgs, format: OutputFormat) -> anyhow::Result<()> {
    if !(2..=100).contains(&args.folds) {
        return Err(Usage(format!("folds: {} is out of its limits, 2 to 100", args.folds)).into());
    }
    let list = List::labelled(&args.csv)?;
    let labels: Vec<Labels> = list.manifest.rows.iter().map(|row| row.labels).collect();
    let order = if args.shuffle { RowOrder::Shuffled } else { RowOrder::AsGiven };
    let folds = multilabel_stratified_folds(&labels, LABEL_COUNT, args.folds as usize, args.seed, order)
        .with_context(|| args.csv.display().to_string())?;
    durable_file::write(&args.out, |output| {
        writeln!(output, "Id,Fold")?;
        for (row, fold) in list.manifest.rows.iter().zip(&folds) {
            writeln!(output, "{},{fold}", row.id)?;
        }
        Ok(())
    })?;
    let mut sizes = vec![0_u64; args.folds as usize];
    for fold in &folds {
        sizes[usize::from(*fold)] += 1;
    }
    match format {
        OutputFormat::Json => print_json(&json!({ "rows": folds.len(), "fold_rows": sizes, "out": args.out })),
        OutputFormat::Text => {
            let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
            print(&format!("{} rows in folds of {}: {}\n", folds.len(), sizes.join(", "), args.out.display()))
        }
    }
}
