//! Weights files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use fivefold_common::network::{FileTensor, Network, Numbers, match_weights};
use fivefold_common::spec::JobSetSpec;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// The longest header that safetensors allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Checks header and size of a safetensors file, and that its tensors are those of the network that is to be trained, so that a
/// wrong or truncated file is refused before its upload.
pub(crate) fn check_weights(path: &Path, spec: &JobSetSpec) -> anyhow::Result<()> {
    let metadata = read_header(path)?;
    let network = Network::of(spec);
    let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, file_tensor(info)));
    if let Err(mismatch) = match_weights(&network.tensors(), &tensors.collect::<BTreeMap<_, _>>()) {
        let (name, model, width) = (path.display(), spec.model_name, spec.base_width);
        bail!("the tensors of {name} are not those of {model} with base_width = {width}: {mismatch}");
    }
    Ok(())
}

fn file_tensor(info: &TensorInfo) -> FileTensor {
    let numbers = match info.dtype {
        Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16 => Numbers::Float,
        Dtype::I64 => Numbers::Integer,
        _ => Numbers::Other,
    };
    FileTensor { shape: info.shape.iter().map(|&side| side as u64).collect(), numbers }
}

fn read_header(path: &Path) -> anyhow::Result<Metadata> {
    let name = path.display();
    let cannot_read = || format!("cannot read {name}");
    let mut file = File::open(path).with_context(cannot_read)?;
    let size_bytes = file.metadata().with_context(cannot_read)?.len();
    let mut length = [0; 8];
    let mut header = Vec::new();
    let mut described = None;
    if file.read_exact(&mut length).is_ok() {
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes <= size_bytes.min(MAX_HEADER_BYTES) {
            file.take(header_bytes).read_to_end(&mut header).with_context(cannot_read)?;
            let metadata = serde_json::from_slice::<Metadata>(&header).ok();
            described =
                metadata.map(|metadata| ((8 + header_bytes).saturating_add(metadata.data_len() as u64), metadata));
        }
    }
    let Some((expected_bytes, metadata)) = described else {
        bail!("{name} is not a safetensors file; save a PyTorch model with safetensors.torch.save_file")
    };
    ensure!(
        size_bytes == expected_bytes,
        "{name} has {size_bytes} bytes, but its header describes {expected_bytes}; copy the file again"
    );
    Ok(metadata)
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
            read_header(&path).err().map(|error| error.to_string()).unwrap_or_default()
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

    #[test]
    fn weights_have_to_be_those_of_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.safetensors");
        let header = br#"{"module.conv1.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header);
        file.extend_from_slice(&[0; 8]);
        std::fs::write(&path, &file).unwrap();
        let problem = check_weights(&path, &JobSetSpec::default()).unwrap_err().to_string();
        assert!(problem.contains("mine.safetensors are not those of resnet50"), "{problem}");
        assert!(problem.contains("its names begin with \"module.\"") && problem.len() < 400, "{problem}");
    }
}
