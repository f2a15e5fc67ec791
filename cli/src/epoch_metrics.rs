//! The epochs of folds, from the coordinator.

use fivefold_client::Connection;
use fivefold_common::job::JobKind;
use fivefold_proto::convert::job_kind_from_wire;
use fivefold_proto::v1::{EpochMetrics, JobSet, ListEpochMetricsRequest};

use crate::render::epoch_history::EpochHistory;

/// Fetches the epochs of the jobs of `set` that `history` lacks.
pub(crate) async fn update(history: &mut EpochHistory, coordinator: &Connection, set: &JobSet) -> anyhow::Result<()> {
    for job in set.jobs.iter().filter(|job| job_kind_from_wire(job.kind) == Ok(JobKind::Train)) {
        if !history.has_newest(job) {
            history.insert(job.id, fold_epochs(coordinator, &set.id, job.fold).await?);
        }
    }
    Ok(())
}

/// The epochs of a fold, ascending.
async fn fold_epochs(coordinator: &Connection, job_set_id: &str, fold: u32) -> anyhow::Result<Vec<EpochMetrics>> {
    let request = ListEpochMetricsRequest { job_set_id: job_set_id.to_owned(), fold };
    let answer = coordinator.call(request, async |c, r| c.job_sets().list_epoch_metrics(r).await).await?;
    Ok(answer.epochs)
}
