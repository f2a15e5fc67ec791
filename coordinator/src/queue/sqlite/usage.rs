//! What takes room on the disk.

use std::collections::{BTreeMap, BTreeSet};

use fivefold_common::artifact::Artifact;
use fivefold_common::ids::JobSetId;
use sqlx::SqliteConnection;

use super::rows::{self, digest, parsed, size};
use crate::error::Error;
use crate::queue::{FoldInTraining, Referenced};

/// Every artifact with the job sets that refer to it. Reads all job sets: for users that ask.
pub(super) async fn references(connection: &mut SqliteConnection) -> Result<Vec<Referenced>, Error> {
    let rows = sqlx::query!(
        r#"SELECT owner.id AS "job_set_id!", reference.digest AS "digest!: String" FROM job_sets owner JOIN (
               SELECT id AS job_set_id, train_digest AS digest FROM job_sets
               UNION ALL SELECT id, hpa_digest FROM job_sets
               UNION ALL SELECT id, test_digest FROM job_sets
               UNION ALL SELECT id, weights_digest FROM job_sets
               UNION ALL SELECT id, folds_digest FROM job_sets
               UNION ALL SELECT job_set_id, result_digest FROM jobs
               UNION ALL SELECT job_set_id, result_checkpoint_digest FROM jobs
               UNION ALL SELECT j.job_set_id, c.digest FROM jobs j JOIN checkpoints c ON c.job_id = j.id
               UNION ALL SELECT job_set_id, oof_digest FROM fits
               UNION ALL SELECT job_set_id, report_digest FROM fits
               UNION ALL SELECT job_set_id, submission_digest FROM fits
               UNION ALL SELECT job_set_id, result_digest FROM fit_folds
               UNION ALL SELECT job_set_id, checkpoint_digest FROM fit_folds
               UNION ALL SELECT job_set_id, submission_digest FROM submissions
               UNION ALL SELECT job_set_id, test_digest FROM submissions
           ) reference ON reference.job_set_id = owner.id
           WHERE reference.digest IS NOT NULL"#
    );
    let mut job_sets: BTreeMap<String, BTreeSet<JobSetId>> = BTreeMap::new();
    for row in rows.fetch_all(&mut *connection).await? {
        job_sets.entry(row.digest).or_default().insert(rows::job_set_id(&row.job_set_id)?);
    }
    let rows =
        sqlx::query!("SELECT digest, kind, size_bytes FROM artifacts ORDER BY digest").fetch_all(connection).await?;
    let mut referenced = Vec::with_capacity(rows.len());
    for row in rows {
        let artifact =
            Artifact { kind: parsed(&row.kind)?, digest: digest(&row.digest)?, size_bytes: size(row.size_bytes)? };
        referenced.push(Referenced { artifact, job_sets: job_sets.remove(&row.digest).unwrap_or_default() });
    }
    Ok(referenced)
}

pub(super) async fn folds_in_training(connection: &mut SqliteConnection) -> Result<Vec<FoldInTraining>, Error> {
    let rows = sqlx::query!(
        r#"SELECT s.spec_json,
                  (SELECT coalesce(sum(a.size_bytes), 0) FROM checkpoints c JOIN artifacts a ON a.digest = c.digest
                   WHERE c.job_id = j.id) AS "checkpoint_bytes!: i64"
           FROM jobs j JOIN job_sets s ON s.id = j.job_set_id
           WHERE j.state = 'leased' AND j.lease_expires_ms > 0 AND j.kind = 'train'"#
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    rows.map(|row| {
        Ok(FoldInTraining { spec: rows::spec(&row.spec_json)?, checkpoint_bytes: size(row.checkpoint_bytes)? })
    })
    .collect()
}
