//! A check of a weights file before it is uploaded.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use safetensors::tensor::Metadata;

/// The largest header that safetensors allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Refuses a file whose header is not that of a safetensors file. The tensors are not read: they may be large.
pub(crate) fn check_safetensors(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let size_bytes = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    ensure!(
        read_header(file, size_bytes).is_some(),
        "{name} is not a safetensors file; save a PyTorch model with safetensors.torch.save_file"
    );
    Ok(())
}

fn read_header(mut file: File, size_bytes: u64) -> Option<Metadata> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes >= size_bytes.min(MAX_HEADER_BYTES) {
        return None;
    }
    let mut header = Vec::new();
    file.take(header_bytes).read_to_end(&mut header).ok()?;
    serde_json::from_slice(&header).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for bytes in [&b""[..], b"PK\x03\x04 a zip file of PyTorch", b"\x02\0\0\0\0\0\0\0[]", b"\xff\xff\0\0\0\0\0\0{}"]
        {
            std::fs::write(&path, bytes).unwrap();
            assert!(check_safetensors(&path).unwrap_err().to_string().contains("not a safetensors file"));
        }
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}....").unwrap();
        check_safetensors(&path).unwrap();
    }
}
