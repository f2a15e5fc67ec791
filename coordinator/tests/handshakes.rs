//! Clients of the real program whose TLS handshake fails, and its log about them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fivefold_client::{Credentials, authorized_channel};
use fivefold_proto::v1;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Status;
use tonic::transport::Endpoint;

use crate::site::program::{COORDINATOR, Program};

mod site;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate that `authority` signed, and its key, as `name.pem` and `name.key`.
fn write_signed(folder: &Path, name: &str, authority: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, authority).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

async fn call(url: &str, credentials: &Credentials) -> Result<(), Status> {
    let channel = authorized_channel(Endpoint::from_shared(url.to_owned()).unwrap(), credentials).unwrap();
    JobSetServiceClient::new(channel).list_job_sets(v1::ListJobSetsRequest::default()).await.map(|_| ())
}

/// Waits for a line of the log with these words, and returns it.
async fn line_with(program: &Program, words: &str) -> String {
    let start = Instant::now();
    loop {
        if let Some(line) = program.log().into_iter().find(|line| line.contains(words)) {
            return line;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no line with {words}: {:#?}", program.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_client_that_cannot_connect_is_in_the_log_with_its_address_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("ca.pem"), ours.pem()).unwrap();
    std::fs::write(file("other-ca.pem"), theirs.pem()).unwrap();
    for (name, signer) in [("hub", &ours), ("anna", &ours), ("stranger", &theirs)] {
        write_signed(folder.path(), name, signer);
    }
    let mut command = Command::new(COORDINATOR);
    for (flag, name) in [("--tls-cert", "hub.pem"), ("--tls-key", "hub.key"), ("--tls-client-ca", "ca.pem")] {
        command.arg(flag).arg(file(name));
    }
    let program = Program::start(command, &file("state")).unwrap();
    let url = program.url.replace("127.0.0.1", "localhost");
    let credentials = |ca: &str, client: Option<&str>| Credentials {
        ca_cert: Some(file(ca)),
        client_cert: client.map(|name| file(&format!("{name}.pem"))),
        client_key: client.map(|name| file(&format!("{name}.key"))),
        ..Credentials::default()
    };
    call(&url, &credentials("ca.pem", Some("anna"))).await.unwrap();
    assert!(!program.log().iter().any(|line| line.contains("could not connect")), "{:#?}", program.log());

    call(&url.replace("https", "http"), &Credentials::default()).await.unwrap_err();
    let line = line_with(&program, "it speaks without TLS, and needs https://").await;
    assert!(line.contains(" WARN 127.0.0.1:"), "{line}");
    for _ in 0..3 {
        call(&url, &credentials("other-ca.pem", Some("anna"))).await.unwrap_err();
    }
    line_with(&program, "it does not accept this coordinator's certificate").await;
    call(&url, &credentials("ca.pem", None)).await.unwrap_err();
    line_with(&program, "it shows no certificate, which --tls-client-ca demands").await;
    call(&url, &credentials("ca.pem", Some("stranger"))).await.unwrap_err();
    line_with(&program, "its certificate is not accepted").await;
    // One line a minute for each cause.
    assert_eq!(
        program.log().iter().filter(|line| line.contains("could not connect")).count(),
        4,
        "{:#?}",
        program.log()
    );
    call(&url, &credentials("ca.pem", Some("anna"))).await.unwrap();
}
