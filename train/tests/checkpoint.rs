//! Checkpoints and pretrained weights of a small model: they round-trip, a resumed training ends with the same bits, and
//! files that do not fit are refused with the reason.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};

use fivefold_common::ids::Fold;
use fivefold_common::spec::{Head, JobSetSpec, Optimizer as OptimizerKind, Precision};
use fivefold_train::check_checkpoint;
use fivefold_train::engine::state::TrainingState;
use fivefold_train::engine::training::{Training, load_model};
use fivefold_train::models::Model;
use fivefold_train::models::weights;
use fivefold_train::torch::device::{self, Device};
use fivefold_train::torch::tensor_file::TensorFile;
use fivefold_train::torch::tensors::NamedTensor;
use tch::{Kind, Tensor};

fn spec() -> JobSetSpec {
    JobSetSpec { base_width: 4, image_size: 64, batch_size: 4, intraop_threads: 2, ..JobSetSpec::default() }
}

const FOLD: Fold = Fold(2);

fn training(spec: &JobSetSpec) -> Training {
    device::prepare(Device::Cpu, spec).unwrap();
    Training::new(spec, FOLD, &[], Device::Cpu)
}

fn resumed(spec: &JobSetSpec, path: &Path) -> Training {
    let mut training = training(spec);
    training.resume(path).unwrap();
    training
}

/// Takes `steps` steps, each on another batch.
fn train(training: &mut Training, steps: u32) {
    for _ in 0..steps {
        let shift = i64::from(training.state.step);
        let ramp = (Tensor::arange(4 * 3 * 64 * 64, tch::kind::FLOAT_CPU) * (0.37 + shift as f64)).sin();
        let images = (ramp * 127.0 + 128.0).to_kind(Kind::Uint8).reshape([4, 3, 64, 64]);
        let targets = (Tensor::arange(4 * 28, tch::kind::INT64_CPU) + shift).remainder(5).eq(0);
        let loss = training.step(&images, &targets.to_kind(Kind::Float).reshape([4, 28])).unwrap();
        training.state.loss_sum += loss.double_value(&[]);
    }
}

fn bytes_of(training: &Training, folder: &Path) -> Vec<u8> {
    let path = folder.join("bytes.safetensors");
    training.write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn checkpoint_in(folder: &Path) -> PathBuf {
    let mut training = training(&spec());
    train(&mut training, 1);
    let path = folder.join("last.safetensors");
    training.write(&path).unwrap();
    path
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let sgd = JobSetSpec { optimizer: OptimizerKind::Sgd, nesterov: true, weight_decay: 1e-4, ..spec() };
    let bf16 = JobSetSpec { precision: Precision::Bf16, head: Head::Linear, ..spec() };
    for spec in [spec(), sgd, bf16] {
        let mut whole = training(&spec);
        train(&mut whole, 3);
        let path = folder.path().join("middle.safetensors");
        whole.write(&path).unwrap();
        train(&mut whole, 3);

        let mut resumed = resumed(&spec, &path);
        assert_eq!(resumed.optimizer.steps_taken(), 3);
        train(&mut resumed, 3);
        assert_eq!(resumed.state, whole.state);
        assert!(bytes_of(&resumed, folder.path()) == bytes_of(&whole, folder.path()));
        assert!(resumed.state.loss_sum.is_finite());
    }
}

#[test]
fn a_checkpoint_of_another_spec_or_fold_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint_in(folder.path());
    let refusal = |spec: &JobSetSpec, fold| {
        let mut training = Training::new(spec, fold, &[], Device::Cpu);
        let before = training.model.parameters()[0].tensor.copy();
        let error = training.resume(&path).unwrap_err();
        assert_eq!(training.model.parameters()[0].tensor, before);
        assert_eq!(training.state, TrainingState::new(spec));
        assert_eq!(check_checkpoint(&path, spec, fold).unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    let message = refusal(&JobSetSpec { learning_rate: 0.01, ..spec() }, FOLD);
    assert!(message.contains("learning_rate = 0.001, and the job has learning_rate = 0.01"), "{message}");
    let message = refusal(&JobSetSpec { base_width: 8, ..spec() }, FOLD);
    assert!(message.contains("base_width = 4"), "{message}");
    let message = refusal(&spec(), Fold(3));
    assert!(message.contains("fold 2, not of fold 3") && message.contains("last.safetensors"), "{message}");

    // Keys that do not affect training may differ, and scoring needs no optimiser.
    let other = JobSetSpec { name: "other".into(), tta: 1, max_attempts: 1, ..spec() };
    let model = Model::new(&other, FOLD, Device::Cpu);
    assert_eq!(load_model(&path, &other, FOLD, &model).unwrap().step, 1);
    check_checkpoint(&path, &other, FOLD).unwrap();
}

#[test]
fn a_checkpoint_of_another_version_with_other_keys_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint_in(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    // Of the same length: a key that this version does not know, in place of one that is then missing.
    let (known, unknown) = (b"keep_best", b"keep_some");
    let place = bytes.windows(known.len()).position(|window| window == known).unwrap();
    std::fs::write(&path, [&bytes[..place], unknown, &bytes[place + known.len()..]].concat()).unwrap();
    assert_eq!(resumed(&spec(), &path).state.step, 1);
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let load = |path: &Path| training(&spec()).resume(path).unwrap_err().to_string();
    let ones = NamedTensor { name: "conv1.weight".into(), tensor: Tensor::ones([4, 3, 7, 7], tch::kind::FLOAT_CPU) };
    TensorFile::write(&path, std::slice::from_ref(&ones), ("format", "pt".into())).unwrap();
    assert!(load(&path).contains("no \"fivefold\" in its metadata"));
    TensorFile::write(&path, &[ones], ("fivefold", "{\"format\": 99}".into())).unwrap();
    assert!(load(&path).contains("its format is 99"));
    std::fs::write(&path, b"not a safetensors file").unwrap();
    assert!(load(&path).contains("not a complete safetensors file"));
    assert!(load(&folder.path().join("none")).contains("cannot read"));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_checkpoint_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint_in(folder.path());
    let before = std::fs::read(&path).unwrap();
    // The path is a folder: the write fails, as on a full disk.
    let blocked = folder.path().join("blocked");
    std::fs::create_dir_all(blocked.join("inside")).unwrap();
    let error = training(&spec()).write(&blocked).unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["blocked", "last.safetensors"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_model_of_the_same_network_is_taken_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut trained = training(&spec());
    train(&mut trained, 2);
    let path = folder.path().join("model.safetensors");
    trained.write(&path).unwrap();
    let model = Model::new(&JobSetSpec { seed: 7, ..spec() }, Fold(0), Device::Cpu);
    weights::load_model(&path, &model).unwrap();
    for (loaded, expected) in model.tensors().iter().zip(trained.model.tensors()) {
        assert_eq!(loaded.name, expected.name);
        assert_eq!(loaded.tensor, expected.tensor, "{}", loaded.name);
    }
    let linear = Model::new(&JobSetSpec { head: Head::Linear, ..spec() }, Fold(0), Device::Cpu);
    let message = weights::load_model(&path, &linear).unwrap_err().to_string();
    assert!(message.contains("fc.weight") && message.contains("head."), "{message}");
}

#[test]
fn weights_load_by_torchvisions_names_without_imagenets_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet50.safetensors");
    let source = Model::new(&JobSetSpec { head: Head::Linear, ..spec() }, Fold(0), Device::Cpu);
    let named = |keep: &dyn Fn(&str) -> bool| -> Vec<NamedTensor> {
        source.tensors().into_iter().filter(|tensor| keep(&tensor.name)).collect()
    };
    let floats = tch::kind::FLOAT_CPU;
    let mut tensors = named(&|name| !name.starts_with("fc.") && !name.ends_with("num_batches_tracked"));
    tensors.push(NamedTensor { name: "fc.weight".into(), tensor: Tensor::ones([1000, 128], floats) });
    tensors.push(NamedTensor { name: "fc.bias".into(), tensor: Tensor::ones([1000], floats) });
    TensorFile::write(&path, &tensors, ("format", "pt".into())).unwrap();
    for head in [Head::Linear, Head::TwoLayer] {
        let model = Model::new(&JobSetSpec { head, ..spec() }, Fold(1), Device::Cpu);
        let own_head = model.parameters().last().unwrap().tensor.copy();
        assert_ne!(model.parameters()[0].tensor, source.parameters()[0].tensor);
        let loaded = weights::load(&path, &model).unwrap();
        assert_eq!(loaded.dropped, ["fc.bias", "fc.weight"]);
        assert_eq!(model.parameters()[0].tensor, source.parameters()[0].tensor);
        assert_eq!(model.parameters().last().unwrap().tensor, own_head);
    }

    // A head of the same shape is kept.
    TensorFile::write(&path, &named(&|_| true), ("format", "pt".into())).unwrap();
    let model = Model::new(&JobSetSpec { head: Head::Linear, ..spec() }, Fold(1), Device::Cpu);
    assert_eq!(weights::load(&path, &model).unwrap().dropped, [""; 0]);
    assert_eq!(model.parameters().last().unwrap().tensor, source.parameters().last().unwrap().tensor);

    let mut tensors = named(&|name| name != "bn1.bias" && name != "conv1.weight");
    tensors.push(NamedTensor { name: "conv1.weight".into(), tensor: Tensor::ones([4, 3, 3, 3], floats) });
    tensors.push(NamedTensor { name: "conv9.weight".into(), tensor: Tensor::ones([1], floats) });
    TensorFile::write(&path, &tensors, ("format", "pt".into())).unwrap();
    let message = weights::load(&path, &model).unwrap_err().to_string();
    for part in ["1 missing: bn1.bias", "1 extra: conv9.weight", "1 misshaped: conv1.weight ([4, 3, 3, 3]"] {
        assert!(message.contains(part), "{message}");
    }
}
