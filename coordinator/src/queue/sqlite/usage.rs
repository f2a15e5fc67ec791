//! The use of the disk.

use std::collections::BTreeSet;

use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::{Digest, JobSetId};
use sqlx::SqliteConnection;

use super::rows::{self, size};
use crate::error::Error;
use crate::queue::FoldInTraining;

/// The artifacts that a job set refers to. Those of [`artifacts::unreferenced`](super::artifacts::unreferenced) are the
/// other ones.
pub(super) async fn references(connection: &mut SqliteConnection, id: &JobSetId) -> Result<BTreeSet<Digest>, Error> {
    let id = id.as_str();
    let digests = sqlx::query_scalar!(
        r#"SELECT train_digest AS "digest?: String" FROM job_sets WHERE id = ?1
           UNION SELECT hpa_digest FROM job_sets WHERE id = ?1
           UNION SELECT test_digest FROM job_sets WHERE id = ?1
           UNION SELECT weights_digest FROM job_sets WHERE id = ?1
           UNION SELECT folds_digest FROM job_sets WHERE id = ?1
           UNION SELECT images_digest FROM job_sets WHERE id = ?1
           UNION SELECT i.segment_digest FROM job_sets s JOIN image_segments i ON i.images_digest = s.images_digest
                 WHERE s.id = ?1
           UNION SELECT checkpoint_digest FROM warm_starts WHERE job_set_id = ?1
           UNION SELECT result_digest FROM jobs WHERE job_set_id = ?1
           UNION SELECT result_checkpoint_digest FROM jobs WHERE job_set_id = ?1
           UNION SELECT c.digest FROM jobs j JOIN checkpoints c ON c.job_id = j.id WHERE j.job_set_id = ?1
           UNION SELECT oof_digest FROM fits WHERE job_set_id = ?1
           UNION SELECT report_digest FROM fits WHERE job_set_id = ?1
           UNION SELECT submission_digest FROM fits WHERE job_set_id = ?1
           UNION SELECT result_digest FROM fit_folds WHERE job_set_id = ?1
           UNION SELECT checkpoint_digest FROM fit_folds WHERE job_set_id = ?1
           UNION SELECT submission_digest FROM submissions WHERE job_set_id = ?1
           UNION SELECT test_digest FROM submissions WHERE job_set_id = ?1"#,
        id
    );
    let digests = digests.fetch_all(connection).await?;
    digests.iter().flatten().map(|digest| rows::digest(digest)).collect()
}

/// The artifacts that a data set refers to.
pub(super) async fn data_set_references(
    connection: &mut SqliteConnection,
    name: &DataSetName,
) -> Result<BTreeSet<Digest>, Error> {
    let name = name.as_str();
    let digests = sqlx::query_scalar!(
        r#"SELECT train_digest AS "digest?: String" FROM data_sets WHERE name = ?1
           UNION SELECT hpa_digest FROM data_sets WHERE name = ?1
           UNION SELECT test_digest FROM data_sets WHERE name = ?1
           UNION SELECT folds_digest FROM data_sets WHERE name = ?1
           UNION SELECT images_digest FROM data_sets WHERE name = ?1
           UNION SELECT i.segment_digest FROM data_sets d JOIN image_segments i ON i.images_digest = d.images_digest
                 WHERE d.name = ?1"#,
        name
    );
    let digests = digests.fetch_all(connection).await?;
    digests.iter().flatten().map(|digest| rows::digest(digest)).collect()
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
