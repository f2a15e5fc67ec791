//! A release coordinator under load: workers that report once a second, large checkpoints uploaded beside them, and a few
//! workers that take and release leases all the time and measure the wait.
//!
//!     cargo build --release && cargo run --release -p fivefold-bench --example load
//!
//! Exits with 1 if a report was lost or counted twice, or an upload did not arrive.
#![expect(clippy::unwrap_used, reason = "a benchmark: whatever goes wrong ends it")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use fivefold_client::{Connection, Credentials, Failure, Notice, RetryPolicy, Source};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Attempt, JobId, LeaseRef};
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{lease_to_wire, spec_to_wire};
use fivefold_proto::{SubmitJobSetRequest, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Starts a coordinator, loads it, and prints the measurements
#[derive(Debug, Parser, Clone)]
struct Arguments {
    /// Workers that report once a second
    #[arg(long, default_value_t = 1000)]
    workers: u32,
    /// Checkpoints that are uploaded at the same time
    #[arg(long, default_value_t = 50)]
    uploads: u32,
    /// Size of each, in MB
    #[arg(long, default_value_t = 300)]
    upload_mb: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The coordinator's program
    #[arg(long, default_value = "target/release/fivefold-coordinator")]
    coordinator: PathBuf,
}

/// Uploads that had to wait because the coordinator was busy.
static WAITED: AtomicU64 = AtomicU64::new(0);

const FOLDS: u32 = 50;
const LEASERS: u32 = 10;
const BLOCK_BYTES: usize = 512 * 1024;

/// A coordinator that is killed when it is dropped.
struct Coordinator {
    child: Child,
    url: String,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &Arguments, state: &std::path::Path) -> Coordinator {
    let mut command = Command::new(&arguments.coordinator);
    command.args(["--listen", "127.0.0.1:0", "--state"]).arg(state).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, url)) = line.split_once("listening on ") {
            break url.trim().to_owned();
        }
    };
    // A full pipe would block the coordinator.
    std::thread::spawn(move || lines.for_each(drop));
    Coordinator { child, url }
}

fn connect(url: &str) -> Connection {
    let connection =
        Connection::new(&url.parse().unwrap(), &Credentials::default(), RetryPolicy::unattended(), "load").unwrap();
    connection.with_observer(|notice| match notice {
        Notice::Retrying { failure: Failure::Busy(_), .. } => drop(WAITED.fetch_add(1, Ordering::Relaxed)),
        other => eprintln!("{other}"),
    })
}

/// Submits job sets with `jobs` folds or a few more.
async fn submit(url: &str, jobs: u32) {
    let connection = connect(url);
    let rows: String = (0..200).map(|row| format!("r{row},{}\n", row % 28)).collect();
    let list = Source::from(Bytes::from(format!("Id,Target\n{rows}")));
    let list = connection.transfers().upload(ArtifactKind::Manifest, list).await.unwrap();
    for number in 0..jobs.div_ceil(FOLDS) {
        let spec = JobSetSpec { folds: FOLDS, train_with_hpa: false, valid_with_hpa: false, ..JobSetSpec::default() };
        let manifests = v1::Manifests { train_digest: list.digest.to_string(), ..Default::default() };
        let request = SubmitJobSetRequest::new(format!("load-{number}"), &spec_to_wire(&spec), &manifests);
        connection.call(request, async |c, r| c.job_sets().submit_job_set(r).await).await.unwrap();
    }
}

async fn take_lease(connection: &Connection, name: &str, wait: u64) -> LeaseRef {
    let request = v1::AcquireLeaseRequest {
        worker_name: name.to_owned(),
        wait_seconds: 30,
        request_id: format!("{name}-{wait}"),
        protocol: fivefold_proto::PROTOCOL,
        has_image_folder: true,
        name_lock: None,
    };
    let lease = connection.workers().acquire_lease(request).await.unwrap().into_inner().lease.unwrap();
    LeaseRef { job: JobId(lease.job_id), attempt: Attempt(lease.attempt) }
}

async fn register(connection: &Connection, name: &str) {
    let request = v1::RegisterWorkerRequest {
        name: name.to_owned(),
        device: "none".into(),
        version: "load".into(),
        protocol: fivefold_proto::PROTOCOL,
        has_image_folder: true,
    };
    connection.workers().register_worker(request).await.unwrap();
}

/// Uploads a checkpoint over a connection of its own, and records it.
async fn upload_checkpoint(url: String, lease: LeaseRef, blocks: Vec<Bytes>, uploaded: Arc<AtomicU64>) {
    let connection = connect(&url);
    let transfers = connection.transfers().under_lease(lease);
    let artifact = transfers.upload(ArtifactKind::Checkpoint, Source::Memory(blocks)).await.unwrap();
    let checkpoint = v1::Checkpoint {
        digest: artifact.digest.to_string(),
        role: v1::CheckpointRole::Last.into(),
        ..Default::default()
    };
    let request = v1::RecordCheckpointRequest { lease: Some(lease_to_wire(lease)), checkpoint: Some(checkpoint) };
    connection.workers().record_checkpoint(request).await.unwrap();
    uploaded.fetch_add(1, Ordering::Relaxed);
}

/// Reports once a second until `end`; returns how long each answer took.
async fn report(
    url: String,
    number: u32,
    end: Instant,
    blocks: Option<Vec<Bytes>>,
    uploaded: Arc<AtomicU64>,
) -> Vec<Duration> {
    let connection = connect(&url);
    let name = format!("worker-{number}");
    register(&connection, &name).await;
    let lease = take_lease(&connection, &name, 0).await;
    if let Some(blocks) = blocks {
        tokio::spawn(upload_checkpoint(url, lease, blocks, uploaded));
    }
    let (sender, reports) = mpsc::channel(1);
    let mut answers = None;
    let mut reports = Some(reports);
    let mut taken = Vec::new();
    // Spread over the second, as real workers are.
    tokio::time::sleep(Duration::from_millis(u64::from(number) % 1000)).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for sequence in 1.. {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        let progress = v1::Progress { phase: v1::Phase::Training.into(), step: sequence as u32, ..Default::default() };
        let began = Instant::now();
        let report = v1::ReportJobRequest {
            lease: Some(lease_to_wire(lease)),
            sequence,
            progress: Some(progress),
            epochs: Vec::new(),
        };
        sender.send(report).await.unwrap();
        if let Some(reports) = reports.take() {
            let stream = connection.workers().report_job(ReceiverStream::new(reports)).await;
            answers = Some(stream.unwrap().into_inner());
        }
        let answer = answers.as_mut().unwrap().message().await.unwrap().unwrap();
        assert_eq!(answer.acknowledged_sequence, sequence, "a report was lost or counted twice");
        taken.push(began.elapsed());
    }
    taken
}

/// Takes and releases leases until `end`; returns how long each lease took to come.
async fn take_leases(url: String, number: u32, end: Instant) -> Vec<Duration> {
    let connection = connect(&url);
    let name = format!("leaser-{number}");
    register(&connection, &name).await;
    let mut taken = Vec::new();
    for wait in 0.. {
        if Instant::now() >= end {
            break;
        }
        let began = Instant::now();
        let lease = take_lease(&connection, &name, wait).await;
        taken.push(began.elapsed());
        connection
            .workers()
            .release_lease(v1::ReleaseLeaseRequest { lease: Some(lease_to_wire(lease)) })
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    taken
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn say(what: &str, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{what:<28} {:>8}   p50 {:7.1} ms   p99 {:7.1} ms   max {:7.1} ms",
        taken.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// The bytes of an upload that nobody else has: all share one random block, and their first ones differ.
fn blocks_of(number: u32, block: &Bytes, upload_mb: usize) -> Vec<Bytes> {
    let mut blocks = vec![Bytes::from(format!("upload {number}"))];
    blocks.resize(upload_mb * 1_000_000 / BLOCK_BYTES, block.clone());
    blocks
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let state = tempfile::tempdir_in("target").unwrap();
    let coordinator = start(&arguments, state.path());
    let pid = coordinator.child.id();
    submit(&coordinator.url, arguments.workers + 2 * LEASERS).await;
    let block: Bytes = (0..BLOCK_BYTES).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>().into();
    let uploaded = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let end = began + Duration::from_secs(arguments.seconds);
    let reporters: Vec<_> = (0..arguments.workers)
        .map(|number| {
            let blocks = (number < arguments.uploads).then(|| blocks_of(number, &block, arguments.upload_mb));
            tokio::spawn(report(coordinator.url.clone(), number, end, blocks, uploaded.clone()))
        })
        .collect();
    let leasers: Vec<_> =
        (0..LEASERS).map(|number| tokio::spawn(take_leases(coordinator.url.clone(), number, end))).collect();
    let mut memory_mb = Vec::new();
    while Instant::now() < end {
        memory_mb.push(resident_mb(pid));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (mut reports, mut leases) = (Vec::new(), Vec::new());
    for reporter in reporters {
        reports.extend(reporter.await.unwrap());
    }
    for leaser in leasers {
        leases.extend(leaser.await.unwrap());
    }
    while uploaded.load(Ordering::Relaxed) < u64::from(arguments.uploads) {
        assert!(began.elapsed() < Duration::from_secs(arguments.seconds + 600), "not every upload arrived");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "{} workers, {} uploads of {} MB, {} s; the last upload arrived after {:.0} s; {} had to wait for their turn",
        arguments.workers,
        arguments.uploads,
        arguments.upload_mb,
        arguments.seconds,
        began.elapsed().as_secs_f64(),
        WAITED.load(Ordering::Relaxed)
    );
    say("reports, all acknowledged", reports);
    say("leases", leases);
    let quarter = memory_mb.len() / 4;
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!(
        "memory of the coordinator    at most {:.0} MB; in the last quarter at most {:.0} MB",
        most(&memory_mb),
        most(&memory_mb[3 * quarter..])
    );
}
