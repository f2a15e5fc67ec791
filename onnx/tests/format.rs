//! The messages compared with ONNX's own library: it wrote `fixtures/operators.onnx` (`tests/golden/onnx_file.py`), a model with
//! every operator in use.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::BTreeSet;

use fivefold_common::spec::{Head, JobSetSpec, ModelName, Normalization};
use fivefold_onnx::proto::{AttributeProto, ModelProto, NodeProto};
use fivefold_onnx::{TrainedModel, onnx_model};
use prost::Message as _;

use crate::trained::{about, tensors_of, write_checkpoint};

mod trained;

const OPERATORS: &[u8] = include_bytes!("fixtures/operators.onnx");

#[test]
fn messages_have_the_bytes_of_onnxs_own_library() {
    let model = ModelProto::decode(OPERATORS).unwrap();
    let graph = model.graph.as_ref().unwrap();
    assert_eq!((graph.node.len(), graph.initializer.len(), graph.input.len(), graph.output.len()), (11, 9, 1, 2));
    // A field that is unknown here or encoded in another way would change the bytes.
    assert_eq!(model.encode_to_vec(), OPERATORS);
}

/// An operation's operator, the number of its inputs, and names and types of its attributes.
fn form(node: &NodeProto) -> String {
    let mut attributes: Vec<String> = node.attribute.iter().map(attribute_form).collect();
    attributes.sort();
    format!("{} {} {}", node.op_type, node.input.len(), attributes.join(" "))
}

fn attribute_form(attribute: &AttributeProto) -> String {
    format!("{} {:?} {}", attribute.name, attribute.r#type(), attribute.ints.len())
}

#[test]
fn operations_have_the_form_that_onnxs_checker_accepts() {
    let forms =
        |model: &ModelProto| -> BTreeSet<String> { model.graph.as_ref().unwrap().node.iter().map(form).collect() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fold-2.safetensors");
    let spec = JobSetSpec {
        model_name: ModelName::Resnet18,
        base_width: 8,
        head: Head::TwoLayer,
        normalization: Normalization::Imagenet,
        ..JobSetSpec::default()
    };
    write_checkpoint(&path, &spec, &tensors_of(&spec));
    let ours = onnx_model(&TrainedModel::read(&path).unwrap(), &about()).unwrap();
    assert_eq!(forms(&ours), forms(&ModelProto::decode(OPERATORS).unwrap()));
}
