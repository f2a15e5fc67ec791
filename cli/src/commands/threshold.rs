//! `fivefold threshold`: the coordinator's fit, computed locally.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_common::classes::names_for_count;
use fivefold_common::durable_file;
use fivefold_common::report::build_report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::threshold::EmptyRows;

use crate::console::{OutputFormat, print, print_json};
use crate::render::report::report_summary;
use crate::spec_flags::empty_rows_parser;

#[derive(Debug, Args)]
pub(crate) struct ThresholdArgs {
    /// Out-of-fold table (`Id,Source,Fold,Target,p0..p27`; more or fewer for other classes)
    #[arg(long, value_name = "FILE")]
    oof: PathBuf,
    /// Labels of a row without a score above the threshold
    #[arg(long, alias = "empty_rows", value_name = "LABELS", default_value_t = EmptyRows::Argmax, value_parser = empty_rows_parser())]
    empty_rows: EmptyRows,
    /// Names of the classes for the report [default: those of the Human Protein Atlas for 28 classes, or p0, p1 and so on]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    classes: Vec<String>,
    /// Output file for the report, as JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &ThresholdArgs, format: OutputFormat) -> anyhow::Result<()> {
    let name = args.oof.display().to_string();
    let input = File::open(&args.oof).with_context(|| format!("cannot read {name}"))?;
    let table = ScoreTable::read_csv(&name, BufReader::new(input))?;
    let class_names = match args.classes.as_slice() {
        [] => names_for_count(table.class_count),
        named => named.to_vec(),
    };
    let report = build_report(&table, &class_names, args.empty_rows).with_context(|| name.clone())?;
    durable_file::write(&args.out, |output| report.write_json(output))?;
    match format {
        OutputFormat::Json => print_json(&serde_json::to_value(&report)?),
        OutputFormat::Text => print(&format!("{}\nReport: {}\n", report_summary(&report), args.out.display())),
    }
}
