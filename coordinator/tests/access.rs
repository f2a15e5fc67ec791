//! Tokens, roles and certificates, by clients that have them and clients that do not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fivefold_client::{AuthorizedChannel as Line, Credentials, authorized_channel as line};
use fivefold_common::role::Role;
use fivefold_common::scores::Source;
use fivefold_coordinator::access::{new_token, token_hash};
use fivefold_coordinator::clock::{Clock as _, SystemClock};
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{NewToken, Queue as _};
use fivefold_coordinator::{Config, Exposure, Tls, run};
use fivefold_proto::convert::spec_to_wire;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1::artifact_service_client::ArtifactServiceClient;
use fivefold_proto::v1::data_set_service_client::DataSetServiceClient;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use fivefold_proto::v1::worker_service_client::WorkerServiceClient;
use fivefold_proto::{SubmitJobSetRequest, v1};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::pushed::Pushed;
use crate::site::{Site, TEST_LIST, list, reference, scores, spec};

mod pushed;
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
        has_image_folder: true,
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

/// A data set of the lists of [`Site::submit`], whose artifacts are uploaded.
async fn upload_data_set(site: &Site, name: &str) -> (v1::DataSet, Pushed) {
    let lists = [(Source::Train, list("t", 40)), (Source::Hpa, list("h", 20)), (Source::Test, TEST_LIST.to_owned())];
    let pushed = Pushed::of(&spec(), name, &lists.each_ref().map(|(source, csv)| (*source, csv.as_str())));
    for bytes in &pushed.segments {
        site.upload(v1::ArtifactKind::Segment, bytes).await;
    }
    let [train_digest, hpa_digest, test_digest] = {
        let mut digests = Vec::new();
        for (_, csv) in &lists {
            digests.push(site.upload(v1::ArtifactKind::Manifest, csv.as_bytes()).await.to_string());
        }
        digests.try_into().unwrap()
    };
    let images_digest = site.upload(v1::ArtifactKind::ImageIndex, &pushed.index_json()).await.to_string();
    let manifests = v1::Manifests { train_digest, hpa_digest, test_digest, images_digest, ..v1::Manifests::default() };
    (v1::DataSet { name: name.into(), manifests: Some(manifests), ..v1::DataSet::default() }, pushed)
}

#[tokio::test]
async fn data_sets_are_pushed_by_users_listed_by_readers_and_read_by_workers_under_their_lease() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let (own, own_images) = upload_data_set(&site, "own").await;
    let (other, other_images) = upload_data_set(&site, "other").await;
    for data_set in [&own, &other] {
        let put = v1::PutDataSetRequest { data_set: Some(data_set.clone()) };
        let stored = site.data_sets.clone().put_data_set(put).await.unwrap().into_inner().data_set.unwrap();
        assert_eq!((stored.image_count, &stored.manifests), (62, &data_set.manifests));
    }
    let request = SubmitJobSetRequest::new("r", &spec_to_wire(&spec()), &own.manifests.clone().unwrap());
    let job_set = site.job_sets.clone().submit_job_set(request).await.unwrap().into_inner().job_set.unwrap();
    assert_eq!(job_set.manifests.unwrap().images_digest, own_images.index_digest().to_string());
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    assert_eq!(lease.manifests.as_ref().unwrap().images_digest, own_images.index_digest().to_string());
    site.stop().await;

    let (user, worker) =
        (token(folder.path(), "anna", Role::User).await, token(folder.path(), "gpu1", Role::Worker).await);
    let reader = token(folder.path(), "screen", Role::ReadOnly).await;
    let server = Guarded::start(Config::new(folder.path())).await;
    let client = |token: &str| DataSetServiceClient::new(server.with_token(token));
    for token in [&user, &reader] {
        let listed = client(token).list_data_sets(v1::ListDataSetsRequest {}).await.unwrap().into_inner().data_sets;
        assert_eq!(listed.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["other", "own"]);
        client(token).get_data_set(v1::GetDataSetRequest { name: "own".into() }).await.unwrap();
    }
    let delete = || v1::DeleteDataSetRequest { name: "other".into() };
    let find = || v1::FindMissingArtifactsRequest { digests: vec!["0".repeat(64)] };
    for refused in [
        client(&worker).list_data_sets(v1::ListDataSetsRequest {}).await.unwrap_err(),
        client(&worker).get_data_set(v1::GetDataSetRequest { name: "own".into() }).await.unwrap_err(),
        client(&worker).find_missing_artifacts(find()).await.unwrap_err(),
        client(&worker).put_data_set(v1::PutDataSetRequest { data_set: Some(own.clone()) }).await.unwrap_err(),
        client(&worker).delete_data_set(delete()).await.unwrap_err(),
        client(&reader).find_missing_artifacts(find()).await.unwrap_err(),
        client(&reader).put_data_set(v1::PutDataSetRequest { data_set: Some(own.clone()) }).await.unwrap_err(),
        client(&reader).delete_data_set(delete()).await.unwrap_err(),
    ] {
        assert!(has_reason(&refused, Reason::RoleNotEnough), "{refused:?}");
    }
    let missing = client(&user).find_missing_artifacts(find()).await.unwrap().into_inner().digests;
    assert_eq!(missing, ["0".repeat(64)]);

    let mut artifacts = ArtifactServiceClient::new(server.with_token(&worker));
    let mut download = async |digest: String| {
        let request = v1::DownloadArtifactRequest { digest, offset_bytes: 0, lease: reference(&lease) };
        artifacts.download_artifact(request).await.map(|_| ())
    };
    download(own_images.index_digest().to_string()).await.unwrap();
    download(own_images.digests()[0].to_string()).await.unwrap();
    for other in [other_images.index_digest(), other_images.digests()[0]] {
        let refused = download(other.to_string()).await.unwrap_err();
        assert!(has_reason(&refused, Reason::RoleNotEnough), "{refused:?}");
    }
    client(&user).delete_data_set(delete()).await.unwrap();
    let gone = client(&user).get_data_set(v1::GetDataSetRequest { name: "other".into() }).await.unwrap_err();
    assert!(has_reason(&gone, Reason::NotFound), "{gone:?}");
    server.stop().await;
}

#[tokio::test]
async fn names_and_digests_of_data_sets_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let mut data_sets = site.data_sets.clone();
    let bad = data_sets.get_data_set(v1::GetDataSetRequest { name: "../etc".into() }).await.unwrap_err();
    assert!(has_reason(&bad, Reason::BadField) && bad.message().contains("cannot be the name"), "{bad:?}");
    let many = v1::FindMissingArtifactsRequest { digests: vec!["0".repeat(64); 10_001] };
    let many = data_sets.find_missing_artifacts(many).await.unwrap_err();
    assert!(has_reason(&many, Reason::BadField) && many.message().contains("more than 10000"), "{many:?}");
    let unset = data_sets.put_data_set(v1::PutDataSetRequest { data_set: None }).await.unwrap_err();
    assert!(has_reason(&unset, Reason::BadField) && unset.message().contains("data_set"), "{unset:?}");
    site.stop().await;
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
