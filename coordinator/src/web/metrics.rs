//! `/metrics`, for Prometheus. No metric has a label for a job, a job set or a worker, so their number does not grow.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fivefold_common::job::{FailureCause, JobKind};
use fivefold_common::job_set::JobSetState;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Page;
use super::problem::Problem;
use crate::app::{self, Count, Counts, DiskSpace, Presence};
use crate::error::Error;
use crate::queue::{Census, Occupation};

/// The text format of Prometheus.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(page): State<Page>) -> Result<Response, Problem> {
    let snapshot = Snapshot::take(&page.coordinator).await?;
    let mut text = String::new();
    prometheus_text::encode(&mut text, &snapshot.registry(&page.coordinator.counts))
        .map_err(|error| Error::Stored(format!("the metrics cannot be written as text: {error}")))?;
    Ok(([(header::CONTENT_TYPE, FORMAT)], text).into_response())
}

/// What is measured when Prometheus asks.
struct Snapshot {
    census: Census,
    workers: Workers,
    disk: DiskSpace,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Workers {
    idle: u64,
    busy: u64,
    drained: u64,
}

impl Snapshot {
    async fn take(coordinator: &app::Coordinator) -> Result<Snapshot, Error> {
        let mut workers = Workers::default();
        for view in app::workers(coordinator).await? {
            match (view.presence, view.worker.job, view.worker.draining) {
                (Presence::Gone, ..) => {}
                (Presence::Present, Some(_), _) => workers.busy += 1,
                (Presence::Present, None, true) => workers.drained += 1,
                (Presence::Present, None, false) => workers.idle += 1,
            }
        }
        Ok(Snapshot { census: coordinator.queue.census().await?, workers, disk: app::disk_space(coordinator).await? })
    }

    fn registry(&self, counts: &Counts) -> Registry {
        let mut registry = Registry::with_prefix("fivefold");
        self.add_queue(&mut registry);
        self.add_machines(&mut registry);
        add_counts(&mut registry, counts);
        registry
    }

    fn add_queue(&self, registry: &mut Registry) {
        let job_sets = Gauges::default();
        for state in [JobSetState::Training, JobSetState::Predicting] {
            let number = self.census.job_sets.get(&state).copied().unwrap_or(0);
            set(&job_sets, vec![("state", state.word())], number);
        }
        registry.register("unfinished_job_sets", "Job sets that have not ended", job_sets);
        let jobs = Gauges::default();
        for &kind in JobKind::ALL {
            for occupation in Occupation::ALL {
                let number = self.census.jobs.get(&(kind, occupation)).copied().unwrap_or(0);
                set(&jobs, vec![("kind", kind.word()), ("state", occupation.word())], number);
            }
        }
        registry.register("unfinished_jobs", "Jobs that have not ended, one for each fold", jobs);
    }

    fn add_machines(&self, registry: &mut Registry) {
        let Workers { idle, busy, drained } = self.workers;
        let workers = Gauges::default();
        for (state, number) in [("idle", idle), ("busy", busy), ("drained", drained)] {
            set(&workers, vec![("state", state)], number);
        }
        registry.register("workers", "Workers that are there", workers);
        let DiskSpace { total_bytes, free_bytes } = self.disk;
        for (name, help, bytes) in [
            ("disk_free_bytes", "Free bytes on the disk of the state folder", free_bytes),
            ("disk_size_bytes", "Size of the disk of the state folder in bytes", total_bytes),
        ] {
            let gauge = Gauge::<u64, AtomicU64>::default();
            gauge.set(bytes);
            registry.register(name, help, gauge);
        }
    }
}

/// Counters of what happened since the coordinator started.
fn add_counts(registry: &mut Registry, counts: &Counts) {
    for count in Count::ALL {
        let (name, help) = match count {
            Count::SubmittedJobSets => ("job_sets_submitted", "Job sets that were submitted"),
            Count::Leases => ("leases", "Jobs that were leased to a worker"),
            Count::CompletedJobs => ("jobs_completed", "Jobs that ended with a result"),
            Count::Reports => ("reports", "Reports of running jobs"),
            Count::UploadedBytes => ("uploaded_bytes", "Bytes of artifacts that were uploaded"),
            Count::DownloadedBytes => ("downloaded_bytes", "Bytes of artifacts that were downloaded"),
        };
        let counter = Counter::<u64>::default();
        counter.inc_by(counts.get(count));
        registry.register(name, help, counter);
    }
    let failures = Family::<Labels, Counter>::default();
    for &cause in FailureCause::ALL {
        failures.get_or_create(&vec![("cause", cause.word())]).inc_by(counts.failures(cause));
    }
    registry.register("attempts_ended", "Attempts that ended without a result", failures);
}

/// Names of labels and their values.
type Labels = Vec<(&'static str, &'static str)>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;

fn set(gauges: &Gauges, labels: Labels, number: u64) {
    gauges.get_or_create(&labels).set(number);
}
