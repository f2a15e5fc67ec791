//! Transfers over connections that break, against a real server.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use fake_server::FakeServer;
use fivefold_client::{Connection, Credentials, RetryPolicy, Source, TransferError};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::Digest;

mod fake_server;

const CHUNK_BYTES: u64 = 512 * 1024;

fn bytes() -> Vec<u8> {
    (0..1_200_000_u32).map(|place| (place * 31 % 251) as u8).collect()
}

/// Lets the server hold the bytes, and returns their digest.
fn hold(server: &FakeServer) -> Digest {
    let digest = Digest::of(&bytes());
    server.held().artifacts.insert(digest.to_string(), bytes());
    digest
}

async fn connect(server: &FakeServer) -> Connection {
    let address = format!("127.0.0.1:{}", server.serve(None).await).parse().unwrap();
    Connection::new(&address, &Credentials::default(), RetryPolicy::unattended(), "test").unwrap()
}

#[tokio::test]
async fn an_upload_resumes_at_the_offset_that_the_coordinator_holds() {
    let server = FakeServer::default();
    let connection = connect(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, bytes()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let transfers =
        connection.transfers().with_progress(move |progress| sink.lock().unwrap().push(progress.done_bytes));
    let uploaded = transfers.upload(ArtifactKind::Weights, path.as_path().into()).await.unwrap();
    assert_eq!((uploaded.digest, uploaded.size_bytes), (Digest::of(&bytes()), 1_200_000));
    assert_eq!(server.held().artifacts[&uploaded.digest.to_string()], bytes());
    assert_eq!(server.held().upload_offsets, [0, CHUNK_BYTES]);
    assert_eq!(told.lock().unwrap().last(), Some(&1_200_000));

    let again = transfers.upload(ArtifactKind::Weights, Source::Memory(vec![bytes().into()])).await.unwrap();
    assert_eq!(again, uploaded);
    assert_eq!(server.held().upload_offsets.len(), 2, "it is there already");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let connection = connect(&FakeServer::default()).await;
    let missing = connection.transfers().upload(ArtifactKind::Weights, "/nowhere/weights".into()).await;
    assert!(missing.unwrap_err().to_string().starts_with("/nowhere/weights: "));
}

#[tokio::test]
async fn a_download_resumes_and_leaves_one_file() {
    let server = FakeServer::default();
    let digest = hold(&server);
    let connection = connect(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    connection.transfers().download(digest, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(server.held().download_offsets, [0, 600_000]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_download_of_other_bytes_is_repeated_and_then_refused() {
    let server = FakeServer::default();
    let digest = hold(&server);
    let connection = connect(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, "old").unwrap();
    server.held().false_downloads = 4;
    let refused = connection.transfers().download(digest, &path).await.unwrap_err();
    assert!(matches!(refused, TransferError::Mismatch { tries: 3, .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    server.held().false_downloads = 1;
    connection.transfers().download(digest, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
}

#[tokio::test]
async fn a_fetch_resumes_the_part_of_an_earlier_process_and_happens_once() {
    let server = FakeServer::default();
    let digest = hold(&server);
    let connection = connect(&server).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("{digest}.part")), &bytes()[..1000]).unwrap();
    let path = connection.transfers().fetch(digest, folder.path()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(server.held().download_offsets[0], 1000);
    let fetched = server.held().download_offsets.len();
    assert_eq!(connection.transfers().fetch(digest, folder.path()).await.unwrap(), path);
    assert_eq!(server.held().download_offsets.len(), fetched);

    // A file or a part of other bytes is replaced.
    std::fs::write(&path, "damaged").unwrap();
    std::fs::write(folder.path().join(format!("{digest}.part")), vec![7; 2_000_000]).unwrap();
    connection.transfers().fetch(digest, folder.path()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_artifact_that_is_missing_is_refused() {
    let connection = connect(&FakeServer::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let refused = connection.transfers().download(Digest::of(b"nothing"), &path).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no such artifact (NOT_FOUND)");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
