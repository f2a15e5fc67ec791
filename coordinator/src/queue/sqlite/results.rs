//! Fits and submissions.

use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, JobSetId};
use sqlx::SqliteConnection;

use super::rows::folds_column;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::FitScores;

/// Makes a fit the present one of its job set. Storing it again changes nothing.
pub(super) async fn store_fit(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    (oof, report): (Digest, Digest),
    FitScores { macro_f1, threshold, objective }: FitScores,
) -> Result<(), Error> {
    let (id, oof, report) = (id.as_str(), oof.to_string(), report.to_string());
    sqlx::query!(
        "UPDATE job_sets SET oof_digest = ?, report_digest = ?, threshold = ?, macro_f1 = ?, objective = ?, updated_ms = ? WHERE id = ?",
        oof,
        report,
        threshold,
        macro_f1,
        objective,
        now.0,
        id
    )
    .execute(&mut *c)
    .await?;
    sqlx::query!(
        "INSERT INTO fits (job_set_id, oof_digest, report_digest, macro_f1, threshold, objective, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (job_set_id, oof_digest) DO UPDATE SET report_digest = excluded.report_digest, created_ms = excluded.created_ms",
        id,
        oof,
        report,
        macro_f1,
        threshold,
        objective,
        now.0
    )
    .execute(&mut *c)
    .await?;
    // The fit refers to the folds' checkpoints, so that they are kept.
    sqlx::query!(
        "INSERT OR REPLACE INTO fit_folds (job_set_id, oof_digest, fold, result_digest, checkpoint_digest)
         SELECT job_set_id, ?, fold, result_digest, result_checkpoint_digest FROM jobs
         WHERE job_set_id = ? AND kind = 'train' AND result_digest IS NOT NULL",
        oof,
        id
    )
    .execute(c)
    .await?;
    Ok(())
}

pub(super) async fn clear_fit(c: &mut SqliteConnection, now: Timestamp, id: &JobSetId) -> Result<(), Error> {
    let id = id.as_str();
    sqlx::query!(
        "UPDATE job_sets SET oof_digest = NULL, report_digest = NULL, submission_digest = NULL, macro_f1 = NULL,
             threshold = NULL, objective = NULL, updated_ms = ? WHERE id = ?",
        now.0,
        id
    )
    .execute(c)
    .await?;
    Ok(())
}

pub(super) async fn store_submission(
    c: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    (submission, folds): (Digest, FoldSet),
) -> Result<(), Error> {
    let (id, submission, folds) = (id.as_str(), submission.to_string(), folds_column(folds));
    sqlx::query!("UPDATE job_sets SET submission_digest = ?, updated_ms = ? WHERE id = ?", submission, now.0, id)
        .execute(&mut *c)
        .await?;
    sqlx::query!(
        "UPDATE fits SET submission_digest = ?1
         WHERE job_set_id = ?2 AND oof_digest = (SELECT oof_digest FROM job_sets WHERE id = ?2)",
        submission,
        id
    )
    .execute(&mut *c)
    .await?;
    sqlx::query!(
        "INSERT INTO submissions (job_set_id, oof_digest, test_digest, folds, submission_digest, created_ms)
         SELECT id, oof_digest, test_digest, ?1, ?2, ?3 FROM job_sets
         WHERE id = ?4 AND oof_digest IS NOT NULL AND test_digest IS NOT NULL
         ON CONFLICT (job_set_id, oof_digest, test_digest, folds)
         DO UPDATE SET submission_digest = excluded.submission_digest, created_ms = excluded.created_ms",
        folds,
        submission,
        now.0,
        id
    )
    .execute(c)
    .await?;
    Ok(())
}

pub(super) async fn clear_submission(c: &mut SqliteConnection, now: Timestamp, id: &JobSetId) -> Result<(), Error> {
    let id = id.as_str();
    sqlx::query!("UPDATE job_sets SET submission_digest = NULL, updated_ms = ? WHERE id = ?", now.0, id)
        .execute(c)
        .await?;
    Ok(())
}
