//! `fivefold folds`: the coordinator's split, computed locally.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_common::durable_file;
use fivefold_common::folds::{RowOrder, multilabel_stratified_folds};
use fivefold_common::labels::{LABEL_COUNT, Labels};
use serde_json::json;

use crate::console::{OutputFormat, print, print_json};
use crate::image_list::ImageList;

#[derive(Debug, Args)]
pub(crate) struct FoldsArgs {
    /// Training list (`Id,Target`)
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Number of folds, 2 to 100
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    folds: u32,
    /// Seed of the split, as for numpy's RandomState
    #[arg(long, default_value_t = 42)]
    seed: u32,
    /// Shuffle the rows before the split
    #[arg(long)]
    shuffle: bool,
    /// Output file (`Id,Fold`, in the order of the list)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &FoldsArgs, format: OutputFormat) -> anyhow::Result<()> {
    let list = ImageList::read_labelled(&args.csv)?;
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
