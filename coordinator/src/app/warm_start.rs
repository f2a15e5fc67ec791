//! Folds that begin from the models of another job set.

use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::spec::JobSetSpec;

use super::Coordinator;
use super::artifacts::require_artifact;
use crate::error::Error;
use crate::queue::WarmStart;

const FIELD: &str = "manifests.warm_start_job_set_id";

/// The models of another job set's folds, kept for a while from now on. It has to have the same split, so that no model was
/// trained on rows that the fold is validated on, and the same network.
///
/// # Errors
/// If split or network differ, or a fold is not trained; [`Error::NotFound`].
pub(super) async fn warm_start(
    coordinator: &Coordinator,
    of: JobSetId,
    spec: &JobSetSpec,
    folds: Digest,
) -> Result<WarmStart, Error> {
    let source = coordinator.queue.job_set(&of).await?;
    if source.inputs.folds != folds {
        let problem = format!(
            "{of} has another split, so that a fold could begin from a model that was trained on its validation rows: use \
             the same lists, split_method, folds, split_seed, split_shuffle and group_column, or begin without its models \
             (`--warm-start none`)"
        );
        return Err(Error::bad_field(FIELD, problem));
    }
    if let Some((key, ours, theirs)) = network_difference(spec, &source.spec) {
        let problem = format!(
            "{of} has another network: {key} = {theirs}, and not {ours}; `--warm-start none` begins without its models"
        );
        return Err(Error::bad_field(FIELD, problem));
    }
    let mut models = Vec::new();
    for fold in spec.trained_folds() {
        let job = source.jobs_of(JobKind::Train).find(|job| job.fold == fold);
        let result = job.and_then(|job| job.result.as_ref());
        let Some(model) = result.and_then(|result| result.checkpoint) else {
            let problem =
                format!("fold {fold} of {of} is not trained: wait for it, or name the trained folds with --fold");
            return Err(Error::bad_field(FIELD, problem));
        };
        require_artifact(coordinator, FIELD, model.digest).await?;
        models.push((fold, model.digest));
    }
    Ok(WarmStart { of, models })
}

/// The first key that makes the networks different, with both values.
fn network_difference(ours: &JobSetSpec, theirs: &JobSetSpec) -> Option<(&'static str, String, String)> {
    let keys = |spec: &JobSetSpec| {
        let JobSetSpec { model_name, head, base_width, .. } = spec;
        [
            ("model_name", model_name.to_string()),
            ("head", head.to_string()),
            ("base_width", base_width.to_string()),
            ("classes", spec.class_names().join(", ")),
        ]
    };
    let different = keys(ours).into_iter().zip(keys(theirs)).find(|(ours, theirs)| ours != theirs);
    different.map(|((key, ours), (_, theirs))| (key, ours, theirs))
}
