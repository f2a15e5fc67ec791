//! `fivefold threshold`: the coordinator's fit, computed locally.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fivefold_common::classes::names_for_count;
use fivefold_common::decision_rule::DecisionSettings;
use fivefold_common::durable_file;
use fivefold_common::report::build_report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::{Task, ThresholdRule};
use fivefold_common::threshold::EmptyRows;

use crate::console::{OutputFormat, print, print_json};
use crate::error::UsageError;
use crate::render::report::report_summary;
use crate::report_page;
use crate::spec_flags::{empty_rows_parser, task_parser};

#[derive(Debug, Args)]
pub(crate) struct ThresholdArgs {
    /// Out-of-fold table (`Id,Source,Fold,Target,p0..p27`; more or fewer for other classes)
    #[arg(long, value_name = "FILE")]
    oof: PathBuf,
    /// Labels of a row without a score above the threshold
    #[arg(long, alias = "empty_rows", value_name = "LABELS", default_value_t = EmptyRows::Argmax, value_parser = empty_rows_parser())]
    empty_rows: EmptyRows,
    /// Whether a row has any number of classes or exactly one: multilabel or multiclass
    #[arg(long, value_name = "TASK", default_value_t, value_parser = task_parser(), conflicts_with_all = ["empty_rows", "threshold"])]
    task: Task,
    /// The threshold: global, per_class, or a number such as 0.15
    #[arg(long, value_name = "RULE", default_value_t)]
    threshold: ThresholdRule,
    /// Names of the classes for the report [default: those of the Human Protein Atlas for 28 classes, or p0, p1 and so on]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    classes: Vec<String>,
    /// Output file for the report, as JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Output file for the report as an HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl ThresholdArgs {
    fn settings(&self) -> Result<DecisionSettings, UsageError> {
        let (task, threshold, empty_rows) = (self.task, self.threshold, self.empty_rows);
        if let ThresholdRule::Fixed(number) = threshold
            && !(0.0..=1.0).contains(&number)
        {
            return Err(UsageError(format!("threshold: {number} is out of range: expected 0 to 1")));
        }
        Ok(DecisionSettings { task, threshold, empty_rows })
    }
}

pub(crate) fn run(args: &ThresholdArgs, format: OutputFormat) -> anyhow::Result<()> {
    let name = args.oof.display().to_string();
    let input = File::open(&args.oof).with_context(|| format!("cannot read {name}"))?;
    let table = ScoreTable::read_csv(&name, BufReader::new(input))?;
    let class_names = match args.classes.as_slice() {
        [] => names_for_count(table.class_count),
        named => named.to_vec(),
    };
    let report = build_report(&table, &class_names, args.settings()?).with_context(|| name.clone())?;
    durable_file::write(&args.out, |output| report.write_json(output))?;
    if let Some(page) = &args.html {
        report_page::write(&name, &report, &args.oof, &[], None, page)?;
    }
    match format {
        OutputFormat::Json => print_json(&serde_json::to_value(&report)?),
        OutputFormat::Text => print(&format!("{}\nReport: {}\n", report_summary(&report), args.out.display())),
    }
}
