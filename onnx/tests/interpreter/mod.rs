//! Evaluates the operations of an ONNX model, as ONNX's documentation defines them: plain loops, in f64.

use std::collections::HashMap;

use fivefold_onnx::proto::{GraphProto, NodeProto};

#[derive(Debug, Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

/// The outputs of `graph` for its only input, by name.
pub(crate) fn run(graph: &GraphProto, input: Array) -> HashMap<String, Array> {
    let mut values = HashMap::from([(graph.input[0].name.clone(), input)]);
    for tensor in &graph.initializer {
        let numbers = tensor.raw_data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into());
        let shape = tensor.dims.iter().map(|&length| length as usize).collect();
        values.insert(tensor.name.clone(), Array { shape, values: numbers.collect() });
    }
    for node in &graph.node {
        let inputs: Vec<&Array> = node.input.iter().map(|name| &values[name]).collect();
        let output = evaluate(node, &inputs);
        assert_eq!(output.shape.iter().product::<usize>(), output.values.len(), "{}", node.name);
        values.insert(node.output[0].clone(), output);
    }
    graph.output.iter().map(|output| (output.name.clone(), values[&output.name].clone())).collect()
}

fn evaluate(node: &NodeProto, inputs: &[&Array]) -> Array {
    match (node.op_type.as_str(), inputs) {
        ("Conv", &[x, weight]) => convolution(node, x, weight),
        ("BatchNormalization", &[x, ..]) => batch_norm(node, x, &inputs[1..]),
        ("Relu", &[x]) => each(x, |x| x.max(0.0)),
        ("Sigmoid", &[x]) => each(x, |x| 1.0 / (1.0 + (-x).exp())),
        ("Softmax", &[x]) if int(node, "axis") == -1 => softmax(x),
        ("MaxPool", &[x]) => max_pool(node, x),
        ("GlobalAveragePool", &[x]) => {
            let plane = x.shape[2] * x.shape[3];
            let means = x.values.chunks_exact(plane).map(|values| values.iter().sum::<f64>() / plane as f64);
            Array { shape: vec![x.shape[0], x.shape[1], 1, 1], values: means.collect() }
        }
        ("Flatten", &[x]) if int(node, "axis") == 1 => {
            Array { shape: vec![x.shape[0], x.shape[1..].iter().product()], values: x.values.clone() }
        }
        ("Gemm", &[x, weight, bias]) if int(node, "transB") == 1 => linear(x, weight, bias),
        ("Add", &[a, b]) => {
            assert_eq!(a.shape, b.shape, "{}", node.name);
            Array { shape: a.shape.clone(), values: a.values.iter().zip(&b.values).map(|(a, b)| a + b).collect() }
        }
        ("Sub", &[x, constant]) => per_channel(x, constant, |x, constant| x - constant),
        ("Div", &[x, constant]) => per_channel(x, constant, |x, constant| x / constant),
        (operator, _) => panic!("{}: {operator} with {} inputs", node.name, inputs.len()),
    }
}

/// Over the last dimension.
fn softmax(x: &Array) -> Array {
    let row = |row: &[f64]| {
        let powers: Vec<f64> = row.iter().map(|x| x.exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / sum).collect::<Vec<_>>()
    };
    let length = *x.shape.last().unwrap();
    Array { shape: x.shape.clone(), values: x.values.chunks_exact(length).flat_map(row).collect() }
}

fn int(node: &NodeProto, name: &str) -> i64 {
    node.attribute.iter().find(|attribute| attribute.name == name).unwrap().i.unwrap()
}

fn ints<const N: usize>(node: &NodeProto, name: &str) -> [usize; N] {
    let attribute = node.attribute.iter().find(|attribute| attribute.name == name).unwrap();
    let values: Vec<usize> = attribute.ints.iter().map(|&value| value as usize).collect();
    values.try_into().unwrap()
}

fn each(x: &Array, function: impl Fn(f64) -> f64) -> Array {
    Array { shape: x.shape.clone(), values: x.values.iter().map(|&x| function(x)).collect() }
}

/// `constant` has the shape `[1, C, 1, 1]`.
fn per_channel(x: &Array, constant: &Array, function: impl Fn(f64, f64) -> f64) -> Array {
    assert_eq!(constant.shape, [1, x.shape[1], 1, 1]);
    let plane = x.shape[2] * x.shape[3];
    let values = x.values.iter().enumerate();
    let values = values.map(|(place, &x)| function(x, constant.values[place / plane % constant.values.len()]));
    Array { values: values.collect(), shape: x.shape.clone() }
}

fn batch_norm(node: &NodeProto, x: &Array, statistics: &[&Array]) -> Array {
    let epsilon = node.attribute.iter().find(|attribute| attribute.name == "epsilon").unwrap().f.unwrap();
    let (channels, plane) = (x.shape[1], x.shape[2..].iter().product::<usize>());
    let &[scale, bias, mean, variance] = statistics else { panic!("{}", node.name) };
    assert!(statistics.iter().all(|array| array.shape == [channels]), "{}", node.name);
    let values = x.values.iter().enumerate().map(|(place, &x)| {
        let channel = place / plane % channels;
        let deviation = (variance.values[channel] + f64::from(epsilon)).sqrt();
        (x - mean.values[channel]) / deviation * scale.values[channel] + bias.values[channel]
    });
    Array { values: values.collect(), shape: x.shape.clone() }
}

fn linear(x: &Array, weight: &Array, bias: &Array) -> Array {
    let (inputs, outputs) = (x.shape[1], weight.shape[0]);
    assert_eq!((weight.shape[1], bias.shape.as_slice()), (inputs, [outputs].as_slice()));
    let mut values = Vec::new();
    for row in x.values.chunks_exact(inputs) {
        for (weights, bias) in weight.values.chunks_exact(inputs).zip(&bias.values) {
            values.push(bias + row.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f64>());
        }
    }
    Array { shape: vec![x.shape[0], outputs], values }
}

/// Kernel, stride and padding of a square window, and the length of its output.
struct Window {
    side: usize,
    stride: usize,
    padding: usize,
}

impl Window {
    fn of(node: &NodeProto) -> Self {
        let (kernel, strides) = (ints::<2>(node, "kernel_shape"), ints::<2>(node, "strides"));
        let pads = ints::<4>(node, "pads");
        assert!(kernel[0] == kernel[1] && strides[0] == strides[1] && pads == [pads[0]; 4], "{}", node.name);
        Self { side: kernel[0], stride: strides[0], padding: pads[0] }
    }

    fn output(&self, length: usize) -> usize {
        (length + 2 * self.padding - self.side) / self.stride + 1
    }

    /// The places of the output for which `offset` in the window is inside an input of that length, with their inputs.
    fn places(&self, offset: usize, length: usize) -> impl Iterator<Item = (usize, usize)> {
        let input_of = move |place: usize| (place * self.stride + offset).checked_sub(self.padding);
        (0..self.output(length))
            .filter_map(move |place| Some((place, input_of(place)?)))
            .filter(move |&(_, x)| x < length)
    }
}

fn convolution(node: &NodeProto, x: &Array, weight: &Array) -> Array {
    let window = Window::of(node);
    let groups = int(node, "group") as usize;
    let &[count, inputs, height, width] = x.shape.as_slice() else { panic!("{}", node.name) };
    let outputs = weight.shape[0];
    assert_eq!(weight.shape, [outputs, inputs / groups, window.side, window.side], "{}", node.name);
    let (out_height, out_width) = (window.output(height), window.output(width));
    let mut values = vec![0.0; count * outputs * out_height * out_width];
    for (plane, out) in values.chunks_exact_mut(out_height * out_width).enumerate() {
        let (image, output) = (plane / outputs, plane % outputs);
        let first_input = output / (outputs / groups) * (inputs / groups);
        for input in 0..inputs / groups {
            let x = &x.values[(image * inputs + first_input + input) * height * width..][..height * width];
            let kernel = (output * (inputs / groups) + input) * window.side * window.side;
            for tap in 0..window.side * window.side {
                let weight = weight.values[kernel + tap];
                for (out_y, y) in window.places(tap / window.side, height) {
                    for (out_x, from) in window.places(tap % window.side, width) {
                        out[out_y * out_width + out_x] += weight * x[y * width + from];
                    }
                }
            }
        }
    }
    Array { shape: vec![count, outputs, out_height, out_width], values }
}

fn max_pool(node: &NodeProto, x: &Array) -> Array {
    let window = Window::of(node);
    let (height, width) = (x.shape[2], x.shape[3]);
    let (out_height, out_width) = (window.output(height), window.output(width));
    let mut values = vec![f64::NEG_INFINITY; x.shape[0] * x.shape[1] * out_height * out_width];
    for (out, x) in values.chunks_exact_mut(out_height * out_width).zip(x.values.chunks_exact(height * width)) {
        for tap in 0..window.side * window.side {
            for (out_y, y) in window.places(tap / window.side, height) {
                for (out_x, from) in window.places(tap % window.side, width) {
                    let out = &mut out[out_y * out_width + out_x];
                    *out = out.max(x[y * width + from]);
                }
            }
        }
    }
    Array { shape: vec![x.shape[0], x.shape[1], out_height, out_width], values }
}
