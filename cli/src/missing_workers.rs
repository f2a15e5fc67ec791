//! Whether there is a worker for the waiting jobs of a job set.

use std::time::Duration;

use fivefold_client::Connection;
use fivefold_common::one_line::one_line;
use fivefold_proto::v1::{JobSet, ListWorkersRequest, Worker, job, job_set};

/// How long a command that has done its work asks for the workers.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most workers that a sentence names.
const NAMED_WORKERS: usize = 3;

/// Why no worker takes the waiting jobs of a job set, and what to do; `None` if one can take them, if none waits, or if it is not
/// known.
pub(crate) async fn missing_workers(coordinator: &Connection, job_set: &JobSet) -> Option<String> {
    if !has_waiting_jobs(job_set) {
        return None;
    }
    let call = coordinator.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await);
    let listed = tokio::time::timeout(TIMEOUT, call).await.ok()?.ok()?;
    reason(job_set, &listed.workers)
}

fn has_waiting_jobs(job_set: &JobSet) -> bool {
    let is_unfinished = matches!(job_set.state(), job_set::State::Training | job_set::State::Predicting);
    is_unfinished && !job_set.paused && job_set.jobs.iter().any(|job| job.state() == job::State::Queued)
}

fn reason(job_set: &JobSet, workers: &[Worker]) -> Option<String> {
    let connected: Vec<&Worker> = workers.iter().filter(|worker| !worker.gone).collect();
    let has_pushed_images = job_set.manifests.as_ref().is_some_and(|lists| !lists.images_digest.is_empty());
    let (able, without_images): (Vec<&Worker>, Vec<&Worker>) =
        connected.iter().partition(|worker| worker.has_image_folder || has_pushed_images);
    let (excluded, others): (Vec<&Worker>, Vec<&Worker>) =
        able.into_iter().partition(|worker| worker.excluded_job_set_ids.contains(&job_set.id));
    if others.iter().any(|worker| !worker.draining) {
        return None;
    }
    let mut reasons = Vec::new();
    if connected.is_empty() {
        let where_from = if has_pushed_images { "any machine" } else { "a machine that has the images" };
        reasons.push(format!("start `fivefold-worker` on {where_from}"));
    }
    if !without_images.is_empty() {
        let names = names(&without_images);
        reasons.push(format!("{names} started without --data, and the images were not pushed (`fivefold push`)"));
    }
    if !others.is_empty() {
        reasons.push(format!("`fivefold drain WORKER --undo` gives jobs again to {}", names(&others)));
    }
    if !excluded.is_empty() {
        let retry = format!("`fivefold retry {}`", job_set.id);
        reasons.push(format!("{} cannot use the images: mend them, then {retry}", names(&excluded)));
    }
    let what =
        if connected.is_empty() { "no worker is connected" } else { "no connected worker takes the waiting folds" };
    Some(format!("{what}: {}", reasons.join("; ")))
}

fn names(workers: &[&Worker]) -> String {
    let named: Vec<_> = workers.iter().take(NAMED_WORKERS).map(|worker| one_line(&worker.name)).collect();
    match workers.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{Job, Manifests};

    use super::*;

    fn waiting() -> JobSet {
        let job = Job { state: job::State::Queued.into(), ..Job::default() };
        let state = job_set::State::Training.into();
        JobSet { id: "js-aaaaaaaa".into(), state, jobs: vec![job], ..JobSet::default() }
    }

    fn worker(name: &str) -> Worker {
        Worker { name: name.into(), has_image_folder: true, ..Worker::default() }
    }

    #[test]
    fn without_workers_one_is_to_be_started() {
        for workers in [Vec::new(), vec![Worker { gone: true, ..worker("gpu1") }]] {
            let text = reason(&waiting(), &workers).unwrap();
            assert_eq!(text, "no worker is connected: start `fivefold-worker` on a machine that has the images");
        }
    }

    #[test]
    fn workers_without_images_take_job_sets_with_pushed_ones_alone() {
        let bare = Worker { has_image_folder: false, ..worker("gpu1") };
        let text = reason(&waiting(), std::slice::from_ref(&bare)).unwrap();
        assert_eq!(
            text,
            "no connected worker takes the waiting folds: gpu1 started without --data, and the images were not pushed \
             (`fivefold push`)"
        );
        assert_eq!(reason(&waiting(), &[bare.clone(), worker("gpu2")]), None);
        let manifests = Manifests { images_digest: "i".into(), ..Manifests::default() };
        let pushed = JobSet { manifests: Some(manifests), ..waiting() };
        assert_eq!(reason(&pushed, &[bare]), None);
        assert_eq!(reason(&pushed, &[]).unwrap(), "no worker is connected: start `fivefold-worker` on any machine");
    }

    #[test]
    fn workers_that_take_no_jobs_are_named_with_the_remedy() {
        let drained = Worker { draining: true, ..worker("gpu1") };
        let excluded = Worker { excluded_job_set_ids: vec!["js-aaaaaaaa".into()], ..worker("gpu2") };
        let elsewhere = Worker { excluded_job_set_ids: vec!["js-bbbbbbbb".into()], ..worker("gpu3") };
        let text = reason(&waiting(), &[drained.clone(), excluded.clone()]).unwrap();
        for part in
            ["`fivefold drain WORKER --undo` gives jobs again to gpu1", "gpu2 cannot use the images", "js-aaaaaaaa"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(reason(&waiting(), &[drained, excluded, elsewhere]), None);
    }

    #[test]
    fn only_waiting_jobs_need_a_worker() {
        assert!(has_waiting_jobs(&waiting()));
        assert!(!has_waiting_jobs(&JobSet { paused: true, ..waiting() }));
        assert!(!has_waiting_jobs(&JobSet { state: job_set::State::Failed.into(), ..waiting() }));
        assert!(!has_waiting_jobs(&JobSet { jobs: Vec::new(), ..waiting() }));
    }
}
