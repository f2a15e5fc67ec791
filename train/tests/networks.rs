//! Every network compared with torchvision's, and first layers for other channels with timm's (`fixtures/networks.json`, made
//! by `tests/golden/networks.py`).
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use fivefold_common::ids::Fold;
use fivefold_common::network::{Network, TensorKind};
use fivefold_common::spec::{Head, JobSetSpec, ModelName};
use fivefold_train::models::weights::{self, first_layer_for};
use fivefold_train::models::{Mode, Model};
use fivefold_train::torch::device::Device;
use fivefold_train::torch::tensor_file::TensorFile;
use fivefold_train::torch::tensors::NamedTensor;
use serde::Deserialize;
use tch::Kind;

use crate::reference::{fill, filled, fnv1a, images_of, numbers, relative_error};

mod reference;

#[derive(Deserialize)]
struct Fixture {
    names: Vec<Names>,
    forwards: Vec<Forward>,
    first_layers: Vec<FirstLayer>,
}

#[derive(Deserialize)]
struct Names {
    model: ModelName,
    width: u32,
    head: Head,
    channels: u32,
    classes: u32,
    count: usize,
    fnv1a: String,
}

#[derive(Deserialize)]
struct Forward {
    model: ModelName,
    width: u32,
    head: Head,
    mode: String,
    count: i64,
    size: i64,
    logits: Vec<f64>,
    first_running_mean: Vec<f64>,
}

#[derive(Deserialize)]
struct FirstLayer {
    channels: i64,
    values: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/networks.json")).unwrap()
}

fn spec(model_name: ModelName, base_width: u32, head: Head) -> JobSetSpec {
    JobSetSpec { model_name, base_width, head, ..JobSetSpec::default() }
}

/// The tensors as lines of name, shape and number format, sorted.
fn digest(mut lines: Vec<String>) -> String {
    lines.sort();
    format!("{:016x}", fnv1a(lines.concat().as_bytes()))
}

#[test]
fn names_and_shapes_of_every_network_are_torchvisions() {
    let cases = fixture().names;
    assert!(ModelName::ALL.iter().all(|&model| cases.iter().any(|case| case.model == model)));
    for Names { model, width, head, channels, classes, count, fnv1a } in cases {
        let network = Network::new(&spec(model, width, head), channels, classes);
        let lines: Vec<String> = network
            .tensors()
            .iter()
            .map(|tensor| {
                let format = if tensor.kind == TensorKind::BatchCount { "int64" } else { "float32" };
                format!("{} {:?} {format}\n", tensor.name, tensor.shape)
            })
            .collect();
        assert_eq!((lines.len(), digest(lines)), (count, fnv1a), "{model} {width} {head} {channels} {classes}");
    }
}

#[test]
fn a_model_has_the_tensors_that_are_listed() {
    for &model_name in ModelName::ALL {
        for head in [Head::Linear, Head::TwoLayer] {
            let network = Network::new(&spec(model_name, 16, head), 5, 3);
            let model = Model::build(&network, 1, Fold(0), Device::Cpu);
            let mut built: Vec<(String, Vec<i64>)> =
                model.tensors().into_iter().map(|named| (named.name, named.tensor.size())).collect();
            let shape = |shape: Vec<u32>| shape.into_iter().map(i64::from).collect();
            let mut listed: Vec<(String, Vec<i64>)> =
                network.tensors().into_iter().map(|tensor| (tensor.name, shape(tensor.shape))).collect();
            built.sort();
            listed.sort();
            assert_eq!(built, listed, "{model_name} {head}");
        }
    }
}

#[test]
fn logits_of_every_network_are_torchvisions() {
    tch::set_num_threads(1);
    for case in fixture().forwards {
        let Forward { model, width, head, count, size, .. } = case;
        let name = format!("{model} {width} {head} {}", case.mode);
        let network = Model::new(&spec(model, width, head), Fold(0), Device::Cpu);
        fill(&network);
        let mode = if case.mode == "train" { Mode::Train } else { Mode::Eval };
        let logits = tch::no_grad(|| network.forward(&images_of("images", count, size), mode));
        let error = relative_error(&numbers(&logits), &case.logits);
        let running_mean = network.buffers().iter().find(|buffer| buffer.name == "layer1.0.bn1.running_mean").unwrap();
        let statistics = relative_error(&numbers(&running_mean.tensor)[..8], &case.first_running_mean);
        println!("{name}: logits {error:.1e}, statistics {statistics:.1e}");
        assert!(error <= 1e-5 && statistics <= 1e-5, "{name}: {error:e}, {statistics:e}");
    }
}

#[test]
fn first_layers_for_other_channels_are_timms() {
    let weight = filled("first layer", &[4, 3, 7, 7], 0.0, 1.0);
    for FirstLayer { channels, values } in fixture().first_layers {
        let converted = first_layer_for(&weight, channels).unwrap();
        assert_eq!(converted.size(), [4, channels, 7, 7]);
        assert!(relative_error(&numbers(&converted), &values) <= 1e-6, "{channels} channels");
    }
}

#[test]
fn weights_for_rgb_load_into_a_model_for_other_channels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet18.safetensors");
    let spec = spec(ModelName::Resnet18, 8, Head::Linear);
    let source = Model::new(&spec, Fold(0), Device::Cpu);
    TensorFile::write(&path, &source.tensors(), ("format", "pt".into())).unwrap();
    for channels in [1, 4] {
        let model = Model::build(&Network::new(&spec, channels, 28), 7, Fold(1), Device::Cpu);
        let loaded = weights::load(&path, &model).unwrap();
        assert_eq!((loaded.taken.len() + 1, loaded.dropped.len()), (source.tensors().len(), 0));
        assert_eq!(loaded.converted.as_deref(), Some("conv1.weight"));
        let expected = first_layer_for(&source.parameters()[0].tensor, channels.into()).unwrap();
        assert_eq!(model.parameters()[0].tensor, expected);
        for (ours, theirs) in model.parameters().iter().zip(source.parameters()).skip(1) {
            assert_eq!(ours.tensor, theirs.tensor, "{}", ours.name);
        }
    }

    // Other sides of the kernel are not converted.
    let mut tensors = source.tensors();
    tensors[0].tensor = tensors[0].tensor.narrow(2, 0, 3).narrow(3, 0, 3).contiguous();
    TensorFile::write(&path, &tensors, ("format", "pt".into())).unwrap();
    let model = Model::build(&Network::new(&spec, 4, 28), 7, Fold(1), Device::Cpu);
    let before: Vec<f64> = model.parameters().iter().flat_map(|NamedTensor { tensor, .. }| numbers(tensor)).collect();
    let message = weights::load(&path, &model).unwrap_err().to_string();
    assert!(message.contains("1 misshaped: conv1.weight ([8, 3, 3, 3] for [8, 4, 7, 7])"), "{message}");
    let after: Vec<f64> = model.parameters().iter().flat_map(|NamedTensor { tensor, .. }| numbers(tensor)).collect();
    assert_eq!(before, after);
    assert_eq!(model.parameters()[0].tensor.kind(), Kind::Float);
}
