//! Events.

use fivefold_common::job::FailureCause;
use fivefold_common::one_line::one_line;
use fivefold_proto::v1::{Event, Job};

use super::job::job_name;
use super::text::time;

/// Time, job and message of an event in one line.
pub(crate) fn event_line(event: &Event, jobs: &[Job]) -> String {
    let time = event.time.map_or(String::new(), |at| time(at) + " ");
    let message = one_line(&event.message);
    // Some messages name the fold themselves.
    let job = jobs.iter().find(|job| job.id == event.job_id && !message.contains(&format!("fold {}", job.fold)));
    let job = job.map_or(String::new(), |job| job_name(job) + ": ");
    format!("{time}{job}{message}")
}

/// Whether an event reports a failed attempt. Such events are named after the cause.
pub(crate) fn is_failure(event: &Event) -> bool {
    event.name.parse::<FailureCause>().is_ok()
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::JobKind;

    use super::*;

    #[test]
    fn events_name_their_job_once() {
        let job = Job { id: 7, kind: JobKind::Train.into(), fold: 3, ..Job::default() };
        let event = |message: &str| Event { job_id: 7, message: message.into(), ..Event::default() };
        assert_eq!(event_line(&event("epoch 3 ended"), std::slice::from_ref(&job)), "train fold 3: epoch 3 ended");
        assert_eq!(event_line(&event("fold 3 was leased"), &[job]), "fold 3 was leased");
    }

    #[test]
    fn causes_are_failures() {
        let named = |name: &str| Event { name: name.into(), ..Event::default() };
        assert!(is_failure(&named("worker_lost")));
        assert!(!is_failure(&named("leased")));
    }
}
