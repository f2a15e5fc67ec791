//! The losses, as means over a batch.

use fivefold_common::manifest::LabelledRow;
use fivefold_common::spec::{ClassWeights, JobSetSpec, Loss, Task};
use tch::{Kind, Reduction, Tensor};

use crate::torch::device::Device;

/// The loss of a spec.
#[derive(Debug)]
pub struct LossFunction {
    kind: Loss,
    /// PyTorch's label smoothing of the cross-entropy.
    label_smoothing: f64,
    /// The weight of each class, f32 `[classes]` on the device.
    class_weights: Option<Tensor>,
}

impl LossFunction {
    /// The loss of `spec` on `device`. `rows` are the training rows, by which balanced class weights are counted.
    pub fn new(spec: &JobSetSpec, rows: &[LabelledRow], device: Device) -> Self {
        let weights = class_weights(spec, rows);
        let on_device = |weights: Vec<f64>| Tensor::from_slice(&weights).to_kind(Kind::Float).to_device(device.into());
        Self { kind: spec.loss, label_smoothing: spec.label_smoothing, class_weights: weights.map(on_device) }
    }

    /// The loss, an fp32 scalar, of `logits` fp32 `[N, classes]` for `targets` f32 `[N, classes]`, 0 or 1; for the cross-entropy
    /// with one 1 a row.
    pub fn of(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        match self.kind {
            Loss::Bce => binary_cross_entropy(logits, targets, self.class_weights.as_ref(), Reduction::Mean),
            Loss::SoftF1 => soft_f1(logits, targets),
            Loss::Focal => focal(logits, targets),
            Loss::CrossEntropy => self.cross_entropy(logits, targets),
        }
    }

    /// PyTorch's CrossEntropyLoss. With class weights its mean is divided by the sum of the weights of the rows.
    fn cross_entropy(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        /// PyTorch's default; no row has this class.
        const IGNORED_CLASS: i64 = -100;
        let (classes, weights) = (targets.argmax(-1, false), self.class_weights.as_ref());
        logits.cross_entropy_loss(&classes, weights, Reduction::Mean, IGNORED_CLASS, self.label_smoothing)
    }
}

/// PyTorch's BCEWithLogitsLoss. `class_weights` are its `pos_weight`.
fn binary_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    class_weights: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    logits.binary_cross_entropy_with_logits(targets, None, class_weights, reduction)
}

/// One minus the macro F1 of the batch, with probabilities p in place of predictions: the mean over the labels of
/// 2 Σpt / (Σp + Σt + 1e-7), which corresponds to 2 TP / (2 TP + FP + FN).
fn soft_f1(logits: &Tensor, targets: &Tensor) -> Tensor {
    const EPSILON: f64 = 1e-7;
    let over_batch = |x: Tensor| x.sum_dim_intlist([0].as_slice(), false, Kind::Float);
    let probabilities = logits.sigmoid();
    let hits = over_batch(&probabilities * targets);
    let of_label = hits * 2.0 / (over_batch(probabilities + targets) + EPSILON);
    of_label.mean(Kind::Float) * -1.0 + 1.0
}

/// Focal loss with gamma 2 and without class weights (Lin et al. 2017): -(1 - p_t)² log p_t, where p_t is the probability of
/// the true value.
fn focal(logits: &Tensor, targets: &Tensor) -> Tensor {
    let probabilities = logits.sigmoid();
    // 1 - p_t = p + t - 2pt where t is 0 or 1.
    let wrongness = &probabilities + targets - &probabilities * targets * 2.0;
    (wrongness.square() * binary_cross_entropy(logits, targets, None, Reduction::None)).mean(Kind::Float)
}

/// The weights of the classes in the loss, in their order; `None` if all weigh the same. Balanced ones are, for a class on `n`
/// of the rows,
///
/// - multilabel: the rows without it divided by `n`, PyTorch's advice for `pos_weight`, and 1 for a class that all rows or none
///   have;
/// - multiclass: the rows divided by `n` times the number of classes that occur, scikit-learn's `class_weight="balanced"`, and 1
///   for a class that no row has.
pub fn class_weights(spec: &JobSetSpec, rows: &[LabelledRow]) -> Option<Vec<f64>> {
    match &spec.class_weights {
        ClassWeights::None => None,
        ClassWeights::Given(weights) => Some(weights.clone()),
        ClassWeights::Balanced => {
            let mut counts = vec![0_u32; spec.class_count()];
            for label in rows.iter().flat_map(|row| row.labels.iter()) {
                counts[usize::from(label)] += 1;
            }
            let (all, occurring) = (rows.len() as f64, counts.iter().filter(|&&count| count > 0).count() as f64);
            let weight = |count: u32| match (spec.task, f64::from(count)) {
                (_, 0.0) => 1.0,
                (Task::Multilabel, count) if count == all => 1.0,
                (Task::Multilabel, count) => (all - count) / count,
                (Task::Multiclass, count) => all / (occurring * count),
            };
            Some(counts.into_iter().map(weight).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::scores::Source;

    use super::*;

    fn rows(labels: &[&str]) -> Vec<LabelledRow> {
        let row = |text: &&str| LabelledRow {
            id: "a".to_owned(),
            source: Source::Train,
            labels: text.parse().expect("labels are written here"),
        };
        labels.iter().map(row).collect()
    }

    #[test]
    fn balanced_weights_follow_from_the_counts() {
        let spec = |task| JobSetSpec {
            classes: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            task,
            class_weights: ClassWeights::Balanced,
            ..JobSetSpec::default()
        };
        let multilabel = rows(&["0 1", "0", "0 1", "0", "0"]);
        assert_eq!(class_weights(&spec(Task::Multilabel), &multilabel), Some(vec![1.0, 1.5, 1.0, 1.0]));
        // As compute_class_weight("balanced") of scikit-learn for the classes that occur.
        let multiclass = rows(&["0", "0", "0", "1", "2", "2"]);
        let expected = vec![6.0 / 9.0, 2.0, 1.0, 1.0];
        assert_eq!(class_weights(&spec(Task::Multiclass), &multiclass), Some(expected));
        assert_eq!(class_weights(&spec(Task::Multiclass), &[]), Some(vec![1.0; 4]));
        assert_eq!(class_weights(&JobSetSpec::default(), &multilabel), None);
    }
}
