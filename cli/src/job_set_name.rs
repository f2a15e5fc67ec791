//! What users call a job set.

use std::convert::Infallible;
use std::str::FromStr;

use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_proto::v1::ResolveJobSetRequest;

use crate::console::explain;

/// An id or the beginning of one, a name, or `@` or `latest` for the newest job set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobSetName(String);

impl FromStr for JobSetName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl JobSetName {
    /// Whether it means the newest job set, whichever that is.
    pub(crate) fn is_newest(&self) -> bool {
        matches!(self.0.as_str(), "@" | "latest")
    }

    /// The id of the job set. A command asks once and uses the id from then on: another job set may be the newest later.
    pub(crate) async fn resolve(&self, coordinator: &Connection) -> anyhow::Result<JobSetId> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        let request = ResolveJobSetRequest { text: self.0.clone() };
        let answer = coordinator.call(request, async |c, r| c.job_sets().resolve_job_set(r).await).await?;
        let id: JobSetId = answer.job_set_id.parse()?;
        explain(|| format!("{} is {id}", self.0));
        Ok(id)
    }
}
