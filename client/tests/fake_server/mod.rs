//! A server of the artifact service in memory, whose streams break off after one chunk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use fivefold_common::ids::Digest;
use fivefold_proto::status::{Reason, status};
use fivefold_proto::v1::artifact_service_server::{ArtifactService, ArtifactServiceServer};
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::{
    DownloadArtifactRequest, DownloadArtifactResponse, GetUploadRequest, GetUploadResponse, UploadArtifactRequest,
    UploadArtifactResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Iter, iter};
use tonic::transport::ServerTlsConfig;
use tonic::{Request, Response, Status, Streaming};

/// What the server holds, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) artifacts: HashMap<String, Vec<u8>>,
    pub(crate) parts: HashMap<String, Vec<u8>>,
    pub(crate) upload_offsets: Vec<u64>,
    pub(crate) download_offsets: Vec<u64>,
    /// So many downloads send other bytes.
    pub(crate) false_downloads: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FakeServer(Arc<Mutex<Held>>);

impl FakeServer {
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    /// Serves on a free port of this machine, and returns the port.
    pub(crate) async fn serve(&self, tls: Option<ServerTlsConfig>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let server = server.add_service(ArtifactServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        port
    }
}

fn broken_off() -> Status {
    status(Reason::Unavailable, "the coordinator is stopping")
}

#[tonic::async_trait]
impl ArtifactService for FakeServer {
    async fn get_upload(&self, request: Request<GetUploadRequest>) -> Result<Response<GetUploadResponse>, Status> {
        let digest = request.into_inner().artifact.unwrap().digest;
        let held = self.held();
        let offset_bytes = held.parts.get(&digest).map_or(0, |part| part.len() as u64);
        Ok(Response::new(GetUploadResponse { offset_bytes, complete: held.artifacts.contains_key(&digest) }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Result<Response<UploadArtifactResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.unwrap().part else { panic!("no header") };
        let artifact = header.artifact.unwrap();
        self.held().upload_offsets.push(header.offset_bytes);
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { panic!("no chunk") };
            let mut held = self.held();
            held.parts.entry(artifact.digest.clone()).or_default().extend_from_slice(&chunk);
            if held.upload_offsets.len() == 1 {
                return Err(broken_off());
            }
        }
        let mut held = self.held();
        let whole = held.parts.remove(&artifact.digest).unwrap_or_default();
        if Digest::of(&whole).to_string() != artifact.digest {
            return Err(status(Reason::DigestMismatch, "the bytes have another digest"));
        }
        held.artifacts.insert(artifact.digest.clone(), whole);
        Ok(Response::new(UploadArtifactResponse { artifact: Some(artifact) }))
    }

    type DownloadArtifactStream = Iter<std::vec::IntoIter<Result<DownloadArtifactResponse, Status>>>;

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let request = request.into_inner();
        let mut held = self.held();
        held.download_offsets.push(request.offset_bytes);
        let mut whole = match held.artifacts.get(&request.digest) {
            Some(whole) => whole.clone(),
            None => return Err(status(Reason::NotFound, "there is no such artifact")),
        };
        let size_bytes = whole.len() as u64;
        if request.offset_bytes > size_bytes {
            return Err(status(Reason::BadField, "the offset is behind the end"));
        }
        if held.false_downloads > 0 {
            held.false_downloads -= 1;
            whole[0] ^= 1;
        }
        let is_broken = held.download_offsets.len() == 1;
        let mut rest = Bytes::from(whole.split_off(request.offset_bytes as usize));
        if is_broken {
            rest.truncate(rest.len() / 2);
        }
        let mut messages = vec![Ok(DownloadArtifactResponse { chunk: rest, size_bytes })];
        messages.extend(is_broken.then(|| Err(broken_off())));
        Ok(Response::new(iter(messages)))
    }
}
