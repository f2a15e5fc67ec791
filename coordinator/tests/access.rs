//! Tokens, roles and certificates, by clients that have them and clients that do not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fivefold_client::{AuthorizedChannel as Line, Credentials, authorized_channel as line};
use fivefold_common::role::Role;
use fivefold_coordinator::access::{new_token, token_hash};
use fivefold_coordinator::clock::{Clock as _, SystemClock};
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{NewToken, Queue as _};
use fivefold_coordinator::{Config, Exposure, Tls, run};
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::site::{Site, list, reference, scores, spec};

mod site;

/// A server, and the way to it.
struct Guarded {
    url: String,
    stopping: CancellationToken,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Guarded {
    async fn start(config: Config) -> Guarded {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let stopping = CancellationToken::new();
        let server = tokio::spawn(run(config, listener, stopping.clone()));
        Guarded { url, stopping, server }
    }

    fn line(&self, credentials: &Credentials) -> Line {
        line(Endpoint::from_shared(self.url.clone()).unwrap(), credentials).unwrap()
    }

    fn with_token(&self, token: &str) -> Line {
        self.line(&Credentials { token: Some(token.to_owned()), ..Credentials::default() })
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.server.await.unwrap().unwrap();
    }
}

async fn token(state: &Path, name: &'static str, role: Role) -> String {
    let queue = SqliteQueue::open(&state.join("fivefold.sqlite"), Durability::Disk).await.unwrap();
    let token = new_token().unwrap();
    let new = NewToken { name: name.to_owned(), role, hash: token_hash(&token) };
    queue.create_token(SystemClock.now(), new).await.unwrap();
    token
}

async fn job_sets(line: &Line) -> Result<usize, Status> {
    let request = v1::ListJobSetsRequest::default();
    Ok(JobSetServiceClient::new(line.clone()).list_job_sets(request).await?.into_inner().job_sets.len())
}

async fn cancel(line: &Line) -> Status {
    let request = v1::CancelJobSetRequest { job_set_id: "js-abcdefgh".into() };
    JobSetServiceClient::new(line.clone()).cancel_job_set(request).await.unwrap_err()
}

async fn register(line: &Line) -> Result<(), Status> {
    let request = v1::RegisterWorkerRequest {
        name: "w".into(),
        device: "cpu".into(),
        version: "0".into(),
        protocol: fivefold_proto::PROTOCOL,
    };
    WorkerServiceClient::new(line.clone()).register_worker(request).await.map(|_| ())
}

#[tokio::test]
async fn every_role_may_do_its_own_and_a_revoked_token_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (user, worker) =
        (token(folder.path(), "anna", Role::User).await, token(folder.path(), "gpu1", Role::Worker).await);
    let reader = token(folder.path(), "screen", Role::ReadOnly).await;
    let server = Guarded::start(Config::new(folder.path())).await;
    let (user, worker, reader) = (server.with_token(&user), server.with_token(&worker), server.with_token(&reader));

    for stranger in [server.line(&Credentials::default()), server.with_token(&new_token().unwrap())] {
        for refused in [job_sets(&stranger).await.map(|_| ()), register(&stranger).await] {
            let refused = refused.unwrap_err();
            assert!(
                refused.code() == Code::Unauthenticated && has_reason(&refused, Reason::TokenNeeded),
                "{refused:?}"
            );
        }
    }
    assert_eq!((job_sets(&user).await.unwrap(), job_sets(&reader).await.unwrap()), (0, 0));
    register(&worker).await.unwrap();
    assert!(has_reason(&cancel(&user).await, Reason::NotFound));
    for refused in [
        cancel(&reader).await,
        cancel(&worker).await,
        register(&user).await.unwrap_err(),
        job_sets(&worker).await.unwrap_err(),
    ] {
        assert!(refused.code() == Code::PermissionDenied && has_reason(&refused, Reason::RoleNotEnough), "{refused:?}");
    }
    let refused = job_sets(&worker).await.unwrap_err();
    assert_eq!(refused.message(), "this needs a token of the role user or read-only; yours has the role worker");

    revoke(folder.path(), "anna");
    let start = Instant::now();
    while let Ok(_answer) = job_sets(&user).await {
        assert!(start.elapsed() < Duration::from_secs(20), "the token is still good");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(job_sets(&reader).await.unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_new_token_is_good_at_once() {
    let folder = tempfile::tempdir().unwrap();
    drop(token(folder.path(), "anna", Role::User).await);
    let server = Guarded::start(Config::new(folder.path())).await;
    for name in ["b", "c", "d", "e", "f", "g", "h", "i"] {
        let line = server.with_token(&token(folder.path(), name, Role::User).await);
        assert_eq!(job_sets(&line).await.unwrap(), 0, "{name}");
    }
    server.stop().await;
}

/// By the real program, while the coordinator runs.
fn revoke(state: &Path, name: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold-coordinator"));
    assert!(command.args(["token", "revoke", name, "--state"]).arg(state).status().unwrap().success());
}

/// A stream of reports, once calls of `line` are served.
async fn report_stream(
    line: &Line,
    reports: mpsc::Receiver<v1::ReportJobRequest>,
) -> tonic::Streaming<v1::ReportJobResponse> {
    let start = Instant::now();
    while let Err(refused) = register(line).await {
        assert!(start.elapsed() < Duration::from_secs(20), "{refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    WorkerServiceClient::new(line.clone()).report_job(ReceiverStream::new(reports)).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_or_one_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    site.submit("r1", &spec()).await.unwrap();
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    site.stop().await;

    let server = Guarded::start(Config::new(folder.path())).await;
    // Before there are tokens, then with one that is revoked.
    for round in 0..2 {
        let line = match round {
            0 => server.line(&Credentials::default()),
            _ => server.with_token(&token(folder.path(), "gpu1", Role::Worker).await),
        };
        let (reports, receiver) = mpsc::channel(1);
        let report = v1::ReportJobRequest { lease: reference(&lease), sequence: 1, ..Default::default() };
        reports.send(report.clone()).await.unwrap();
        let mut stream = report_stream(&line, receiver).await;
        assert_eq!(stream.message().await.unwrap().unwrap().acknowledged_sequence, 1);

        match round {
            0 => drop(token(folder.path(), "anna", Role::User).await),
            _ => revoke(folder.path(), "gpu1"),
        }
        let start = Instant::now();
        let ended = loop {
            // The same report, until it is not taken any more.
            reports.send(report.clone()).await.unwrap();
            match stream.message().await {
                Ok(answer) => assert!(answer.is_some() && start.elapsed() < Duration::from_secs(20), "it goes on"),
                Err(ended) => break ended,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(has_reason(&ended, Reason::TokenNeeded), "{ended:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_worker_reaches_only_what_belongs_to_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    // Everybody may do everything as long as there are no tokens: another job set's checkpoint comes to be.
    let site = Site::start(folder.path(), 60).await;
    site.submit("r1", &spec()).await.unwrap();
    site.register("w").await;
    let first = site.acquire("w", "a", 10).await.unwrap();
    site.complete(&first, &scores(&first)).await.unwrap();
    let lease = site.acquire("w", "b", 10).await.unwrap();
    site.stop().await;

    let worker = token(folder.path(), "gpu1", Role::Worker).await;
    let server = Guarded::start(Config::new(folder.path())).await;
    let mut artifacts = ArtifactServiceClient::new(server.with_token(&worker));
    let mut download = async |digest: String, lease| {
        let request = v1::DownloadArtifactRequest { digest, offset_bytes: 0, lease };
        artifacts.download_artifact(request).await.map(|_| ())
    };
    let own = lease.folds_digest.clone();
    let others = fivefold_common::ids::Digest::of(b"weights of 0").to_string();
    download(own.clone(), reference(&lease)).await.unwrap();
    let refused = download(others, reference(&lease)).await.unwrap_err();
    assert!(has_reason(&refused, Reason::RoleNotEnough), "{refused:?}");
    let ended = download(own.clone(), reference(&first)).await.unwrap_err();
    assert!(has_reason(&ended, Reason::StaleAttempt), "{ended:?}");
    assert!(download(own, None).await.is_err(), "without a lease");

    let list = list("x", 10).into_bytes();
    let artifact = v1::Artifact {
        kind: v1::ArtifactKind::Manifest.into(),
        digest: fivefold_common::ids::Digest::of(&list).to_string(),
        size_bytes: list.len() as u64,
    };
    // Without a lease as in `fivefold submit`.
    for lease in [reference(&lease), None] {
        let request = v1::GetUploadRequest { artifact: Some(artifact.clone()), lease };
        let refused = artifacts.get_upload(request).await.unwrap_err();
        assert!(has_reason(&refused, Reason::RoleNotEnough), "{refused:?}");
        assert!(refused.message().contains("this is a worker's token"), "{refused:?}");
        assert!(refused.message().contains("a token of the role user"), "{refused:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_are_encrypted_and_clients_show_certificates_where_they_have_to() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let user = token(&state, "anna", Role::User).await;
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = signed("localhost");
    let (client_certificate, client_key) = signed("anna");
    let [ca_cert, client_cert, client_key] =
        [("ca", authority.pem()), ("client", client_certificate), ("client-key", client_key)].map(|(name, pem)| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            Some(path)
        });
    for asks_clients in [false, true] {
        let tls = Tls {
            certificate_pem: certificate.clone().into_bytes(),
            key_pem: key.clone().into_bytes(),
            client_ca_pem: asks_clients.then(|| authority.pem().into_bytes()),
        };
        let server = Guarded::start(Config { tls: Some(tls), ..Config::new(&state) }).await;
        let plain = Credentials { token: Some(user.clone()), ca_cert: ca_cert.clone(), ..Credentials::default() };
        let shown = Credentials { client_cert: client_cert.clone(), client_key: client_key.clone(), ..plain.clone() };
        assert_eq!(job_sets(&server.line(&shown)).await.unwrap(), 0);
        assert_eq!(job_sets(&server.line(&plain)).await.is_ok(), !asks_clients);
        let other_authority = Credentials { ca_cert: client_cert.clone(), ..shown.clone() };
        assert!(job_sets(&server.line(&other_authority)).await.is_err(), "an unknown authority");
        let unencrypted = server.url.replace("https", "http");
        let unencrypted = line(Endpoint::from_shared(unencrypted).unwrap(), &Credentials::default()).unwrap();
        assert!(job_sets(&unencrypted).await.is_err(), "no encryption");
        server.stop().await;
    }
}

#[tokio::test]
async fn others_can_reach_it_only_with_encryption_and_tokens_or_if_told() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |exposure, stopping: CancellationToken| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        run(Config { exposure, ..Config::new(folder.path()) }, listener, stopping).await
    };
    let refused = start(Exposure::Guarded, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(refused.contains("--tls-cert") && refused.contains("--insecure"), "{refused}");
    let stopping = CancellationToken::new();
    stopping.cancel();
    start(Exposure::Insecure, stopping).await.unwrap();
}
