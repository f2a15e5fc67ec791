//! `fivefold curves`.

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::progress::epoch_words;
use fivefold_common::spec::Objective;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::epoch_from_wire;
use fivefold_proto::v1::{EpochMetrics, Job, JobSet};
use serde_json::json;

use crate::chosen_results::{require_folds, train_jobs};
use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::console::{OutputFormat, page, print, print_json};
use crate::epoch_metrics;
use crate::job_set_name::JobSetName;
use crate::render::chart::{Series, Stroke, chart};
use crate::render::epoch_history::EpochHistory;
use crate::render::job::{epoch_count, epoch_objective, objective};
use crate::render::json;
use crate::render::page::{Page, Tone, cut};
use crate::render::table::number;

#[derive(Debug, Args)]
pub(crate) struct CurvesArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Only this fold, counted from 0, in a larger chart
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(0..=99))]
    fold: Option<u32>,
}

/// The width of the charts where there is no terminal, and at most.
const LONGEST_LINE: usize = 120;
const DEFAULT_LINE: usize = 80;
/// The space between the two charts of a fold.
const GAP: usize = 2;
/// The narrowest page with room for two charts and their titles side by side.
const SIDE_BY_SIDE: usize = 80;

pub(crate) async fn run(args: &CurvesArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let job_set = get_job_set(coordinator, &args.id.resolve(coordinator).await?).await?;
    require_folds(&job_set, args.fold.as_slice())?;
    let mut history = EpochHistory::default();
    epoch_metrics::update(&mut history, coordinator, &job_set).await?;
    let jobs = trained_jobs(&job_set, args.fold);
    match format {
        OutputFormat::Json => {
            let fold = |job: &Job| json!({ "fold": job.fold, "epochs": history.of(job).iter().map(json::epoch).collect::<Vec<_>>() });
            print_json(&json!({ "id": job_set.id, "folds": jobs.into_iter().map(fold).collect::<Vec<_>>() }))
        }
        OutputFormat::Text => {
            let page = page();
            let height = if args.fold.is_some() { 12 } else { 6 };
            let width = if page.width == usize::MAX { DEFAULT_LINE } else { page.width.min(LONGEST_LINE) };
            let (epoch_count, objective) = (epoch_count(&job_set), objective(&job_set));
            let charts: Vec<String> = jobs
                .into_iter()
                .map(|job| fold_chart(job.fold, history.of(job), (epoch_count, objective), (width, height), &page))
                .collect();
            print(&charts.join("\n"))
        }
    }
}

/// The train jobs of a job set, or the one of a fold.
fn trained_jobs(job_set: &JobSet, fold: Option<u32>) -> Vec<&Job> {
    train_jobs(job_set).filter(|job| fold.is_none_or(|fold| job.fold == fold)).collect()
}

/// The losses and the objective of a fold, side by side where there is room, under a line with its newest and its best epoch.
fn fold_chart(
    fold: u32,
    epochs: &[EpochMetrics],
    (epoch_count, objective): (u32, Objective),
    (width, height): (usize, usize),
    page: &Page,
) -> String {
    let Some(newest) = epochs.last() else {
        return format!("fold {fold}: no epoch has ended yet\n");
    };
    let score = |epoch: &EpochMetrics| objective.score(&epoch_from_wire(epoch).metrics);
    let best = epochs.iter().rev().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(newest);
    let title = format!(
        "fold {fold}, {}: best {} {} in {}",
        epoch_words(newest.epoch, epoch_count),
        objective.short_title(),
        number(epoch_objective(best, objective), 4),
        epoch_words(best.epoch, epoch_count),
    );
    let values = |of: fn(&EpochMetrics) -> f64| epochs.iter().map(of).collect::<Vec<f64>>();
    let train_loss = values(|epoch| epoch.train_loss);
    let valid_loss = values(|epoch| epoch.valid_loss);
    // A curve has no gaps: an epoch without a value has that of the one before.
    let mut newest_value = 0.0;
    let value = |epoch| {
        newest_value = epoch_objective(epoch, objective).unwrap_or(newest_value);
        newest_value
    };
    let of_objective: Vec<f64> = epochs.iter().map(value).collect();
    let losses =
        [Series { values: &valid_loss, stroke: Stroke::Solid }, Series { values: &train_loss, stroke: Stroke::Dotted }];
    let scores = [Series { values: &of_objective, stroke: Stroke::Solid }];
    let is_wide = width >= SIDE_BY_SIDE;
    let size = (if is_wide { width.saturating_sub(GAP) / 2 } else { width }, height);
    // A fold that stopped early leaves no room for the epochs that it does not have.
    let last_epoch = newest.epoch + 1;
    let left = chart("loss: — validation, ⋯ training", &losses, last_epoch, size, page.paint);
    let right = chart(&format!("validation {}", objective.title()), &scores, last_epoch, size, page.paint);
    let mut text = format!("{}\n", page.paint.apply(Some(Tone::Head), &cut(&title, width)));
    if is_wide {
        for (left, right) in left.iter().zip(&right) {
            text += &format!("{left}{:GAP$}{}\n", "", right.trim_end());
        }
    } else {
        for line in left.iter().chain(&right) {
            text += &format!("{}\n", line.trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::page::tests::terminal;

    fn epochs(count: u32) -> Vec<EpochMetrics> {
        let epoch = |epoch: u32| EpochMetrics {
            epoch,
            train_loss: 1.0 / f64::from(epoch + 1),
            valid_loss: 0.5 + 0.01 * f64::from(epoch),
            valid_macro_f1: 0.5 - 0.001 * f64::from(epoch.abs_diff(6)),
            ..EpochMetrics::default()
        };
        (0..count).map(epoch).collect()
    }

    #[test]
    fn charts_fit_the_page_and_name_the_best_epoch() {
        for (width, height) in [(80, 6), (80, 12), (120, 12)] {
            let text = fold_chart(3, &epochs(9), (25, Objective::MacroF1), (width, height), &terminal(width, 24));
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[0], "fold 3, epoch 9/25: best F1 0.5000 in epoch 7/25");
            assert_eq!(lines.len(), height + 3);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{text}");
            assert!(lines[2].starts_with(" 1.0000 │") && lines[2].contains(" 0.5000 │"), "{text}");
            assert!(lines[height + 1].starts_with(" 0.1111 │") && lines[height + 1].contains(" 0.4940 │"), "{text}");
        }
        for width in 30..80 {
            let text = fold_chart(3, &epochs(9), (25, Objective::MacroF1), (width, 6), &terminal(width, 24));
            assert!(text.lines().count() == 17 && text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert_eq!(text.contains("loss: — validation, ⋯ training"), width >= 39, "{width}");
        }
        assert_eq!(
            fold_chart(0, &[], (25, Objective::MacroF1), (80, 6), &terminal(80, 24)),
            "fold 0: no epoch has ended yet\n"
        );
    }

    #[test]
    fn a_fold_that_is_not_trained_is_named() {
        let job = |fold| Job { kind: fivefold_proto::v1::JobKind::Train.into(), fold, ..Job::default() };
        let set = JobSet { id: "js-abcdefgh".into(), jobs: vec![job(0), job(2)], ..JobSet::default() };
        assert_eq!(trained_jobs(&set, None).len(), 2);
        assert_eq!(trained_jobs(&set, Some(2))[0].fold, 2);
        let refused = require_folds(&set, &[1]).unwrap_err().to_string();
        assert_eq!(refused, "js-abcdefgh has no fold 1: its folds are 0, 2");
    }
}
