//! Weights files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use safetensors::tensor::Metadata;

/// The longest header that safetensors allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Checks header and size of a safetensors file, so that a wrong or truncated file is refused before its upload.
pub(crate) fn check_weights(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let cannot_read = || format!("cannot read {name}");
    let mut file = File::open(path).with_context(cannot_read)?;
    let size_bytes = file.metadata().with_context(cannot_read)?.len();
    let mut length = [0; 8];
    let mut header = Vec::new();
    let mut expected_bytes = None;
    if file.read_exact(&mut length).is_ok() {
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes <= size_bytes.min(MAX_HEADER_BYTES) {
            file.take(header_bytes).read_to_end(&mut header).with_context(cannot_read)?;
            let metadata = serde_json::from_slice::<Metadata>(&header).ok();
            expected_bytes = metadata.map(|metadata| (8 + header_bytes).saturating_add(metadata.data_len() as u64));
        }
    }
    let Some(expected_bytes) = expected_bytes else {
        anyhow::bail!("{name} is not a safetensors file; save a PyTorch model with safetensors.torch.save_file")
    };
    ensure!(
        size_bytes == expected_bytes,
        "{name} has {size_bytes} bytes, but its header describes {expected_bytes}; copy the file again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_safetensors_files_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let refusal = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            check_weights(&path).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for bytes in [&b""[..], b"PK\x03\x04 a zip file of PyTorch", b"\x02\0\0\0\0\0\0\0[]", b"\xff\xff\0\0\0\0\0\0{}"]
        {
            assert!(refusal(bytes).contains("is not a safetensors file"), "{bytes:?}");
        }
        let header = br#"{"fc.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header);
        file.extend_from_slice(&[0; 8]);
        assert_eq!(refusal(&file), "");
        assert!(refusal(&file[..file.len() - 1]).contains("its header describes"));
    }
}
