//! The operations of a network.

use std::collections::BTreeMap;

use bytes::Bytes;
use fivefold_common::network::{BATCH_NORM_EPSILON, Convolution, Head, Linear, ResidualBlock};
use fivefold_common::spec::Task;

use crate::proto::{
    AttributeProto, AttributeType, DataType, Dimension, DimensionProto, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::trained_model::{TrainedModel, Weights};

/// The name of the input.
pub const IMAGES: &str = "images";
/// The name of the output before the sigmoid or softmax.
pub const LOGITS: &str = "logits";
/// The name of the output after the sigmoid or softmax.
pub const SCORES: &str = "scores";

/// The function from logits to scores.
pub(crate) fn scores_of(task: Task) -> &'static str {
    match task {
        Task::Multilabel => "sigmoid",
        Task::Multiclass => "softmax",
    }
}

/// The network in evaluation mode: from images of 0 to 1 to logits and scores, for any batch and image size.
///
/// Weights keep their names. The output of an operation has the name of the operation: that of its layer, the last one
/// aside.
pub(crate) fn graph_of(model: &TrainedModel) -> GraphProto {
    let mut graph = GraphBuilder { weights: &model.weights, nodes: Vec::new(), initializers: Vec::new() };
    let mut x = graph.normalized(model);
    x = graph.normed_convolution(&model.network.stem, &x);
    x = graph.relu("relu", &x);
    let window = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
    x = graph.node("MaxPool", "maxpool", &[&x], window);
    for block in &model.network.blocks {
        x = graph.block(block, &x);
    }
    x = graph.node("GlobalAveragePool", "avgpool", &[&x], Vec::new());
    x = graph.node("Flatten", "flatten", &[&x], vec![int("axis", 1)]);
    graph.head(&model.network.head, &x);
    match model.spec.task {
        Task::Multilabel => graph.node("Sigmoid", SCORES, &[LOGITS], Vec::new()),
        Task::Multiclass => graph.node("Softmax", SCORES, &[LOGITS], vec![int("axis", -1)]),
    };

    let (batch, classes) = (any_length("batch"), Dimension::DimValue(model.classes.into()));
    let channels = Dimension::DimValue(model.network.stem.inputs.into());
    let image_shape = vec![batch.clone(), channels, any_length("height"), any_length("width")];
    GraphProto {
        name: model.spec.model_name.to_string(),
        input: vec![value(IMAGES, image_shape, &format!("{}, from 0 to 1", model.channels()))],
        output: vec![
            value(LOGITS, vec![batch.clone(), classes.clone()], "logits by class"),
            value(
                SCORES,
                vec![batch, classes],
                &format!("scores by class, from 0 to 1: the {} of the logits", scores_of(model.spec.task)),
            ),
        ],
        node: graph.nodes,
        initializer: graph.initializers,
    }
}

/// Collects operations in their order, and the weights that they use.
struct GraphBuilder<'a> {
    weights: &'a BTreeMap<String, Weights>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl GraphBuilder<'_> {
    /// The model's input: the images, normalised as for its training.
    fn normalized(&mut self, model: &TrainedModel) -> String {
        let Some((mean, deviation)) = model.spec.normalization.mean_and_deviation() else { return IMAGES.to_owned() };
        let mean = self.per_channel("normalization.mean", mean);
        let deviation = self.per_channel("normalization.deviation", deviation);
        let centered = self.node("Sub", "normalization.centered", &[IMAGES, &mean], Vec::new());
        self.node("Div", "normalization", &[&centered, &deviation], Vec::new())
    }

    fn block(&mut self, block: &ResidualBlock, input: &str) -> String {
        let last = &block.last_convolution;
        // Layers are called `layer1.0.conv3`, and their block `layer1.0`.
        let name = last.name.rsplit_once('.').map_or("", |(name, _)| name);
        let mut x = input.to_owned();
        for (number, convolution) in (1..).zip(&block.convolutions) {
            x = self.normed_convolution(convolution, &x);
            x = self.relu(&format!("{name}.relu{number}"), &x);
        }
        x = self.normed_convolution(last, &x);
        let shortcut = match &block.downsample {
            Some(convolution) => self.normed_convolution(convolution, input),
            None => input.to_owned(),
        };
        x = self.node("Add", &format!("{name}.add"), &[&x, &shortcut], Vec::new());
        self.relu(&format!("{name}.relu"), &x)
    }

    fn head(&mut self, head: &Head, features: &str) {
        match head {
            Head::Linear(layer) => self.linear(layer, features, LOGITS),
            Head::TwoLayer { hidden, norm_name, output } => {
                self.linear(hidden, features, &hidden.name);
                let normed = self.batch_norm(norm_name, &hidden.name);
                self.linear(output, &normed, LOGITS);
            }
        }
    }

    fn normed_convolution(&mut self, layer: &Convolution, input: &str) -> String {
        let Convolution { name, side, stride, groups, .. } = layer;
        let weight = self.weight(name, "weight");
        let [side, stride, padding] = [*side, *stride, side / 2].map(i64::from);
        let attributes = vec![
            ints("kernel_shape", &[side; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[padding; 4]),
            int("group", (*groups).into()),
        ];
        let output = self.node("Conv", name, &[input, &weight], attributes);
        self.batch_norm(&layer.norm_name, &output)
    }

    fn batch_norm(&mut self, name: &str, input: &str) -> String {
        let [weight, bias, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|suffix| self.weight(name, suffix));
        let epsilon = float("epsilon", BATCH_NORM_EPSILON as f32);
        self.node("BatchNormalization", name, &[input, &weight, &bias, &mean, &variance], vec![epsilon])
    }

    /// `output` = `input` · weightᵀ + bias.
    fn linear(&mut self, layer: &Linear, input: &str, output: &str) {
        let (weight, bias) = (self.weight(&layer.name, "weight"), self.weight(&layer.name, "bias"));
        self.nodes.push(NodeProto {
            input: vec![input.to_owned(), weight, bias],
            output: vec![output.to_owned()],
            name: layer.name.clone(),
            op_type: "Gemm".to_owned(),
            attribute: vec![int("transB", 1)],
        });
    }

    fn relu(&mut self, name: &str, input: &str) -> String {
        self.node("Relu", name, &[input], Vec::new())
    }

    /// Adds an operation and returns the name of its output, which is its own.
    fn node(&mut self, op_type: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// Adds a tensor of the model and returns its name.
    fn weight(&mut self, layer: &str, suffix: &str) -> String {
        let name = format!("{layer}.{suffix}");
        let Weights { shape, bytes } = &self.weights[&name];
        self.initializer(name, shape.iter().map(|&length| length.into()).collect(), bytes.clone())
    }

    /// Adds a constant per channel and returns its name.
    fn per_channel(&mut self, name: &str, values: [f32; 3]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name.to_owned(), vec![1, 3, 1, 1], bytes.into())
    }

    fn initializer(&mut self, name: String, dims: Vec<i64>, raw_data: Bytes) -> String {
        self.initializers.push(TensorProto { dims, data_type: DataType::Float.into(), name: name.clone(), raw_data });
        name
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: r#type.into(), ..AttributeProto::default() }
}

/// A length that each run may choose.
fn any_length(name: &str) -> Dimension {
    Dimension::DimParam(name.to_owned())
}

fn value(name: &str, shape: Vec<Dimension>, doc_string: &str) -> ValueInfoProto {
    let dim = shape.into_iter().map(|length| DimensionProto { value: Some(length) }).collect();
    let tensor_type = TensorTypeProto { elem_type: DataType::Float.into(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        doc_string: doc_string.to_owned(),
    }
}
