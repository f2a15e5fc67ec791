//! Every network of the table as an ONNX model: its structure, and its outputs compared with torchvision's (the fixture of
//! `train/tests/networks.rs`). `tests/interop` runs exported models with onnxruntime.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::{BTreeMap, BTreeSet};

use fivefold_common::decision_rule::DecisionRule;
use fivefold_common::network::{Network, TensorKind};
use fivefold_common::spec::{Head, JobSetSpec, Loss, ModelName, Normalization, Task};
use fivefold_common::threshold::EmptyRows;
use fivefold_onnx::proto::{DataType, Dimension, GraphProto, ModelProto, ValueInfoProto};
use fivefold_onnx::{About, IMAGES, LOGITS, SCORES, TrainedModel, onnx_model, write};
use prost::Message as _;
use serde::Deserialize;

use crate::interpreter::{Array, run};
use crate::trained::{about, images_of, tensors_of, write_checkpoint};

mod interpreter;
mod trained;

#[derive(Deserialize)]
struct Fixture {
    forwards: Vec<Forward>,
}

#[derive(Deserialize)]
struct Forward {
    model: ModelName,
    width: u32,
    head: Head,
    mode: String,
    count: usize,
    size: usize,
    logits: Vec<f64>,
}

fn exported(spec: &JobSetSpec) -> ModelProto {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fold-2.safetensors");
    write_checkpoint(&path, spec, &tensors_of(spec));
    let file = folder.path().join("fold-2.onnx");
    write(&TrainedModel::read(&path).unwrap(), &about(), &file).unwrap();
    ModelProto::decode(std::fs::read(&file).unwrap().as_slice()).unwrap()
}

fn spec(model_name: ModelName, base_width: u32, head: Head) -> JobSetSpec {
    JobSetSpec { model_name, base_width, head, ..JobSetSpec::default() }
}

#[test]
fn logits_of_every_network_are_torchvisions() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../train/tests/fixtures/networks.json")).unwrap();
    let mut seen = BTreeSet::new();
    for Forward { model, width, head, count, size, logits, mode } in fixture.forwards {
        // Every network in narrow, and one in its full width: wide ones take long.
        let is_wide = width == 64 && model != ModelName::Resnet18;
        if mode != "eval" || is_wide {
            continue;
        }
        let graph = exported(&spec(model, width, head)).graph.unwrap();
        let images = Array { shape: vec![count, 3, size, size], values: images_of("images", count, size) };
        let outputs = run(&graph, images);
        assert_eq!(outputs[LOGITS].shape, [count, 28]);
        let scale = logits.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let differences = outputs[LOGITS].values.iter().zip(&logits).map(|(ours, theirs)| (ours - theirs).abs());
        let error = differences.fold(0.0f64, f64::max) / scale;
        println!("{model} {width} {head}: {error:.1e}");
        assert!(error <= 1e-5, "{model} {width} {head}: {error:e}");
        for (logit, score) in outputs[LOGITS].values.iter().zip(&outputs[SCORES].values) {
            assert!((score - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-12, "{logit} {score}");
        }
        seen.insert(model.to_string());
    }
    assert_eq!(seen.len(), ModelName::ALL.len());
}

#[test]
fn normalised_images_give_what_the_bare_network_gives_for_them() {
    let bare = spec(ModelName::Resnet18, 8, Head::Linear);
    let normalising = JobSetSpec { normalization: Normalization::Imagenet, ..bare.clone() };
    let images = Array { shape: vec![1, 3, 40, 24], values: images_of("normalised", 1, 40)[..3 * 40 * 24].to_vec() };
    let (mean, deviation) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let normalised = images.values.iter().enumerate().map(|(place, x)| {
        let channel = place / (40 * 24);
        (x - f64::from(mean[channel])) / f64::from(deviation[channel])
    });
    let normalised = Array { values: normalised.collect(), shape: images.shape.clone() };
    let with_own = run(&exported(&normalising).graph.unwrap(), images.clone());
    let of_normalised = run(&exported(&bare).graph.unwrap(), normalised);
    let of_plain = run(&exported(&bare).graph.unwrap(), images);
    for (place, logit) in with_own[LOGITS].values.iter().enumerate() {
        assert!((logit - of_normalised[LOGITS].values[place]).abs() < 1e-9);
        assert!((logit - of_plain[LOGITS].values[place]).abs() > 1e-6);
    }
}

/// Convolutions of each network, those of shortcuts included, and additions.
fn counts(model: ModelName) -> (usize, usize) {
    match model {
        ModelName::Resnet18 => (20, 8),
        ModelName::Resnet34 => (36, 16),
        ModelName::Resnet50 | ModelName::Resnext5032x4d | ModelName::WideResnet502 => (53, 16),
        ModelName::Resnet101 | ModelName::Resnext10132x8d => (104, 33),
        ModelName::Resnet152 => (155, 50),
    }
}

fn operators(graph: &GraphProto) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for node in &graph.node {
        *counts.entry(node.op_type.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn every_network_has_its_layers_and_tensors() {
    for &model in ModelName::ALL {
        for head in [Head::Linear, Head::TwoLayer] {
            let spec = JobSetSpec { normalization: Normalization::Imagenet, ..spec(model, 16, head) };
            let graph = exported(&spec).graph.unwrap();
            let (convolutions, additions) = counts(model);
            let of_head = if head == Head::TwoLayer { 1 } else { 0 };
            let shortcuts = 4 - usize::from(matches!(model, ModelName::Resnet18 | ModelName::Resnet34));
            let expected = BTreeMap::from([
                ("Sub", 1),
                ("Div", 1),
                ("Conv", convolutions),
                ("BatchNormalization", convolutions + of_head),
                ("Relu", convolutions - shortcuts),
                ("MaxPool", 1),
                ("Add", additions),
                ("GlobalAveragePool", 1),
                ("Flatten", 1),
                ("Gemm", 1 + of_head),
                ("Sigmoid", 1),
            ]);
            assert_eq!(operators(&graph), expected, "{model} {head}");
            check_tensors(&graph, &spec);
            check_order(&graph);
        }
    }
}

/// The initializers are the tensors of the network and the constants of the normalisation, fp32 and of the right length.
fn check_tensors(graph: &GraphProto, spec: &JobSetSpec) {
    let mut expected: Vec<(String, Vec<i64>)> = Network::of(spec)
        .tensors()
        .into_iter()
        .filter(|tensor| tensor.kind != TensorKind::BatchCount)
        .map(|tensor| (tensor.name, tensor.shape.into_iter().map(i64::from).collect()))
        .chain(["mean", "deviation"].map(|name| (format!("normalization.{name}"), vec![1, 3, 1, 1])))
        .collect();
    let mut found: Vec<_> = graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.dims.clone())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for tensor in &graph.initializer {
        assert_eq!(tensor.data_type(), DataType::Float);
        assert_eq!(tensor.raw_data.len() as i64, 4 * tensor.dims.iter().product::<i64>(), "{}", tensor.name);
    }
}

/// Each operation takes what is there before it; names are unique; every tensor and every output of an operation is used.
fn check_order(graph: &GraphProto) {
    let mut known: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    known.insert(&graph.input[0].name);
    let mut unused = known.clone();
    let mut names = BTreeSet::new();
    for node in &graph.node {
        assert!(names.insert(&node.name), "two operations are called {}", node.name);
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{} takes {input} before it is there", node.name);
            unused.remove(input.as_str());
        }
        for output in &node.output {
            assert!(known.insert(output), "{output} is there twice");
            unused.insert(output);
        }
    }
    assert_eq!(unused.into_iter().collect::<Vec<_>>(), [SCORES]);
}

fn shape(value: &ValueInfoProto) -> Vec<String> {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    assert_eq!(tensor.elem_type(), DataType::Float);
    let dimensions = tensor.shape.as_ref().unwrap().dim.iter().map(|dimension| dimension.value.as_ref().unwrap());
    dimensions
        .map(|dimension| match dimension {
            Dimension::DimValue(length) => length.to_string(),
            Dimension::DimParam(name) => name.clone(),
        })
        .collect()
}

#[test]
fn a_file_says_what_it_is() {
    let model = exported(&spec(ModelName::Resnext5032x4d, 16, Head::TwoLayer));
    assert_eq!((model.ir_version, model.opset_import[0].version, model.opset_import.len()), (8, 17, 1));
    let properties: BTreeMap<&str, &str> =
        model.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    let classes: Vec<String> = serde_json::from_str(properties["classes"]).unwrap();
    assert_eq!(classes, about().classes);
    assert_eq!(properties["threshold"].parse::<f64>().unwrap(), 0.1 + 0.2);
    for (key, value) in [
        ("job_set", "js-abcdefgh"),
        ("fold", "2"),
        ("task", "multilabel"),
        ("scores", "sigmoid"),
        ("model_name", "resnext50_32x4d"),
        ("image_size", "512"),
        ("fivefold_version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(properties[key], value, "{key}");
    }
    let graph = model.graph.unwrap();
    let values: Vec<_> =
        graph.input.iter().chain(&graph.output).map(|value| (value.name.as_str(), shape(value).join(" "))).collect();
    let expected =
        [(IMAGES, "batch 3 height width"), (LOGITS, "batch 28"), (SCORES, "batch 28")].map(|(a, b)| (a, b.to_owned()));
    assert_eq!(values, expected);
}

#[test]
fn scores_of_a_multiclass_model_are_a_softmax() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let (task, loss) = (Task::Multiclass, Loss::CrossEntropy);
    let spec = JobSetSpec { task, loss, ..spec(ModelName::Resnet18, 8, Head::Linear) };
    write_checkpoint(&path, &spec, &tensors_of(&spec));
    let about = About { rule: DecisionRule::Argmax, ..about() };
    let model = onnx_model(&TrainedModel::read(&path).unwrap(), &about).unwrap();
    let properties: BTreeMap<&str, &str> =
        model.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    assert_eq!((properties["task"], properties["scores"]), ("multiclass", "softmax"));
    assert!(!properties.contains_key("threshold") && !properties.contains_key("thresholds"));
    let graph = model.graph.unwrap();
    let values: Vec<f64> = (0..3 * 32 * 32).map(|place| f64::from(place % 7) / 7.0).collect();
    let outputs = run(&graph, Array { shape: vec![1, 3, 32, 32], values });
    let (logits, scores) = (&outputs[LOGITS].values, &outputs[SCORES].values);
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let ratio = (logits[3] - logits[5]).exp();
    assert!((scores[3] / scores[5] / ratio - 1.0).abs() < 1e-9);

    let thresholds = vec![0.25; 28];
    let rule = DecisionRule::PerClass { thresholds: thresholds.clone(), empty_rows: EmptyRows::Leave };
    let model = onnx_model(&TrainedModel::read(&path).unwrap(), &About { rule, ..about }).unwrap();
    let found = model.metadata_props.iter().find(|entry| entry.key == "thresholds").unwrap();
    assert_eq!(serde_json::from_str::<Vec<f64>>(&found.value).unwrap(), thresholds);
}

#[test]
fn a_model_of_other_channels_names_them() {
    let channels = ["red", "green", "blue", "yellow"].map(str::to_owned).to_vec();
    let graph = exported(&JobSetSpec { channels, ..spec(ModelName::Resnet18, 8, Head::Linear) }).graph.unwrap();
    assert_eq!(shape(&graph.input[0]).join(" "), "batch 4 height width");
    assert_eq!(graph.input[0].doc_string, "red, green, blue and yellow, from 0 to 1");
}

#[test]
fn classes_have_to_be_as_many_as_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let spec = spec(ModelName::Resnet18, 8, Head::Linear);
    write_checkpoint(&path, &spec, &tensors_of(&spec));
    let mut about = about();
    about.classes.pop();
    let refused = onnx_model(&TrainedModel::read(&path).unwrap(), &about).unwrap_err().to_string();
    assert_eq!(refused, "the model has 28 outputs, and 27 classes are named");
}
