//! Specs. CONTRIBUTING.md, "Adding a spec key", says what a new key needs here.

use fivefold_common::spec::{self, ClassWeights, JobSetSpec, ThresholdRule};
use fivefold_common::threshold::EmptyRows;

use super::{WireError, same_enum};
use crate::v1;
use crate::v1::threshold_rule::Kind;

same_enum! {
    split_method_to_wire, split_method_from_wire, spec::SplitMethod, v1::SplitMethod, "spec.split_method",
    [Mskf, Kfold, Skf, Gkf, Sgkf, Given]
}
same_enum! {
    label_format_to_wire, label_format_from_wire, spec::LabelFormat, v1::LabelFormat, "spec.label_format",
    [Numbers, Names, OneHot]
}
same_enum! {
    label_separator_to_wire, label_separator_from_wire, spec::LabelSeparator, v1::LabelSeparator, "spec.label_separator",
    [Space, Bar, Comma, Semicolon]
}
same_enum! {
    model_name_to_wire, model_name_from_wire, spec::ModelName, v1::ModelName, "spec.model_name",
    [Resnet50, Resnet18, Resnet34, Resnet101, Resnet152, Resnext5032x4d, Resnext10132x8d, WideResnet502]
}
same_enum! {
    head_to_wire, head_from_wire, spec::Head, v1::Head, "spec.head", [TwoLayer, Linear]
}
same_enum! {
    normalization_to_wire, normalization_from_wire, spec::Normalization, v1::Normalization, "spec.normalization", [None, Imagenet]
}
same_enum! {
    resize_to_wire, resize_from_wire, spec::Resize, v1::Resize, "spec.resize", [HpaArea, Exact, Area, Bilinear]
}
same_enum! {
    fit_to_wire, fit_from_wire, spec::ImageFit, v1::ImageFit, "spec.fit", [Stretch, Crop, Pad]
}
same_enum! {
    augmentation_to_wire, augmentation_from_wire, spec::Augmentation, v1::Augmentation, "spec.augmentation", [None, Full]
}
same_enum! {
    loss_to_wire, loss_from_wire, spec::Loss, v1::Loss, "spec.loss", [Bce, SoftF1, Focal, CrossEntropy]
}
same_enum! {
    optimizer_to_wire, optimizer_from_wire, spec::Optimizer, v1::Optimizer, "spec.optimizer", [Adam, Sgd, Adamw]
}
same_enum! {
    lr_schedule_to_wire, lr_schedule_from_wire, spec::LrSchedule, v1::LrSchedule, "spec.lr_schedule", [Plateau, Step, Cosine]
}
same_enum! {
    precision_to_wire, precision_from_wire, spec::Precision, v1::Precision, "spec.precision", [Fp32, Bf16, Fp16]
}
same_enum! {
    scored_checkpoint_to_wire, scored_checkpoint_from_wire, spec::ScoredCheckpoint, v1::ScoredCheckpoint, "spec.oof_checkpoint", [Last, Best]
}
same_enum! {
    empty_rows_to_wire, empty_rows_from_wire, EmptyRows, v1::EmptyRows, "spec.empty_rows", [Argmax, Leave]
}

same_enum! {
    task_to_wire, task_from_wire, spec::Task, v1::Task, "spec.task", [Multilabel, Multiclass]
}
same_enum! {
    objective_to_wire, objective_from_wire, spec::Objective, v1::Objective, "spec.objective",
    [MacroF1, MicroF1, MeanAuroc, Map, Accuracy, Loss]
}

/// The wire form of `spec.class_weights`; `None` if all classes weigh the same.
pub fn class_weights_to_wire(weights: &ClassWeights) -> Option<v1::ClassWeights> {
    match weights {
        ClassWeights::None => None,
        ClassWeights::Balanced => Some(v1::ClassWeights { balanced: true, weights: Vec::new() }),
        ClassWeights::Given(weights) => Some(v1::ClassWeights { balanced: false, weights: weights.clone() }),
    }
}

/// The domain form of `spec.class_weights`.
///
/// # Errors
/// If weights are given and also follow from counts.
pub fn class_weights_from_wire(wire: Option<v1::ClassWeights>) -> Result<ClassWeights, WireError> {
    match wire {
        None => Ok(ClassWeights::None),
        Some(v1::ClassWeights { balanced: false, weights }) => Ok(ClassWeights::Given(weights)),
        Some(v1::ClassWeights { balanced: true, weights }) if weights.is_empty() => Ok(ClassWeights::Balanced),
        Some(_) => Err(WireError::new("spec.class_weights", "it is balanced and has weights: expected one of them")),
    }
}

/// The wire form of `spec.threshold`.
pub fn threshold_rule_to_wire(rule: ThresholdRule) -> v1::ThresholdRule {
    let (kind, fixed) = match rule {
        ThresholdRule::Global => (Kind::Global, 0.0),
        ThresholdRule::PerClass => (Kind::PerClass, 0.0),
        ThresholdRule::Fixed(threshold) => (Kind::Fixed, threshold),
    };
    v1::ThresholdRule { kind: kind.into(), fixed }
}

/// The domain form of `spec.threshold`.
///
/// # Errors
/// If the kind is not set or of a newer version.
pub fn threshold_rule_from_wire(wire: v1::ThresholdRule) -> Result<ThresholdRule, WireError> {
    let field = "spec.threshold.kind";
    match Kind::try_from(wire.kind) {
        Ok(Kind::Global) => Ok(ThresholdRule::Global),
        Ok(Kind::PerClass) => Ok(ThresholdRule::PerClass),
        Ok(Kind::Fixed) => Ok(ThresholdRule::Fixed(wire.fixed)),
        Ok(Kind::Unspecified) => Err(WireError::new(field, "it is not set")),
        Err(_) => Err(WireError::new(field, format!("this version does not know the value {}", wire.kind))),
    }
}

/// The wire form of a spec.
#[expect(clippy::too_many_lines, reason = "one line for each key")]
pub fn spec_to_wire(spec: &JobSetSpec) -> v1::JobSetSpec {
    v1::JobSetSpec {
        name: spec.name.clone(),
        fold_count: spec.folds,
        folds: spec.trained_folds().into_iter().map(|fold| u32::from(fold.0)).collect(),
        split_method: split_method_to_wire(spec.split_method).into(),
        split_seed: spec.split_seed,
        split_shuffle: spec.split_shuffle,
        seed: spec.seed,
        train_with_hpa: spec.train_with_hpa,
        valid_with_hpa: spec.valid_with_hpa,
        weighted_samples: spec.weighted_samples,
        model_name: model_name_to_wire(spec.model_name).into(),
        head: head_to_wire(spec.head).into(),
        base_width: spec.base_width,
        image_size: spec.image_size,
        normalization: normalization_to_wire(spec.normalization).into(),
        augmentation: augmentation_to_wire(spec.augmentation).into(),
        tta: spec.tta,
        batch_size: spec.batch_size,
        train_batch_per_epoch: spec.train_batch_per_epoch,
        valid_batch_per_epoch: spec.valid_batch_per_epoch,
        epochs: spec.epochs,
        loss: loss_to_wire(spec.loss).into(),
        optimizer: optimizer_to_wire(spec.optimizer).into(),
        learning_rate: spec.learning_rate,
        weight_decay: spec.weight_decay,
        momentum: spec.momentum,
        nesterov: spec.nesterov,
        lr_factor: spec.lr_factor,
        lr_patience: spec.lr_patience,
        lr_cooldown: spec.lr_cooldown,
        min_learning_rate: spec.min_learning_rate,
        early_stop_patience: spec.early_stop_patience,
        early_stop_min_delta: spec.early_stop_min_delta,
        precision: precision_to_wire(spec.precision).into(),
        deterministic: spec.deterministic,
        intraop_threads: spec.intraop_threads,
        checkpoint_every_batches: spec.checkpoint_every_batches,
        oof_checkpoint: scored_checkpoint_to_wire(spec.oof_checkpoint).into(),
        empty_rows: empty_rows_to_wire(spec.empty_rows).into(),
        max_attempts: spec.max_attempts,
        non_finite_retries: spec.non_finite_retries,
        keep_last: Some(spec.keep_last),
        keep_best: Some(spec.keep_best),
        group_column: Some(spec.group_column.clone()),
        lr_schedule: Some(lr_schedule_to_wire(spec.lr_schedule).into()),
        lr_step_epochs: Some(spec.lr_step_epochs),
        lr_warmup_epochs: Some(spec.lr_warmup_epochs),
        checkpoint_minutes: Some(spec.checkpoint_minutes),
        keep_optimizer: Some(spec.keep_optimizer),
        classes: spec.classes.clone(),
        id_column: Some(spec.id_column.clone()),
        label_column: Some(spec.label_column.clone()),
        label_format: Some(label_format_to_wire(spec.label_format).into()),
        label_separator: Some(label_separator_to_wire(spec.label_separator).into()),
        image_files: Some(spec.image_files.clone()),
        channels: spec.channels.clone(),
        resize: Some(resize_to_wire(spec.resize).into()),
        fit: Some(fit_to_wire(spec.fit).into()),
        augmentations: spec.augmentations.clone(),
        task: Some(task_to_wire(spec.task).into()),
        label_smoothing: Some(spec.label_smoothing),
        class_weights: class_weights_to_wire(&spec.class_weights),
        objective: Some(objective_to_wire(spec.objective).into()),
        threshold: Some(threshold_rule_to_wire(spec.threshold)),
    }
}

/// The domain form of a spec, checked. Optional fields that are not set, because the client is older than they are, have
/// the key's first default.
///
/// # Errors
/// The first field that is not set or out of its limits.
#[expect(clippy::too_many_lines, reason = "one line for each key")]
pub fn spec_from_wire(wire: v1::JobSetSpec) -> Result<JobSetSpec, WireError> {
    let all_folds = wire.folds.iter().copied().eq(0..wire.fold_count);
    let absent = JobSetSpec::of_absent_keys();
    let spec = JobSetSpec {
        name: wire.name,
        folds: wire.fold_count,
        fold: if all_folds { Vec::new() } else { wire.folds },
        split_method: split_method_from_wire(wire.split_method)?,
        split_seed: wire.split_seed,
        split_shuffle: wire.split_shuffle,
        seed: wire.seed,
        train_with_hpa: wire.train_with_hpa,
        valid_with_hpa: wire.valid_with_hpa,
        weighted_samples: wire.weighted_samples,
        model_name: model_name_from_wire(wire.model_name)?,
        head: head_from_wire(wire.head)?,
        base_width: wire.base_width,
        image_size: wire.image_size,
        normalization: normalization_from_wire(wire.normalization)?,
        augmentation: augmentation_from_wire(wire.augmentation)?,
        tta: wire.tta,
        batch_size: wire.batch_size,
        train_batch_per_epoch: wire.train_batch_per_epoch,
        valid_batch_per_epoch: wire.valid_batch_per_epoch,
        epochs: wire.epochs,
        loss: loss_from_wire(wire.loss)?,
        optimizer: optimizer_from_wire(wire.optimizer)?,
        learning_rate: wire.learning_rate,
        weight_decay: wire.weight_decay,
        momentum: wire.momentum,
        nesterov: wire.nesterov,
        lr_factor: wire.lr_factor,
        lr_patience: wire.lr_patience,
        lr_cooldown: wire.lr_cooldown,
        min_learning_rate: wire.min_learning_rate,
        early_stop_patience: wire.early_stop_patience,
        early_stop_min_delta: wire.early_stop_min_delta,
        precision: precision_from_wire(wire.precision)?,
        deterministic: wire.deterministic,
        intraop_threads: wire.intraop_threads,
        checkpoint_every_batches: wire.checkpoint_every_batches,
        oof_checkpoint: scored_checkpoint_from_wire(wire.oof_checkpoint)?,
        empty_rows: empty_rows_from_wire(wire.empty_rows)?,
        max_attempts: wire.max_attempts,
        non_finite_retries: wire.non_finite_retries,
        keep_last: wire.keep_last.unwrap_or(absent.keep_last),
        keep_best: wire.keep_best.unwrap_or(absent.keep_best),
        group_column: wire.group_column.unwrap_or(absent.group_column),
        lr_schedule: wire.lr_schedule.map_or(Ok(absent.lr_schedule), lr_schedule_from_wire)?,
        lr_step_epochs: wire.lr_step_epochs.unwrap_or(absent.lr_step_epochs),
        lr_warmup_epochs: wire.lr_warmup_epochs.unwrap_or(absent.lr_warmup_epochs),
        checkpoint_minutes: wire.checkpoint_minutes.unwrap_or(absent.checkpoint_minutes),
        keep_optimizer: wire.keep_optimizer.unwrap_or(absent.keep_optimizer),
        classes: wire.classes,
        id_column: wire.id_column.unwrap_or(absent.id_column),
        label_column: wire.label_column.unwrap_or(absent.label_column),
        label_format: wire.label_format.map_or(Ok(absent.label_format), label_format_from_wire)?,
        label_separator: wire.label_separator.map_or(Ok(absent.label_separator), label_separator_from_wire)?,
        image_files: wire.image_files.unwrap_or(absent.image_files),
        channels: wire.channels,
        resize: wire.resize.map_or(Ok(absent.resize), resize_from_wire)?,
        fit: wire.fit.map_or(Ok(absent.fit), fit_from_wire)?,
        augmentations: wire.augmentations,
        task: wire.task.map_or(Ok(absent.task), task_from_wire)?,
        label_smoothing: wire.label_smoothing.unwrap_or(absent.label_smoothing),
        class_weights: class_weights_from_wire(wire.class_weights)?,
        objective: wire.objective.map_or(Ok(absent.objective), objective_from_wire)?,
        threshold: wire.threshold.map_or(Ok(absent.threshold), threshold_rule_from_wire)?,
    };
    spec.check().map_err(|error| WireError::new(format!("spec.{}", error.key), error.problem))?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use fivefold_common::spec::{KEYS, SpecOverrides, Syntax};

    use super::*;

    #[test]
    fn specs_round_trip() {
        let mut spec = JobSetSpec { fold: vec![0, 3], tta: 4, name: "evening".into(), ..JobSetSpec::default() };
        assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec.clone()));
        spec.fold.clear();
        assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec));
    }

    #[test]
    fn each_key_survives_the_wire() {
        // With SGD, so that `nesterov` may be true, and with steps, so that there may be a warm-up.
        let (optimizer, lr_schedule) = (spec::Optimizer::Sgd, spec::LrSchedule::Step);
        let multilabel = JobSetSpec { optimizer, lr_schedule, ..JobSetSpec::default() };
        // Some keys need another loss.
        let (task, loss) = (spec::Task::Multiclass, spec::Loss::CrossEntropy);
        let multiclass = JobSetSpec { task, loss, ..multilabel.clone() };
        for key in KEYS {
            let words = if let Syntax::Word(words) = key.syntax { words() } else { Vec::new() };
            let texts =
                ["1", "2", "8", "128", "0.5", "0", "true", "false", "a,b", "balanced", "{id}.png", "quarter_turn"];
            let texts = texts.into_iter().chain(words);
            let tries: Vec<(&JobSetSpec, &str)> =
                texts.flat_map(|text| [(&multilabel, text), (&multiclass, text)]).collect();
            let mut other_values = tries.into_iter().filter_map(|(base, text)| {
                let (mut overrides, mut spec) = (SpecOverrides::default(), base.clone());
                key.set(&mut overrides, text).ok()?;
                overrides.apply_to(&mut spec);
                (spec != *base && spec.check().is_ok()).then_some(spec)
            });
            match other_values.next() {
                Some(spec) => assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec), "{}", key.name),
                None => assert!(matches!(key.syntax, Syntax::Word(words) if words().len() == 1), "{}", key.name),
            }
        }
    }

    #[test]
    fn weights_and_thresholds_round_trip() {
        let weights: Vec<f64> = (0..28).map(|class| 0.5 + f64::from(class)).collect();
        for class_weights in [ClassWeights::None, ClassWeights::Balanced, ClassWeights::Given(weights)] {
            for threshold in [ThresholdRule::Global, ThresholdRule::PerClass, ThresholdRule::Fixed(0.15)] {
                let spec = JobSetSpec { class_weights: class_weights.clone(), threshold, ..JobSetSpec::default() };
                assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec));
            }
        }
        let both = Some(v1::ClassWeights { balanced: true, weights: vec![1.0] });
        assert_eq!(class_weights_from_wire(both).unwrap_err().field, "spec.class_weights");
        let unset = v1::ThresholdRule::default();
        assert_eq!(threshold_rule_from_wire(unset).unwrap_err().to_string(), "spec.threshold.kind: it is not set");
    }

    #[test]
    fn bad_fields_are_named() {
        let good = spec_to_wire(&JobSetSpec::default());
        let unset = v1::JobSetSpec { loss: 0, ..good.clone() };
        assert_eq!(spec_from_wire(unset).unwrap_err().to_string(), "spec.loss: it is not set");
        let newer = v1::JobSetSpec { loss: 99, ..good.clone() };
        let message = spec_from_wire(newer).unwrap_err().to_string();
        assert_eq!(message, "spec.loss: this version does not know the value 99");
        let zero = v1::JobSetSpec { batch_size: 0, ..good };
        assert_eq!(spec_from_wire(zero).unwrap_err().field, "spec.batch_size");
    }
}
