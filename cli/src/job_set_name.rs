//! What users call a job set.

use std::str::FromStr;

use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_proto::v1::ResolveJobSetRequest;

use crate::console::explain;

/// An id or the beginning of one, a name, or `@` or `latest` for the newest job set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobSetName(String);

/// The longest id or name that a coordinator takes, in bytes.
const MAX_BYTES: usize = 1000;

impl FromStr for JobSetName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            0 => Err("the id is empty: expected the id or the name of a job set, or @ for the newest"),
            1..=MAX_BYTES => Ok(Self(text.to_owned())),
            _ => Err("no id or name is that long"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_id_is_refused_before_the_coordinator_is_asked() {
        assert_eq!("@".parse(), Ok(JobSetName("@".to_owned())));
        assert!("".parse::<JobSetName>().unwrap_err().starts_with("the id is empty"));
        assert!("x".repeat(1001).parse::<JobSetName>().is_err() && "x".repeat(1000).parse::<JobSetName>().is_ok());
    }
}
