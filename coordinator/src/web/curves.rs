//! The metrics of a job set's epochs, thinned, for its curves.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use fivefold_common::job::JobKind;
use fivefold_common::progress::EpochMetrics;
use serde::Serialize;

use super::Page;
use super::job_set::parsed;
use super::problem::Problem;
use crate::app;

/// Points of a curve at most.
const POINTS: u32 = 200;

/// Columns of equal length, one value per epoch; `null` where a fold has no such epoch.
#[derive(Debug, Serialize)]
pub(super) struct Curves {
    /// Counted from 1.
    epochs: Vec<u32>,
    /// The objective in a sentence.
    objective: &'static str,
    folds: Vec<FoldCurves>,
}

#[derive(Debug, Serialize)]
struct FoldCurves {
    fold: u8,
    macro_f1: Vec<Option<f64>>,
    /// The values of the objective.
    objective: Vec<Option<f64>>,
    train_loss: Vec<Option<f64>>,
    valid_loss: Vec<Option<f64>>,
}

pub(super) async fn show(State(page): State<Page>, Path(id): Path<String>) -> Result<Json<Curves>, Problem> {
    let job_set = app::job_set(&page.coordinator, &parsed(&id)?).await?;
    let objective = job_set.spec.objective;
    let jobs: Vec<_> = job_set.jobs_of(JobKind::Train).filter(|job| job.last_epoch.is_some()).collect();
    let last = jobs.iter().filter_map(|job| job.last_epoch).map(|last| last.metrics.epoch).max();
    let epochs = thinned(last.map_or(0, |last| last + 1));
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let rows = page.coordinator.queue.epochs_of(&ids, &epochs).await?;
    let mut metrics: BTreeMap<_, BTreeMap<u32, EpochMetrics>> = BTreeMap::new();
    for (job, report) in rows {
        metrics.entry(job).or_default().insert(report.metrics.epoch, report.metrics);
    }
    let folds = jobs.iter().map(|job| {
        let of_job = metrics.remove(&job.id).unwrap_or_default();
        let column = |value: &dyn Fn(&EpochMetrics) -> Option<f64>| {
            epochs.iter().map(|epoch| of_job.get(epoch).and_then(value).filter(|value| value.is_finite())).collect()
        };
        FoldCurves {
            fold: job.fold.0,
            macro_f1: column(&|metrics| Some(metrics.macro_f1)),
            objective: column(&|metrics| objective.value(metrics)),
            train_loss: column(&|metrics| Some(metrics.train_loss)),
            valid_loss: column(&|metrics| Some(metrics.valid_loss)),
        }
    });
    let (folds, numbers) = (folds.collect(), epochs.iter().map(|epoch| epoch + 1).collect());
    Ok(Json(Curves { folds, objective: objective.title(), epochs: numbers }))
}

/// At most [`POINTS`] of `count` epochs from 0, at equal distances, the last one among them.
fn thinned(count: u32) -> Vec<u32> {
    let step = count.div_ceil(POINTS).max(1);
    let mut epochs: Vec<u32> = (0..count).rev().step_by(step as usize).collect();
    epochs.reverse();
    epochs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_and_end_with_the_last_epoch() {
        assert!(thinned(0).is_empty());
        assert_eq!(thinned(3), [0, 1, 2]);
        assert_eq!(thinned(POINTS).len(), POINTS as usize);
        let epochs = thinned(1000);
        assert_eq!((epochs.len(), epochs[0], epochs[199]), (200, 4, 999));
        assert_eq!(thinned(POINTS + 1), (0..=POINTS).step_by(2).collect::<Vec<_>>());
    }
}
