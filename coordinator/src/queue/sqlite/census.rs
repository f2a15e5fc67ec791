//! Counts of what is not finished.

use fivefold_common::job::JobState;
use sqlx::SqliteConnection;

use super::rows::{parsed, size};
use crate::error::Error;
use crate::queue::{Census, Occupation};

pub(super) async fn census(connection: &mut SqliteConnection) -> Result<Census, Error> {
    let mut census = Census::default();
    let job_sets = sqlx::query!(
        r#"SELECT state, count(*) AS "count!: i64" FROM job_sets WHERE state IN ('training', 'predicting') GROUP BY state"#
    );
    for row in job_sets.fetch_all(&mut *connection).await? {
        census.job_sets.insert(parsed(&row.state)?, size(row.count)?);
    }
    let jobs = sqlx::query!(
        r#"SELECT kind, state, paused AS "paused: bool", stalled AS "stalled: bool", count(*) AS "count!: i64"
           FROM jobs WHERE state IN ('queued', 'leased') GROUP BY state, kind, paused, stalled"#
    );
    for row in jobs.fetch_all(connection).await? {
        let occupation = match (parsed::<JobState>(&row.state)?, row.paused, row.stalled) {
            (JobState::Leased, _, true) => Occupation::Stalled,
            (JobState::Leased, _, false) => Occupation::Running,
            (_, true, _) => Occupation::Paused,
            (_, false, _) => Occupation::Queued,
        };
        *census.jobs.entry((parsed(&row.kind)?, occupation)).or_default() += size(row.count)?;
    }
    Ok(census)
}
