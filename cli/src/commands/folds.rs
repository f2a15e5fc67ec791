//! `fivefold folds`: the coordinator's split, computed locally.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use fivefold_common::dataset_file::DatasetFile;
use fivefold_common::durable_file;
use fivefold_common::manifest::{FoldTable, SplitReport};
use fivefold_common::spec::{JobSetSpec, SplitMethod};
use fivefold_program::number::whole_number;
use serde_json::json;

use crate::console::{OutputFormat, notify, print, print_json};
use crate::error::UsageError;
use crate::image_list::{ImageList, check_ids, split_warnings};
use crate::spec_flags::{read_dataset_file, read_spec_file};

#[derive(Debug, Args)]
pub(crate) struct FoldsArgs {
    /// Training list (`Id,Target` or the columns of `--spec`, and a column of groups if there are any)
    #[arg(long, value_name = "FILE", required_unless_present = "dataset")]
    csv: Option<PathBuf>,
    /// Description of a data set (TOML): its training list, classes, columns and split. The flags take precedence
    #[arg(long, value_name = "FILE", conflicts_with = "spec")]
    dataset: Option<PathBuf>,
    /// Settings of `submit` as TOML or JSON, of which the keys on classes, labels, their columns and the split are used
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Method of the split; gkf and sgkf keep groups whole [default: as in --spec or --dataset, or mskf]
    #[arg(long, value_name = "METHOD", value_parser = method_parser())]
    method: Option<SplitMethod>,
    /// Column with the group of each row, such as the patient [default: as in --spec or --dataset, or Group, if the list has it]
    #[arg(long, alias = "group_column", value_name = "COLUMN")]
    group_column: Option<String>,
    /// Number of folds, 2 to 100 [default: as in --spec or --dataset, or 5]
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(2..=100))]
    folds: Option<u32>,
    /// Seed of the split, as for numpy's RandomState [default: as in --spec or --dataset, or 42]
    #[arg(long, value_parser = whole_number::<u32>(..))]
    seed: Option<u32>,
    /// Shuffle the rows before the split
    #[arg(long)]
    shuffle: bool,
    /// Output file (`Id,Fold`, in the order of the list)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A parser of the methods that need no file of folds.
fn method_parser() -> impl clap::builder::TypedValueParser<Value = SplitMethod> {
    let methods = SplitMethod::ALL.iter().filter(|&&method| method != SplitMethod::Given);
    PossibleValuesParser::new(methods.map(|method| method.word())).try_map(|word| word.parse::<SplitMethod>())
}

impl FoldsArgs {
    /// The list, and what the file says of it and of the split, overridden by the flags.
    fn described(&self) -> anyhow::Result<(PathBuf, JobSetSpec)> {
        let mut spec = JobSetSpec::default();
        let mut csv = None;
        if let Some(path) = &self.dataset {
            let DatasetFile { overrides, lists } = read_dataset_file(path)?;
            overrides.apply_to(&mut spec);
            csv = lists.train;
        }
        if let Some(path) = &self.spec {
            read_spec_file(path)?.apply_to(&mut spec);
        }
        // Which folds are trained does not matter.
        spec.fold.clear();
        spec.split_method = self.method.unwrap_or(spec.split_method);
        spec.folds = self.folds.unwrap_or(spec.folds);
        spec.split_seed = self.seed.unwrap_or(spec.split_seed);
        spec.split_shuffle |= self.shuffle;
        if let Some(column) = &self.group_column {
            spec.group_column.clone_from(column);
        }
        if spec.split_method == SplitMethod::Given {
            let problem = "split_method: given takes the folds from a file; name the method of the split with --method";
            return Err(UsageError(problem.to_owned()).into());
        }
        spec.check().map_err(|error| UsageError(error.to_string()))?;
        let csv = self.csv.clone().or(csv).ok_or_else(|| {
            UsageError("name the training list with --csv FILE, or as train in the [lists] of the data set".to_owned())
        })?;
        Ok((csv, spec))
    }
}

pub(crate) fn run(args: &FoldsArgs, format: OutputFormat) -> anyhow::Result<()> {
    let (csv, spec) = args.described()?;
    let list = ImageList::read_labelled(&csv, &spec)?;
    check_ids(&spec, &list)?;
    let list = list.manifest;
    let folds = FoldTable::split(&spec, &list, None).with_context(|| csv.display().to_string())?;
    let report = SplitReport::of(&spec, &list, None, &folds);
    durable_file::write(&args.out, |output| {
        writeln!(output, "Id,Fold")?;
        for row in &folds.rows {
            writeln!(output, "{},{}", row.id, row.fold)?;
        }
        Ok(())
    })?;
    for warning in split_warnings(&spec, &list, &report) {
        notify(&format!("warning: {warning}"));
    }
    match format {
        OutputFormat::Json => print_json(&json!({
            "rows": folds.rows.len(),
            "fold_rows": report.fold_rows,
            "method": report.method,
            "groups": report.groups,
            "out": args.out,
        })),
        OutputFormat::Text => {
            let sizes: Vec<String> = report.fold_rows.iter().map(u64::to_string).collect();
            let split = if report.groups.is_some() { format!(", {report}") } else { String::new() };
            print(&format!(
                "{} rows in folds of {}{split}: {}\n",
                folds.rows.len(),
                sizes.join(", "),
                args.out.display()
            ))
        }
    }
}
