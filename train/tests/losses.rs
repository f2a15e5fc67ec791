//! Cross-entropy, class weights and the plateau of losses compared with PyTorch's (`fixtures/losses.json`, made by
//! `tests/golden/losses.py`).
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::spec::{ClassWeights, JobSetSpec, Loss, Objective};
use fivefold_train::engine::loss::LossFunction;
use fivefold_train::engine::schedule::Plateau;
use fivefold_train::torch::device::Device;
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::reference::{filled, numbers, relative_error, units};

mod reference;

const ROWS: i64 = 7;

#[derive(Deserialize)]
struct Fixture {
    losses: Vec<Case>,
    /// Patience, cooldown, the size of the steps, and the epochs in which the learning rate falls.
    plateaus: Vec<(u32, u32, f64, Vec<usize>)>,
}

#[derive(Deserialize)]
struct Case {
    loss: Loss,
    smoothing: f64,
    weights: Option<Vec<f64>>,
    logits: String,
    spread: f64,
    value: f64,
    gradient: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/losses.json")).unwrap()
}

/// As in the script: any labels for the binary cross-entropy, one a row for the other.
fn targets(case: &Case) -> Tensor {
    let shape = [ROWS, LABEL_COUNT as i64];
    if case.loss == Loss::Bce {
        let units = units(&format!("targets {}", case.logits), ROWS as usize * LABEL_COUNT);
        let values: Vec<f32> = units.into_iter().map(|unit| f32::from(u8::from(unit > 0.6))).collect();
        return Tensor::from_slice(&values).reshape(shape);
    }
    let targets = Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    for (row, unit) in (0..).zip(units(&format!("classes {}", case.logits), ROWS as usize)) {
        let class = ((unit + 0.5) / 1.5 * LABEL_COUNT as f64).max(0.0) as i64;
        let _ = targets.get(row).get(class).fill_(1.0);
    }
    targets
}

#[test]
fn weighted_and_smoothed_losses_and_their_gradients_are_pytorchs() {
    for case in fixture().losses {
        let class_weights = case.weights.clone().map_or(ClassWeights::None, ClassWeights::Given);
        let spec =
            JobSetSpec { loss: case.loss, label_smoothing: case.smoothing, class_weights, ..JobSetSpec::default() };
        let logits = filled(&format!("logits {}", case.logits), &[ROWS, LABEL_COUNT as i64], 0.0, case.spread)
            .set_requires_grad(true);
        let value = LossFunction::new(&spec, &[], Device::Cpu).of(&logits, &targets(&case));
        value.backward();
        let name = format!("{}, smoothing {}, {} logits", case.loss, case.smoothing, case.logits);
        assert!(relative_error(&numbers(&value), &[case.value]) <= 1e-6, "{name}: {value:?} is not {}", case.value);
        let error = relative_error(&numbers(&logits.grad()), &case.gradient);
        assert!(error <= 1e-6, "{name}: gradient {error:e}");
    }
}

#[test]
fn plateaus_of_losses_are_pytorchs() {
    let cases = fixture().plateaus;
    assert!(cases.iter().filter(|(_, _, _, falls)| falls.len() > 1).count() > 30);
    for (index, (lr_patience, lr_cooldown, step, expected)) in cases.into_iter().enumerate() {
        let objective = Objective::Loss;
        let spec = JobSetSpec {
            objective,
            lr_patience,
            lr_cooldown,
            lr_factor: 0.5,
            min_learning_rate: 0.0,
            ..JobSetSpec::default()
        };
        let mut plateau = Plateau::new(&spec);
        let (mut loss, mut rate, mut falls) = (0.7_f64, 1e-3, Vec::new());
        for (epoch, draw) in units(&format!("losses {index}"), 80).into_iter().enumerate() {
            if draw > -0.5 {
                loss = (loss - step * (draw - 0.2)).abs();
            }
            plateau.end_epoch(-loss);
            if plateau.learning_rate() != rate {
                rate = plateau.learning_rate();
                falls.push(epoch);
            }
        }
        assert_eq!(falls, expected, "sequence {index}");
    }
}
