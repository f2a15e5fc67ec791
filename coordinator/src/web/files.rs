//! Downloads of results.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fivefold_common::ids::Digest;

use super::Page;
use super::job_set::parsed;
use super::problem::Problem;
use crate::app;
use crate::queue::JobSet;

pub(super) async fn download(
    State(page): State<Page>,
    Path((id, digest, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let job_set = app::job_set(&page.coordinator, &parsed(&id)?).await?;
    let unknown = || Problem::NotFound(format!("{id} has no such file"));
    let digest: Digest = digest.parse().map_err(|_| unknown())?;
    let is_plain = name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_'));
    if !is_plain || !is_result(&job_set, digest) {
        return Err(unknown());
    }
    let size_bytes = app::size_bytes(&page.coordinator, digest).await?;
    let chunks = app::download(&page.coordinator, digest, 0).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size_bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Whether an artifact is among the results of a job set.
fn is_result(job_set: &JobSet, digest: Digest) -> bool {
    let of_fits = job_set.fit.iter().chain(job_set.fits.iter().map(|record| &record.fit));
    let of_fits = of_fits.flat_map(|fit| [Some(fit.oof), Some(fit.report), fit.submission]).flatten();
    let models_of_fits = job_set.fits.iter().flat_map(|record| &record.fold_results).filter_map(|fold| fold.checkpoint);
    let models = job_set.jobs.iter().filter_map(|job| job.result.as_ref()?.checkpoint);
    of_fits.chain(models_of_fits).chain(models).any(|artifact| artifact.digest == digest)
}
