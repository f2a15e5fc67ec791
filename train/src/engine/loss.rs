//! The losses, as means over a batch.

use fivefold_common::spec::Loss;
use tch::{Kind, Reduction, Tensor};

/// The loss, an fp32 scalar, of `logits` fp32 `[N, classes]` for `targets` f32 `[N, classes]`, 0 or 1.
pub fn loss(kind: Loss, logits: &Tensor, targets: &Tensor) -> Tensor {
    match kind {
        Loss::Bce => cross_entropy(logits, targets, Reduction::Mean),
        Loss::SoftF1 => soft_f1(logits, targets),
        Loss::Focal => focal(logits, targets),
    }
}

fn cross_entropy(logits: &Tensor, targets: &Tensor, reduction: Reduction) -> Tensor {
    logits.binary_cross_entropy_with_logits::<Tensor>(targets, None, None, reduction)
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
    (wrongness.square() * cross_entropy(logits, targets, Reduction::None)).mean(Kind::Float)
}
