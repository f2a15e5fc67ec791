//! The model, losses, optimisers and schedules compared with those of PyTorch and torchvision (`fixtures/model.json`, made by
//! `tests/golden/model.py`).

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::HashMap;

use fivefold_common::early_stop::{Continuation, EarlyStop};
use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::spec::{Head, JobSetSpec, LrSchedule, Optimizer as OptimizerKind, Precision};
use fivefold_train::engine::loss::LossFunction;
use fivefold_train::engine::optimizer::Optimizer;
use fivefold_train::engine::schedule::{Plateau, scheduled_learning_rate};
use fivefold_train::engine::training::Training;
use fivefold_train::models::{Mode, Model};
use fivefold_train::torch::autocast::autocast;
use fivefold_train::torch::device::Device;
use fivefold_train::torch::tensors::{NamedTensor, channels_last};
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::reference::{fill, filled, fnv1a, images_of, numbers, relative_error, units};

mod reference;

#[derive(Deserialize)]
struct Fixture {
    units: Units,
    names: HashMap<String, NamesDigest>,
    initialisation: Vec<Moments>,
    forwards: Vec<Forward>,
    losses: Vec<LossCase>,
    optimizer_steps: Vec<OptimizerCase>,
    schedules: Vec<ScheduleCase>,
    scheduled: Vec<ScheduledCase>,
    training: Vec<TrainingCase>,
}

#[derive(Deserialize)]
struct Units {
    name: String,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct NamesDigest {
    count: usize,
    fnv1a: String,
}

#[derive(Deserialize)]
struct Moments {
    name: String,
    deviation: f64,
    kurtosis: f64,
}

type Statistics = HashMap<String, Vec<f64>>;

#[derive(Deserialize)]
struct Forward {
    width: u32,
    head: String,
    mode: String,
    count: i64,
    size: i64,
    logits: Vec<f64>,
    statistics: Statistics,
}

#[derive(Deserialize)]
struct LossCase {
    loss: String,
    logits: String,
    spread: f64,
    value: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct OptimizerSettings {
    optimizer: String,
    learning_rate: f64,
    weight_decay: f64,
    #[serde(default)]
    momentum: f64,
    #[serde(default)]
    nesterov: bool,
}

#[derive(Deserialize)]
struct OptimizerCase {
    settings: OptimizerSettings,
    after: Vec<HashMap<String, Vec<f64>>>,
}

/// Factor, patience, cooldown and least learning rate; patience and delta of the early stop.
type ScheduleSettings = (f64, u32, u32, f64, u32, f64);
/// Settings, size of the changes of the score, epochs in which the learning rate falls, last learning rate, epoch of the stop.
type ScheduleCase = (ScheduleSettings, f64, Vec<usize>, f64, Option<usize>);

#[derive(Deserialize)]
struct ScheduledCase {
    schedule: String,
    epochs: u32,
    batches: u32,
    warmup_epochs: u32,
    step_epochs: u32,
    factor: f64,
    least: f64,
    rates: Vec<f64>,
}

#[derive(Deserialize)]
struct TrainingCase {
    head: String,
    loss: String,
    count: i64,
    size: i64,
    settings: OptimizerSettings,
    losses: Vec<f64>,
    statistics: Statistics,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/model.json")).unwrap()
}

fn targets_of(name: &str, count: i64) -> Tensor {
    let labels = LABEL_COUNT as i64;
    let values: Vec<f32> =
        units(name, (count * labels) as usize).into_iter().map(|unit| f32::from(u8::from(unit > 0.6))).collect();
    Tensor::from_slice(&values).reshape([count, labels])
}

fn statistics_error(model: &Model, reference: &Statistics) -> f64 {
    let error_of = |(name, reference): (&String, &Vec<f64>)| {
        let buffer = model.buffers().iter().find(|buffer| buffer.name == *name).unwrap();
        relative_error(&numbers(&buffer.tensor)[..reference.len()], reference)
    };
    reference.iter().map(error_of).fold(0.0, f64::max)
}

/// Tests run in parallel, and threads that wait for each other on busy cores are slow.
fn one_thread() {
    tch::set_num_threads(1);
}

fn spec(width: u32, head: Head) -> JobSetSpec {
    JobSetSpec { base_width: width, head, ..JobSetSpec::default() }
}

fn spec_of(settings: &OptimizerSettings) -> JobSetSpec {
    let optimizer: OptimizerKind = settings.optimizer.parse().unwrap();
    JobSetSpec {
        optimizer,
        learning_rate: settings.learning_rate,
        weight_decay: settings.weight_decay,
        momentum: settings.momentum,
        nesterov: settings.nesterov,
        ..JobSetSpec::default()
    }
}

#[test]
fn both_sides_compute_the_same_numbers() {
    let Units { name, values } = fixture().units;
    assert_eq!(units(&name, values.len()), values);
}

#[test]
fn names_shapes_and_kinds_are_torchvisions() {
    for (head, reference) in fixture().names {
        let model = Model::new(&spec(64, head.parse().unwrap()), Fold(0), Device::Cpu);
        let mut lines: Vec<String> = model
            .parameters()
            .iter()
            .chain(model.buffers())
            .map(|NamedTensor { name, tensor }| {
                let kind = if tensor.kind() == Kind::Int64 { "int64" } else { "float32" };
                format!("{name} {:?} {kind}\n", tensor.size())
            })
            .collect();
        lines.sort();
        assert_eq!(lines.len(), reference.count, "{head}");
        assert_eq!(format!("{:016x}", fnv1a(lines.concat().as_bytes())), reference.fnv1a, "{head}");
    }
}

#[test]
fn first_weights_have_torchvisions_moments() {
    let model = Model::new(&spec(64, Head::Linear), Fold(1), Device::Cpu);
    let reference = fixture().initialisation;
    assert_eq!(reference.len(), model.parameters().len());
    for (NamedTensor { name, tensor }, reference) in model.parameters().iter().zip(&reference) {
        assert_eq!(*name, reference.name);
        let values = numbers(tensor);
        let count = values.len() as f64;
        let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / count;
        let deviation = moment(2).sqrt();
        if name.contains("bn") || name.contains("downsample.1") {
            let expected = if name.ends_with("weight") { 1.0 } else { 0.0 };
            assert!(values.iter().all(|&x| x == expected) && reference.deviation == expected, "{name}");
            continue;
        }
        // Six standard errors of the difference of two such samples; those of the fourth moment are wider.
        let tolerance = 6.0 / count.sqrt();
        assert!(moment(1).abs() < tolerance * deviation, "{name}: mean {}", moment(1));
        assert!((deviation / reference.deviation - 1.0).abs() < tolerance, "{name}: {deviation}");
        let kurtosis = moment(4) / moment(2).powi(2);
        assert!((kurtosis - reference.kurtosis).abs() < 10.0 * tolerance, "{name}: kurtosis {kurtosis}");
    }
}

#[test]
fn first_weights_depend_on_seed_and_fold_alone() {
    let fc = |seed, fold| {
        let spec = JobSetSpec { seed, ..spec(4, Head::Linear) };
        numbers(&Model::new(&spec, Fold(fold), Device::Cpu).parameters()[60].tensor)
    };
    assert_eq!(fc(1, 0), fc(1, 0));
    assert_ne!(fc(1, 0), fc(1, 1));
    assert_ne!(fc(1, 0), fc(2, 0));
}

#[test]
fn logits_and_running_statistics_are_torchvisions() {
    one_thread();
    let mut worst: f64 = 0.0;
    for case in fixture().forwards {
        let model = Model::new(&spec(case.width, case.head.parse().unwrap()), Fold(0), Device::Cpu);
        fill(&model);
        let mode = if case.mode == "train" { Mode::Train } else { Mode::Eval };
        let images = images_of("images", case.count, case.size);
        let logits = tch::no_grad(|| model.forward(&images, mode));
        assert_eq!(logits.size(), [case.count, LABEL_COUNT as i64]);
        let error = relative_error(&numbers(&logits), &case.logits);
        let statistics = statistics_error(&model, &case.statistics);
        let name = format!("width {} {} {} {}x{} px", case.width, case.head, case.mode, case.count, case.size);
        println!("{name}: logits {error:.1e}, statistics {statistics:.1e}");
        worst = worst.max(error).max(statistics);
    }
    assert!(worst <= 1e-5, "{worst:e}");
}

#[test]
fn bf16_and_fp16_logits_stay_close_to_fp32() {
    one_thread();
    let model = Model::new(&spec(8, Head::Linear), Fold(0), Device::Cpu);
    fill(&model);
    let images = images_of("images", 8, 64);
    for mode in [Mode::Train, Mode::Eval] {
        let reference = numbers(&model.forward(&images, mode));
        // bf16 has 8 significant bits, fp16 has 11.
        for (precision, tolerance) in [(Precision::Bf16, 0.05), (Precision::Fp16, 0.02)] {
            let logits = autocast(Device::Cpu, precision, || model.forward(&images, mode)).unwrap();
            assert_eq!(logits.kind(), Kind::Float);
            let error = relative_error(&numbers(&logits), &reference);
            println!("{precision:?} {mode:?}: {error:.1e}");
            assert!(error > 0.0 && error < tolerance, "{precision:?} {mode:?}: {error}");
        }
    }
}

#[test]
fn losses_and_their_gradients_are_pytorchs() {
    for case in fixture().losses {
        let logits = filled(&format!("logits {}", case.logits), &[5, LABEL_COUNT as i64], 0.0, case.spread)
            .set_requires_grad(true);
        let spec = JobSetSpec { loss: case.loss.parse().unwrap(), ..JobSetSpec::default() };
        let targets = targets_of(&format!("targets {}", case.logits), 5);
        let value = LossFunction::new(&spec, &[], Device::Cpu).of(&logits, &targets);
        value.backward();
        let name = format!("{} on {} logits", case.loss, case.logits);
        assert!(relative_error(&numbers(&value), &[case.value]) <= 1e-6, "{name}: {value:?}");
        let error = relative_error(&numbers(&logits.grad()), &case.gradient);
        assert!(error <= 1e-6, "{name}: gradient {error:e}");
    }
}

#[test]
fn optimizer_steps_on_given_gradients_are_pytorchs() {
    let shapes: [(&str, &[i64]); 3] = [("a", &[3, 2, 3, 3]), ("b", &[7]), ("c", &[2, 5])];
    for case in fixture().optimizer_steps {
        let parameters = shapes.map(|(name, shape)| {
            let tensor = filled(name, shape, 0.0, 1.0);
            // As the model has them.
            let tensor = if shape.len() == 4 { channels_last(&tensor) } else { tensor };
            NamedTensor { name: name.into(), tensor: tensor.set_requires_grad(true) }
        });
        let mut optimizer = Optimizer::new(&spec_of(&case.settings), &parameters);
        for (step, after) in case.after.iter().enumerate() {
            optimizer.zero_grad(&parameters).unwrap();
            for NamedTensor { name, tensor } in &parameters {
                assert!(!tensor.grad().defined());
                // d(x * g)/dx = g
                (tensor * filled(&format!("{name} gradient {step}"), &tensor.size(), 0.0, 0.5))
                    .sum(Kind::Float)
                    .backward();
            }
            optimizer.step(&parameters, case.settings.learning_rate).unwrap();
            for NamedTensor { name, tensor } in &parameters {
                let error = relative_error(&numbers(tensor), &after[name]);
                assert!(error <= 1e-6, "{} step {step} {name}: {error:e}", case.settings.optimizer);
            }
        }
        assert_eq!(optimizer.steps_taken(), 3);
    }
}

#[test]
fn learning_rates_and_stops_are_pytorchs_on_500_sequences() {
    let cases = fixture().schedules;
    assert_eq!(cases.len(), 500);
    assert!(cases.iter().filter(|(_, _, falls, _, _)| falls.len() > 1).count() > 100);
    for (index, (settings, step, expected_falls, last_rate, expected_stop)) in cases.iter().enumerate() {
        let spec = JobSetSpec {
            learning_rate: 1e-3,
            lr_factor: settings.0,
            lr_patience: settings.1,
            lr_cooldown: settings.2,
            min_learning_rate: settings.3,
            early_stop_patience: settings.4,
            early_stop_min_delta: settings.5,
            ..JobSetSpec::default()
        };
        let (mut plateau, mut early_stop) = (Plateau::new(&spec), EarlyStop::new(&spec));
        let (mut score, mut rate, mut falls, mut stop) = (0.3, 1e-3, Vec::new(), None);
        for (epoch, draw) in units(&format!("scores {index}"), 80).into_iter().enumerate() {
            if draw > -0.5 {
                score += step * (draw - 0.2);
            }
            plateau.end_epoch(score);
            if plateau.learning_rate() != rate {
                rate = plateau.learning_rate();
                falls.push(epoch);
            }
            if early_stop.end_epoch(score) == Continuation::Stop && stop.is_none() {
                stop = Some(epoch);
            }
            // What a checkpoint does to them.
            plateau = serde_json::from_str(&serde_json::to_string(&plateau).unwrap()).unwrap();
        }
        assert_eq!((&falls, rate, stop), (expected_falls, *last_rate, *expected_stop), "sequence {index}");
    }
}

#[test]
fn steps_and_cosines_after_a_warm_up_are_pytorchs() {
    for case in fixture().scheduled {
        let lr_schedule: LrSchedule = case.schedule.parse().unwrap();
        let spec = JobSetSpec {
            lr_schedule,
            learning_rate: 0.03,
            epochs: case.epochs,
            train_batch_per_epoch: case.batches,
            lr_warmup_epochs: case.warmup_epochs,
            lr_step_epochs: case.step_epochs,
            lr_factor: case.factor,
            min_learning_rate: case.least,
            ..JobSetSpec::default()
        };
        assert_eq!(spec.check(), Ok(()));
        let points = (0..case.epochs).flat_map(|epoch| (0..case.batches).map(move |step| (epoch, step)));
        let rates: Vec<f64> = points.map(|(epoch, step)| scheduled_learning_rate(&spec, epoch, step)).collect();
        let error = relative_error(&rates, &case.rates);
        assert!(error <= 1e-12, "{} after {} epochs: {error:e}", case.schedule, case.warmup_epochs);
    }
}

#[test]
fn fifty_steps_of_training_are_pytorchs() {
    one_thread();
    for case in fixture().training {
        let spec = JobSetSpec {
            base_width: 8,
            head: case.head.parse().unwrap(),
            loss: case.loss.parse().unwrap(),
            ..spec_of(&case.settings)
        };
        let mut training = Training::new(&spec, Fold(0), &[], Device::Cpu);
        fill(&training.model);
        let mut losses = Vec::new();
        for step in 0..case.losses.len() {
            let images = images_of(&format!("batch {}", step % 5), case.count, case.size);
            let targets = targets_of(&format!("targets {}", step % 5), case.count);
            losses.push(training.update(&images, &targets).unwrap().double_value(&[]));
        }
        let errors: Vec<f64> = losses.iter().zip(&case.losses).map(|(a, b)| (a / b - 1.0).abs()).collect();
        let most = |errors: &[f64]| errors.iter().copied().fold(0.0, f64::max);
        let statistics = statistics_error(&training.model, &case.statistics);
        let name = format!("{} {} {}", case.settings.optimizer, case.head, case.loss);
        println!(
            "{name}: losses {} to {}, errors {:.1e} in 10 steps, {:.1e} in 50, statistics {statistics:.1e}",
            losses[0],
            losses[losses.len() - 1],
            most(&errors[..10]),
            most(&errors)
        );
        assert!(most(&errors[..10]) <= 1e-4, "{name}: {:e}", most(&errors[..10]));
        assert!(most(&errors) <= 1e-2, "{name}: {:e}", most(&errors));
        assert!(statistics <= 1e-2, "{name}: running statistics {statistics:e}");
    }
}
