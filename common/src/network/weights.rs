//! Which tensors of a weights file a network takes, decided by names and shapes.

use std::collections::BTreeMap;
use std::fmt;

use super::{TensorKind, TensorShape, is_of_head};
use crate::checkpoint::OPTIMIZER_PREFIX;

/// The weights of the first convolution, `[outputs, channels, side, side]`.
const FIRST_LAYER: &str = "conv1.weight";
/// The channels of published weights: red, green and blue.
const FILE_CHANNELS: u32 = 3;
/// The most tensors that a message names.
const NAMED_TENSORS: usize = 5;

/// A tensor of a weights file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTensor {
    /// The length of each dimension; empty for a scalar.
    pub shape: Vec<u64>,
    /// The kind of its numbers.
    pub numbers: Numbers,
}

/// The kind of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// fp16, bf16, fp32 or fp64.
    Float,
    /// int64.
    Integer,
    /// Others, which no network takes.
    Other,
}

/// What happens to the tensors of a weights file that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsMatch {
    /// Names of the tensors that are taken as they are.
    pub taken: Vec<String>,
    /// The first layer, if it is for RGB and the network has other channels.
    pub converted: Option<String>,
    /// Names of tensors that are not used: a head with other outputs, an optimiser's state.
    pub dropped: Vec<String>,
}

/// How the tensors of a weights file differ from those of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsMismatch {
    /// Tensors of the network that are not in the file.
    pub missing: Vec<String>,
    /// Tensors of the file that the network does not have.
    pub extra: Vec<String>,
    /// Tensors of other shapes or numbers; each name is followed by both shapes.
    pub misshaped: Vec<String>,
    /// What the file has in front of the network's names, such as `module.`.
    pub prefix: Option<String>,
}

/// Matches the tensors of a weights file, by name, with those of a network.
///
/// A head of another shape, such as ImageNet's with its 1000 outputs, is dropped. A first layer for RGB is converted if the
/// network has other channels. Any float format will do. `num_batches_tracked` may be absent.
///
/// # Errors
/// When another tensor is missing, unexpected or of another shape.
pub fn match_weights(
    network: &[TensorShape],
    file: &BTreeMap<String, FileTensor>,
) -> Result<WeightsMatch, WeightsMismatch> {
    let mut head = network.iter().filter(|tensor| is_of_head(&tensor.name) && tensor.kind == TensorKind::Parameter);
    let keeps_head = head.all(|tensor| file.get(&tensor.name).is_some_and(|found| fits(tensor, found)));
    let is_dropped = |name: &str| (!keeps_head && is_of_head(name)) || name.starts_with(OPTIMIZER_PREFIX);
    let mut matched = WeightsMatch {
        taken: Vec::new(),
        converted: None,
        dropped: file.keys().filter(|name| is_dropped(name)).cloned().collect(),
    };
    let mut mismatch = WeightsMismatch::default();
    for tensor in network.iter().filter(|tensor| keeps_head || !is_of_head(&tensor.name)) {
        let name = &tensor.name;
        match file.get(name) {
            Some(found) if fits(tensor, found) => matched.taken.push(name.clone()),
            Some(found) if is_converted(tensor, found) => matched.converted = Some(name.clone()),
            Some(found) => mismatch.misshaped.push(format!("{name} ({} for {})", words(found), shape(&tensor.shape))),
            None if tensor.kind == TensorKind::BatchCount => {}
            None => mismatch.missing.push(name.clone()),
        }
    }
    let has = |name: &str| network.iter().any(|tensor| tensor.name == name);
    // Counts of batches go with the layers that are named.
    let is_counter = |name: &str| name.ends_with(".num_batches_tracked");
    mismatch.extra = file.keys().filter(|name| !has(name) && !is_dropped(name) && !is_counter(name)).cloned().collect();
    if mismatch.missing.is_empty() && mismatch.extra.is_empty() && mismatch.misshaped.is_empty() {
        return Ok(matched);
    }
    if mismatch.missing.iter().any(|name| name == FIRST_LAYER) {
        let prefixes = mismatch.extra.iter().filter_map(|name| name.strip_suffix(FIRST_LAYER));
        mismatch.prefix = prefixes.min_by_key(|prefix| prefix.len()).map(str::to_owned);
    }
    Err(mismatch)
}

fn fits(tensor: &TensorShape, found: &FileTensor) -> bool {
    let wanted = match tensor.kind {
        TensorKind::Parameter | TensorKind::Statistics => Numbers::Float,
        TensorKind::BatchCount => Numbers::Integer,
    };
    found.numbers == wanted && found.shape.iter().copied().eq(tensor.shape.iter().map(|&side| u64::from(side)))
}

/// Whether `tensor` is a first layer for other channels than the RGB one in the file, and equal to it otherwise.
fn is_converted(tensor: &TensorShape, found: &FileTensor) -> bool {
    let [outputs, channels, height, width] = tensor.shape[..] else { return false };
    let for_rgb = TensorShape { shape: vec![outputs, FILE_CHANNELS, height, width], ..tensor.clone() };
    tensor.name == FIRST_LAYER && channels != FILE_CHANNELS && fits(&for_rgb, found)
}

fn words(found: &FileTensor) -> String {
    match found.numbers {
        Numbers::Float => shape(&found.shape),
        Numbers::Integer => format!("integers {}", shape(&found.shape)),
        Numbers::Other => format!("other numbers {}", shape(&found.shape)),
    }
}

fn shape<T: fmt::Display>(sides: &[T]) -> String {
    let sides: Vec<String> = sides.iter().map(T::to_string).collect();
    format!("[{}]", sides.join(", "))
}

impl fmt::Display for WeightsMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("misshaped", &self.misshaped), ("missing", &self.missing), ("extra", &self.extra)];
        let kinds: Vec<_> = kinds.into_iter().filter(|(_, names)| !names.is_empty()).collect();
        let each = NAMED_TENSORS / kinds.len().max(1);
        for (number, (what, names)) in kinds.iter().enumerate() {
            let separator = if number > 0 { "; " } else { "" };
            write!(f, "{separator}{} {what}: {}", names.len(), names[..names.len().min(each)].join(", "))?;
            if names.len() > each {
                f.write_str(", …")?;
            }
        }
        match self.prefix.as_deref() {
            None | Some("") => Ok(()),
            Some(prefix) => {
                write!(f, "; its names begin with {prefix:?}: save it without, as {{name.removeprefix({prefix:?}): …}}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use crate::spec::{Head, JobSetSpec, ModelName};

    fn network(model_name: ModelName) -> Vec<TensorShape> {
        let spec = JobSetSpec { model_name, head: Head::Linear, ..JobSetSpec::default() };
        Network::of(&spec).tensors()
    }

    /// A file with the tensors of a network, under other names.
    fn file(network: &[TensorShape], rename: impl Fn(&str) -> String) -> BTreeMap<String, FileTensor> {
        let tensor = |tensor: &TensorShape| {
            let numbers = if tensor.kind == TensorKind::BatchCount { Numbers::Integer } else { Numbers::Float };
            let shape = tensor.shape.iter().map(|&side| side.into()).collect();
            (rename(&tensor.name), FileTensor { shape, numbers })
        };
        network.iter().map(tensor).collect()
    }

    #[test]
    fn weights_of_the_same_network_fit_whatever_their_head() {
        let network = network(ModelName::Resnet18);
        let mut file = file(&network, str::to_owned);
        let all = match_weights(&network, &file).unwrap();
        assert_eq!((all.taken.len(), all.converted, all.dropped.len()), (network.len(), None, 0));
        file.insert("fc.weight".into(), FileTensor { shape: vec![1000, 512], numbers: Numbers::Float });
        file.remove("bn1.num_batches_tracked");
        let without_head = match_weights(&network, &file).unwrap();
        assert_eq!((without_head.taken.len(), without_head.dropped.len()), (network.len() - 3, 2));
    }

    #[test]
    fn weights_of_another_network_are_told_in_a_few_names() {
        let file = file(&network(ModelName::Resnet50), str::to_owned);
        let mismatch = match_weights(&network(ModelName::Resnet18), &file).unwrap_err();
        assert_eq!(mismatch.prefix, None);
        assert!(mismatch.extra.len() > 100 && !mismatch.misshaped.is_empty(), "{mismatch:?}");
        let text = mismatch.to_string();
        assert!(
            text.len() < 300 && text.contains("misshaped: layer1.0.conv1.weight ([64, 64, 1, 1] for [64, 64, 3, 3])"),
            "{text}"
        );
    }

    #[test]
    fn a_prefix_of_all_names_is_told() {
        let network = network(ModelName::Resnet18);
        let file = file(&network, |name| format!("module.{name}"));
        let text = match_weights(&network, &file).unwrap_err().to_string();
        assert!(text.contains("its names begin with \"module.\"") && text.len() < 300, "{text}");
        assert!(text.contains("missing: conv1.weight, bn1.weight, …"), "{text}");
    }

    #[test]
    fn numbers_of_another_kind_do_not_fit() {
        let network = network(ModelName::Resnet18);
        let mut file = file(&network, str::to_owned);
        file.insert("bn1.bias".into(), FileTensor { shape: vec![64], numbers: Numbers::Integer });
        let text = match_weights(&network, &file).unwrap_err().to_string();
        assert_eq!(text, "1 misshaped: bn1.bias (integers [64] for [64])");
    }
}
