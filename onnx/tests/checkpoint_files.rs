//! Checkpoints that cannot be exported.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::Path;

use fivefold_common::spec::{Head, JobSetSpec, ModelName};
use fivefold_onnx::TrainedModel;
use safetensors::tensor::Dtype;

use crate::trained::{NamedBytes, tensors_of, write_checkpoint, write_safetensors};

mod trained;

fn spec(head: Head) -> JobSetSpec {
    JobSetSpec { model_name: ModelName::Resnet18, base_width: 8, head, ..JobSetSpec::default() }
}

#[track_caller]
fn refused(path: &Path, wanted: &str) {
    let message = TrainedModel::read(path).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains(wanted) && message.contains("a.safetensors"), "{message}");
}

#[test]
fn the_optimiser_is_ignored_and_batch_counts_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut tensors = tensors_of(&spec(Head::Linear));
    tensors.retain(|tensor| tensor.dtype == Dtype::F32);
    let state = NamedBytes {
        name: "optimizer.exp_avg.fc.bias".to_owned(),
        dtype: Dtype::F32,
        shape: vec![28],
        bytes: vec![0; 4 * 28],
    };
    tensors.push(state);
    write_checkpoint(&path, &spec(Head::Linear), &tensors);
    let model = TrainedModel::read(&path).unwrap();
    assert_eq!((model.fold.0, model.classes, model.spec), (2, 28, spec(Head::Linear)));
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    refused(&path, "cannot read");
    let tensors = tensors_of(&spec(Head::Linear));
    write_checkpoint(&path, &spec(Head::Linear), &tensors);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 20, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        refused(&path, "not a complete safetensors file");
    }
    write_safetensors(&path, &tensors, r#"{"format": 2}"#);
    refused(&path, "its format is 2, and this version reads 1");
    write_safetensors(&path, &tensors, r#"{"format": 1, "fold": 0}"#);
    refused(&path, "missing field `spec`");
}

#[test]
fn other_tensors_than_those_of_the_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let changed = |change: &dyn Fn(&mut Vec<NamedBytes>)| {
        let mut tensors = tensors_of(&spec(Head::TwoLayer));
        change(&mut tensors);
        write_checkpoint(&path, &spec(Head::TwoLayer), &tensors);
    };
    let place = |tensors: &[NamedBytes], name: &str| tensors.iter().position(|tensor| tensor.name == name).unwrap();

    changed(&|tensors| drop(tensors.remove(place(tensors, "layer4.1.bn2.running_var"))));
    refused(&path, "layer4.1.bn2.running_var is missing");
    changed(&|tensors| drop(tensors.remove(place(tensors, "head.2.bias"))));
    refused(&path, "head.2.bias is missing");
    changed(&|tensors| {
        let at = place(tensors, "head.0.weight");
        tensors[at].shape = vec![32, 32];
        tensors[at].bytes.resize(4 * 32 * 32, 0);
    });
    refused(&path, "head.0.weight is F32 [32, 32] instead of F32 [16, 64]");
    changed(&|tensors| {
        let at = place(tensors, "bn1.weight");
        tensors[at].dtype = Dtype::F16;
        tensors[at].bytes.truncate(16);
    });
    refused(&path, "bn1.weight is F16 [8] instead of F32 [8]");
    changed(&|tensors| {
        let at = place(tensors, "bn1.weight");
        tensors[at].name = "bn1.weights".to_owned();
    });
    refused(&path, "bn1.weight is missing");
    write_checkpoint(&path, &spec(Head::Linear), &tensors_of(&spec(Head::TwoLayer)));
    refused(&path, "fc.bias is missing");
    changed(&|tensors| {
        let copy = NamedBytes { name: "bn1.other".to_owned(), dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] };
        tensors.push(copy);
    });
    refused(&path, "bn1.other is not a tensor of the network");
}
