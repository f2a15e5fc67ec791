//! Connections of strangers beside those of clients.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fivefold_coordinator::listener::{ConnectionLimits, raise_open_files};
use fivefold_coordinator::{Config, Tls};
use fivefold_proto::v1;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use rcgen::generate_simple_self_signed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::site::program::{COORDINATOR, Program};
use crate::site::{Site, scores, spec};

mod site;

/// The preface of HTTP/2, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const SILENT: usize = 5000;
const HALF_OPEN: usize = 500;
/// Files that the coordinator may open.
const OPEN_FILES: usize = 1024;

fn address_of(url: &str) -> SocketAddr {
    url.split_once("://").unwrap().1.parse().unwrap()
}

/// Sends `bytes`, then nothing, and waits until the other side has closed the connection.
async fn stranger(address: SocketAddr, bytes: &[u8], connected: impl FnOnce()) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    connected();
    let _ = stream.write_all(bytes).await;
    let mut answer = [0; 256];
    while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
}

/// The coordinator as a program that may open [`OPEN_FILES`] files and cannot raise that.
fn with_few_files() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {OPEN_FILES}; exec \"$0\" \"$@\""), COORDINATOR]);
    command
}

/// A client that connects now, and tries again as clients do.
async fn newcomer(url: &str) -> Site {
    let start = Instant::now();
    loop {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
        let request = v1::ListJobSetsRequest::default();
        match JobSetServiceClient::new(channel.clone()).list_job_sets(request).await {
            Ok(_) => return Site::of_channel(channel),
            Err(refused) => assert!(start.elapsed() < Duration::from_secs(60), "locked out: {refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_lock_nobody_out_while_a_job_set_goes_on() {
    let open_files = raise_open_files();
    if open_files < SILENT + HALF_OPEN + 200 {
        eprintln!("skipped: this process may open {open_files} files");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(with_few_files(), folder.path()).unwrap();
    let address = address_of(&program.url);
    let known = newcomer(&program.url).await;

    let connected = Arc::new(AtomicUsize::new(0));
    let mut strangers = JoinSet::new();
    for number in 0..SILENT + HALF_OPEN {
        let connected = connected.clone();
        strangers.spawn(async move {
            let bytes = if number < SILENT { b"" } else { PREFACE };
            loop {
                stranger(address, bytes, || _ = connected.fetch_add(1, Ordering::Relaxed)).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
    }
    let start = Instant::now();
    let is_full = |line: &String| line.contains("connections without an authorised call");
    while connected.load(Ordering::Relaxed) < SILENT + HALF_OPEN || !program.log().iter().any(is_full) {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", program.log());
        known.job_sets.clone().list_job_sets(v1::ListJobSetsRequest::default()).await.unwrap();
    }

    let id = known.submit("r1", &spec()).await.unwrap().id;
    for number in 0..6 {
        let worker = newcomer(&program.url).await;
        let name = format!("w{number}");
        worker.register(&name).await;
        let lease = worker.acquire(&name, "a", 60).await.unwrap();
        for sequence in 1..20 {
            worker.report(&lease, sequence, Vec::new()).await.unwrap();
            known.job_set(&id).await;
        }
        worker.complete(&lease, &scores(&lease)).await.unwrap();
    }
    known.wait_until(&id, |set| set.state() == v1::job_set::State::Succeeded).await;
    let files = std::fs::read_dir(format!("/proc/{}/fd", program.child.id())).unwrap().count();
    assert!(files < OPEN_FILES, "{files}");
    assert!(!program.log().iter().any(|line| line.contains("cannot accept")), "{:?}", program.log());
    strangers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_of_one_host_connect_at_once() {
    const CLIENTS: usize = 1000;
    let open_files = raise_open_files();
    if open_files < 4 * CLIENTS {
        eprintln!("skipped: the programs may open {open_files} files");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(Command::new(COORDINATOR), folder.path()).unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let url = program.url.clone();
        clients.spawn(async move {
            // A client that the machine lets wait longer than the first call may take tries again, as clients do.
            let start = Instant::now();
            loop {
                let channel = Channel::from_shared(url.clone()).unwrap().connect_lazy();
                let request = v1::ListWorkersRequest::default();
                match WorkerServiceClient::new(channel.clone()).list_workers(request).await {
                    Ok(_) => return channel,
                    Err(refused) => assert!(start.elapsed() < Duration::from_secs(60), "locked out: {refused:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    let mut channels = Vec::new();
    while let Some(answer) = clients.join_next().await {
        channels.push(answer.unwrap());
    }
    assert_eq!(channels.len(), CLIENTS);
}

#[tokio::test]
async fn connections_without_an_authorised_call_end_at_their_deadline() {
    let (first_call, idle) = (Duration::from_millis(300), Duration::from_millis(900));
    let connections = ConnectionLimits { first_call, idle, ..ConnectionLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start_with(Config { connections, ..Config::new(folder.path().join("plain")) }).await;
    site.register("w").await;
    let start = Instant::now();
    for bytes in [b"", &PREFACE[..10], PREFACE] {
        let began = start.elapsed();
        stranger(site.address, bytes, || {}).await;
        let taken = start.elapsed() - began;
        assert!(taken >= first_call && taken < Duration::from_secs(20), "{taken:?}");
    }

    // A health check gives time for another one, no more.
    let channel = Endpoint::from_shared(format!("http://{}", site.address)).unwrap().connect().await.unwrap();
    let mut watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let asked = Instant::now();
    assert!(watch.message().await.is_err());
    assert!(asked.elapsed() >= first_call, "{:?}", asked.elapsed());

    site.register("w").await;
    site.stop().await;
}

#[tokio::test]
async fn an_unfinished_handshake_ends_at_its_deadline() {
    let certificate = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls {
        certificate_pem: certificate.cert.pem().into_bytes(),
        key_pem: certificate.signing_key.serialize_pem().into_bytes(),
        client_ca_pem: None,
    };
    let connections = ConnectionLimits { first_call: Duration::from_millis(300), ..ConnectionLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = tokio_util::sync::CancellationToken::new();
    let config = Config { connections, tls: Some(tls), ..Config::new(folder.path()) };
    let server = tokio::spawn(fivefold_coordinator::run(config, listener, stopping.clone()));
    // The first bytes of a client's hello, and none.
    for bytes in [b"\x16\x03\x01\x02".as_slice(), b""] {
        let start = Instant::now();
        stranger(address, bytes, || {}).await;
        assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(20));
    }
    stopping.cancel();
    server.await.unwrap().unwrap();
}
