//! Connections that cannot be made, against real servers: each problem is named with its remedy.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::time::Duration;

use fake_server::FakeServer;
use fivefold_client::{CallError, Connection, ConnectionProblem, Credentials, Failure, RetryPolicy};
use fivefold_proto::v1::{Artifact, GetUploadRequest, GetUploadResponse};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

mod fake_server;

/// An authority, and the files of its certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn server(&self, name: &str) -> ServerTlsConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        ServerTlsConfig::new().identity(Identity::from_pem(certificate.pem(), key.serialize_pem()))
    }

    fn pem_file(&self) -> PathBuf {
        let path = self.folder.path().join("ca.pem");
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }
}

/// Why a call to `address` fails, trusting the authority in a file.
async fn problem(address: &str, ca_cert: Option<PathBuf>) -> ConnectionProblem {
    let called = call(address, ca_cert, RetryPolicy::interactive(Some(Duration::ZERO))).await;
    let Err(CallError::Unreachable(unreachable)) = called else { panic!("{called:?}") };
    let Failure::Away(problem) = unreachable.failure else { panic!("{:?}", unreachable.failure) };
    problem
}

async fn call(address: &str, ca_cert: Option<PathBuf>, policy: RetryPolicy) -> Result<GetUploadResponse, CallError> {
    let credentials = Credentials { ca_cert, ..Credentials::default() };
    let connection = Connection::new(&address.parse().unwrap(), &credentials, policy, "test").unwrap();
    let request = GetUploadRequest { artifact: Some(Artifact::default()), lease: None };
    connection.call(request, async |c, r| c.artifacts().get_upload(r).await).await
}

/// A worker has patience without end, but not for what waiting does not mend.
#[tokio::test]
async fn a_wrong_certificate_or_address_ends_the_first_call_at_once() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let encrypted = FakeServer::default().serve(Some(authority.server("localhost"))).await;
    let plain = FakeServer::default().serve(None).await;
    for (address, expected) in [
        (format!("https://localhost:{encrypted}"), "--ca-cert"),
        (format!("http://localhost:{encrypted}"), "use https://"),
        (format!("https://localhost:{plain}"), "use http://"),
    ] {
        let called = call(&address, Some(stranger.pem_file()), RetryPolicy::unattended());
        let called = tokio::time::timeout(Duration::from_secs(60), called).await.expect("the call ends");
        let Err(CallError::Unreachable(unreachable)) = called else { panic!("{called:?}") };
        let message = unreachable.to_string();
        assert!(message.starts_with(&format!("cannot connect to {address}: ")), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn certificates_are_judged() {
    let authority = Authority::new();
    let port = FakeServer::default().serve(Some(authority.server("localhost"))).await;
    let (address, stranger) = (format!("https://localhost:{port}"), Authority::new());
    let untrusted = problem(&address, Some(stranger.pem_file())).await;
    assert_eq!(untrusted, ConnectionProblem::UntrustedIssuer);
    assert!(untrusted.is_lasting() && untrusted.to_string().contains("--ca-cert"), "{untrusted}");
    assert_eq!(problem(&address, None).await, ConnectionProblem::UntrustedIssuer);

    let elsewhere = FakeServer::default().serve(Some(authority.server("hub"))).await;
    let elsewhere = problem(&format!("https://localhost:{elsewhere}"), Some(authority.pem_file())).await;
    assert!(matches!(&elsewhere, ConnectionProblem::WrongHost(why) if why.contains("localhost")), "{elsewhere:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_is_told_apart() {
    let authority = Authority::new();
    let tls = authority.server("localhost").client_ca_root(Certificate::from_pem(authority.issuer.pem()));
    let port = FakeServer::default().serve(Some(tls)).await;
    let refused = problem(&format!("https://localhost:{port}"), Some(authority.pem_file())).await;
    assert!(matches!(&refused, ConnectionProblem::ClientCertificate(_)), "{refused:?}");
    assert!(refused.to_string().contains("--client-cert"), "{refused}");
}

#[tokio::test]
async fn http_and_https_are_told_apart() {
    let authority = Authority::new();
    let encrypted = FakeServer::default().serve(Some(authority.server("localhost"))).await;
    let plain = FakeServer::default().serve(None).await;
    assert_eq!(problem(&format!("http://localhost:{encrypted}"), None).await, ConnectionProblem::ServerWithTls);
    assert_eq!(problem(&format!("https://localhost:{plain}"), None).await, ConnectionProblem::ServerWithoutTls);
}

#[tokio::test]
async fn a_web_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 16];
                if stream.read(&mut request).await.is_ok() {
                    // A client that is gone reads no answer.
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
            });
        }
    });
    let problem = problem(&format!("http://localhost:{port}"), None).await;
    assert_eq!(problem, ConnectionProblem::Http1);
    assert!(!problem.is_lasting() && problem.remedy().unwrap().contains("port"));
}

#[tokio::test]
async fn hosts_that_are_not_there_are_named() {
    assert_eq!(problem("http://127.0.0.1:1", None).await, ConnectionProblem::ConnectionRefused);
    let unknown = problem("http://host.invalid:7700", None).await;
    assert!(matches!(unknown, ConnectionProblem::UnknownHost(_)), "{unknown:?}");
}
