//! The job set that a user means.

use fivefold_common::ids::JobSetId;
use fivefold_common::one_line::one_line;

use super::Coordinator;
use crate::error::Error;
use crate::queue::NamedJobSet;

/// Words for the newest job set.
const NEWEST: [&str; 2] = ["@", "latest"];
/// The most candidates in a message.
const MAX_CANDIDATES: u32 = 5;

/// Refuses names by which a job set could not be called: those that mean the newest one, those that look like ids, and the
/// eight characters of a present id.
pub(super) async fn check_name(coordinator: &Coordinator, name: &str) -> Result<(), Error> {
    let refuse = |problem: String| Err(Error::bad_field("spec.name", format!("{problem}: choose another name")));
    if NEWEST.contains(&name) {
        return refuse(format!("{name:?} means the newest job set"));
    }
    if name.starts_with("js-") {
        return refuse(format!("{name:?} looks like the id of a job set"));
    }
    if let Ok(id) = format!("js-{name}").parse::<JobSetId>()
        && coordinator.queue.job_set(&id).await.is_ok()
    {
        return refuse(format!("{name:?} is short for the job set {id}"));
    }
    Ok(())
}

/// The id of the only job set that `text` fits: a whole id, the beginning of an id, with or without `js-`, or a name. `@` and
/// `latest` are the newest job set.
///
/// # Errors
/// [`Error::NotFound`] if there is none; [`Error::BadField`] if there are several.
pub async fn resolve(coordinator: &Coordinator, text: &str) -> Result<JobSetId, Error> {
    if NEWEST.contains(&text) {
        let newest = coordinator.queue.job_sets(None, 1).await?.pop();
        let none = || Error::NotFound { what: "job set", name: "yet: `fivefold submit` makes one".to_owned() };
        return newest.map(|job_set| job_set.id).ok_or_else(none);
    }
    let found = coordinator.queue.find_job_sets(text, MAX_CANDIDATES + 1).await?;
    if let Some(whole) = found.iter().find(|found| found.id.as_str() == text) {
        return Ok(whole.id.clone());
    }
    match &found[..] {
        [] => {
            let name = format!("with the id or name {:?}", one_line(text));
            Err(Error::NotFound { what: "job set", name })
        }
        [only] => Ok(only.id.clone()),
        several => Err(Error::bad_field("text", ambiguous(text, several))),
    }
}

/// The candidates, newest first.
fn ambiguous(text: &str, found: &[NamedJobSet]) -> String {
    let shown = found.iter().take(MAX_CANDIDATES as usize).map(|found| match found.name.as_str() {
        "" => found.id.to_string(),
        name => format!("{} ({})", found.id, one_line(name)),
    });
    let shown: Vec<String> = shown.collect();
    let more = if found.len() > shown.len() { " and others" } else { "" };
    format!("{:?} is not the id or name of one job set: it fits {}{more}", one_line(text), shown.join(", "))
}
