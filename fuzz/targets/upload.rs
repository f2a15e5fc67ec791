//! Uploads that start anywhere, break off, are repeated or have a wrong digest: a blob is stored completely or not at all.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use fivefold_common::ids::Digest;
use fivefold_coordinator::blobs::folder::FolderBlobs;
use fivefold_coordinator::blobs::{Blobs as _, Claims};
use fivefold_coordinator::error::Error;
use libfuzzer_sys::fuzz_target;

const BLOBS: [&[u8]; 2] = [b"fivefold", b"a checkpoint of many more bytes than the other one"];

#[derive(Debug, Arbitrary)]
struct Try {
    blob: bool,
    offset_bytes: u8,
    announced_bytes: u8,
    chunks: Vec<u8>,
    lies: bool,
    finishes: bool,
}

fuzz_target!(|tries: Vec<Try>| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    runtime.block_on(async {
        for attempt in tries {
            let bytes = BLOBS[usize::from(attempt.blob)];
            let digest = Digest::of(bytes);
            // Opened again, as after a crash.
            let blobs = FolderBlobs::open(folder.path()).await.expect("it opens");
            let size_bytes = if attempt.lies { u64::from(attempt.announced_bytes) } else { bytes.len() as u64 };
            let claim = Claims::default().claim(digest).expect("nobody else has it");
            let mut rest = &bytes[bytes.len().min(attempt.offset_bytes.into())..];
            let mut chunks = Vec::new();
            for length in attempt.chunks {
                let (chunk, after) = rest.split_at(rest.len().min(length.into()));
                rest = after;
                let sent = if attempt.lies { vec![length; length.into()] } else { chunk.to_vec() };
                chunks.push(Ok(Bytes::from(sent)));
            }
            if !attempt.finishes {
                chunks.push(Err(Error::Unavailable("it breaks off".into())));
            }
            let chunks = Box::pin(tokio_stream::iter(chunks));
            let _ = blobs.upload(&claim, size_bytes, attempt.offset_bytes.into(), chunks).await;
            for bytes in BLOBS {
                if let Ok(held) = blobs.read(Digest::of(bytes)).await {
                    assert_eq!(held, bytes, "a blob that is there is whole");
                }
            }
        }
    });
});
