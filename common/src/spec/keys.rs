//! The table of keys. To add a key, copy an entry; CONTRIBUTING.md, "Adding a spec key", lists the other places.

use super::SpecError;
use super::choices::{
    Augmentation, Head, ImageFit, LabelFormat, LabelSeparator, Loss, LrSchedule, ModelName, Normalization, Objective,
    Optimizer, Precision, Resize, ScoredCheckpoint, SplitMethod, Task,
};
use super::class_weights::ClassWeights;
use super::table::{Group, Key, KeyDifference, Resume, keys};
use super::threshold_rule::ThresholdRule;
use super::value::KeyValue;
use crate::augmentation::MOST_STEPS;
use crate::classes::MOST_CLASSES;
use crate::image_files::{LONGEST_TEMPLATE, MOST_CHANNELS};
use crate::threshold::EmptyRows;

// The order is that of stored specs: new keys go to the end. An entry has these fields:
//
// - the doc comment: the documentation of the field and, without its last full stop, the help of the flag;
// - `default`: the default, which is the recipe of the Human Protein Atlas solution;
// - `limits`: the range of a number, of the length of a text in characters, or of the length of a list of
//   names, which may be empty nevertheless;
// - `resume`: whether a checkpoint trained with another value can be resumed;
// - `group`: the heading in the help; `value`: the placeholder of the value there;
// - `help_default`, if the help should show something else than the default;
// - `absent`, if the default changed after the key was released: the first default. Specs stored before the key
//   existed have that value.
keys! {
    /// A name for people, at most 100 characters.
    name: String { default: String::new(), limits: 0..=100, resume: MayDiffer, group: General, value: "TEXT", help_default: "none" }
    /// Number of folds that the rows are split into, 2 to 100.
    folds: u32 { default: 5, limits: 2..=100, resume: MustMatch, group: Folds, value: "N" }
    /// The folds to train, counted from 0; as a flag once per fold or `--fold=0,2`.
    fold: Vec<u32> { default: Vec::new(), resume: MayDiffer, group: Folds, value: "FOLD", help_default: "all" }
    /// The method of the split; gkf and sgkf keep groups whole, given takes the folds of `--folds-csv`.
    split_method: SplitMethod { default: SplitMethod::Mskf, resume: MustMatch, group: Folds, value: "METHOD" }
    /// Seed of the split, as numpy's RandomState takes it.
    split_seed: u32 { default: 42, limits: 0..=u32::MAX, resume: MustMatch, group: Folds, value: "SEED" }
    /// Shuffle the rows before the split.
    split_shuffle: bool { default: false, resume: MustMatch, group: Folds, value: "BOOL" }
    /// Seed of initial weights, samples and augmentations.
    seed: u64 { default: 42, limits: 0..=u64::MAX, resume: MustMatch, group: Training, value: "SEED" }

    /// Train on the HPA list too.
    train_with_hpa: bool { default: true, resume: MustMatch, group: Rows, value: "BOOL", help_default: "true with --hpa-csv" }
    /// Validate on the HPA list too, and score it out of fold.
    valid_with_hpa: bool { default: true, resume: MustMatch, group: Rows, value: "BOOL", help_default: "true with --hpa-csv" }
    /// Draw training rows with replacement, weighted by the rarity of their labels.
    weighted_samples: bool { default: true, resume: MustMatch, group: Rows, value: "BOOL" }

    /// The network.
    model_name: ModelName { default: ModelName::Resnet50, resume: MustMatch, group: Model, value: "MODEL" }
    /// The network's last layers.
    head: Head { default: Head::TwoLayer, resume: MustMatch, group: Model, value: "HEAD" }
    /// Channels of the network's first stage: 64 in the standard networks, fewer for tests.
    base_width: u32 { default: 64, limits: 4..=256, resume: MustMatch, group: Model, value: "N" }

    /// Side of the square images, in pixels.
    image_size: u32 { default: 512, limits: 16..=4096, resume: MustMatch, group: Model, value: "PIXELS" }
    /// Normalisation of the pixels.
    normalization: Normalization { default: Normalization::None, resume: MustMatch, group: Model, value: "KIND" }
    /// Random transformations of training images.
    augmentation: Augmentation { default: Augmentation::Full, resume: MustMatch, group: Model, value: "KIND" }
    /// Passes of test-time augmentation per image; 1 for the plain image alone.
    tta: u32 { default: 10, limits: 1..=100, resume: MayDiffer, group: Scoring, value: "N" }

    /// Images per batch.
    batch_size: u32 { default: 32, limits: 2..=4096, resume: MustMatch, group: Training, value: "N" }
    /// Batches per epoch.
    train_batch_per_epoch: u32 { default: 800, limits: 1..=1_000_000, resume: MustMatch, group: Training, value: "N" }
    /// Validation batches per epoch; fewer if the fold has fewer rows.
    valid_batch_per_epoch: u32 { default: 448, limits: 1..=1_000_000, resume: MustMatch, group: Training, value: "N" }
    /// Maximum number of epochs.
    epochs: u32 { default: 100, limits: 1..=10_000, resume: MayDiffer, group: Training, value: "N" }

    /// The loss; cross_entropy is for multiclass, where it is the default, the others are for multilabel.
    loss: Loss { default: Loss::Bce, resume: MustMatch, group: Training, value: "LOSS" }
    /// The optimiser.
    optimizer: Optimizer { default: Optimizer::Adam, resume: MustMatch, group: Training, value: "OPTIMIZER" }
    /// The initial learning rate.
    learning_rate: f64 { default: 1e-3, limits: 1e-12..=100.0, resume: MustMatch, group: Schedule, value: "X" }
    /// Weight decay: an L2 penalty added to the gradient, or decoupled from it with AdamW.
    weight_decay: f64 { default: 0.0, limits: 0.0..=1.0, resume: MustMatch, group: Training, value: "X" }
    /// Momentum of SGD.
    momentum: f64 { default: 0.9, limits: 0.0..=1.0, resume: MustMatch, group: Training, value: "X" }
    /// Use Nesterov momentum with SGD.
    nesterov: bool { default: false, resume: MustMatch, group: Training, value: "BOOL" }

    /// Factor of the learning rate on a plateau, or of each step.
    lr_factor: f64 { default: 0.1, limits: 0.0..=0.999, resume: MustMatch, group: Schedule, value: "X" }
    /// Epochs without improvement before the learning rate is reduced.
    lr_patience: u32 { default: 4, limits: 0..=10_000, resume: MustMatch, group: Schedule, value: "EPOCHS" }
    /// Epochs after a reduction that are not counted.
    lr_cooldown: u32 { default: 1, limits: 0..=10_000, resume: MustMatch, group: Schedule, value: "EPOCHS" }
    /// Lower bound of the learning rate.
    min_learning_rate: f64 { default: 1e-6, limits: 0.0..=100.0, resume: MustMatch, group: Schedule, value: "X" }
    /// Epochs without improvement before training ends.
    early_stop_patience: u32 { default: 7, limits: 1..=10_000, resume: MustMatch, group: Schedule, value: "EPOCHS" }
    /// Least change of the objective that counts as an improvement.
    early_stop_min_delta: f64 { default: 0.001, limits: 0.0..=1.0, resume: MustMatch, group: Schedule, value: "X" }

    /// Number format of the forward pass; weights and optimiser state stay fp32.
    precision: Precision { default: Precision::Fp32, resume: MustMatch, group: Machine, value: "FORMAT" }
    /// Use deterministic algorithms only, on GPUs too.
    deterministic: bool { default: false, resume: MustMatch, group: Machine, value: "BOOL" }
    /// Threads inside one operation on the CPU; the last bits of the results depend on it.
    intraop_threads: u32 { default: 4, limits: 1..=256, resume: MustMatch, group: Machine, value: "N" }
    /// Batches between checkpoints inside an epoch; 0 for checkpoints at its end only.
    checkpoint_every_batches: u32 { default: 0, limits: 0..=1_000_000, resume: MayDiffer, group: Machine, value: "N" }

    /// The checkpoint that scores the out-of-fold rows.
    oof_checkpoint: ScoredCheckpoint { default: ScoredCheckpoint::Last, resume: MayDiffer, group: Scoring, value: "WHICH" }
    /// The prediction for rows without a score above the threshold.
    empty_rows: EmptyRows { default: EmptyRows::Argmax, resume: MayDiffer, group: Scoring, value: "WHAT" }
    /// Failures with the same cause after which a fold is not tried again; lost workers count apart, up to four times as many.
    max_attempts: u32 { default: 5, limits: 1..=100, resume: MayDiffer, group: Machine, value: "N" }
    /// Retries of a fold whose loss was not finite, from its last checkpoint.
    non_finite_retries: u32 { default: 0, limits: 0..=10, resume: MayDiffer, group: Machine, value: "N" }
    /// Number of newest checkpoints kept per fold.
    keep_last: u32 { default: 2, limits: 1..=1000, resume: MayDiffer, group: Machine, value: "N" }
    /// Number of best checkpoints kept per fold.
    keep_best: u32 { default: 1, limits: 1..=1000, resume: MayDiffer, group: Machine, value: "N" }
    /// Column of the lists with the group of each row, such as the patient.
    group_column: String { default: String::new(), limits: 0..=100, resume: MustMatch, group: Folds, value: "COLUMN", help_default: "Group, if the lists have it" }
    /// The schedule of the learning rate.
    lr_schedule: LrSchedule { default: LrSchedule::Plateau, resume: MustMatch, group: Schedule, value: "SCHEDULE" }
    /// Epochs between reductions by `lr_factor`, for the step schedule.
    lr_step_epochs: u32 { default: 10, limits: 1..=10_000, resume: MustMatch, group: Schedule, value: "EPOCHS" }
    /// Epochs of linear warm-up before the step or cosine schedule.
    lr_warmup_epochs: u32 { default: 0, limits: 0..=10_000, resume: MustMatch, group: Schedule, value: "EPOCHS" }
    /// Longest time between the checkpoints of a fold, in minutes, within an epoch too; they are also made after epochs, where
    /// they take up to 2% of the time. 0 for one after each epoch.
    checkpoint_minutes: u32 { default: 10, limits: 0..=1440, resume: MayDiffer, group: Machine, value: "MINUTES", absent: 0 }
    /// Keep the state of each trained fold's optimiser, three times the size of its model, so that training can go on.
    keep_optimizer: bool { default: false, resume: MayDiffer, group: Machine, value: "BOOL" }
    /// The names of the classes, 2 to 1,000, in the order of their numbers; as a flag `--classes=a,b,c`.
    classes: Vec<String> { default: Vec::new(), limits: 2..=MOST_CLASSES, resume: MustMatch, group: Classes, value: "NAME", help_default: "the 28 of the Human Protein Atlas" }
    /// Column of the lists with the ids.
    id_column: String { default: "Id".to_owned(), limits: 1..=100, resume: MustMatch, group: Classes, value: "COLUMN" }
    /// Column of the lists with the labels.
    label_column: String { default: "Target".to_owned(), limits: 1..=100, resume: MustMatch, group: Classes, value: "COLUMN" }
    /// How the lists have the labels: as numbers from 0, as names, or in a column of 0 and 1 for each class.
    label_format: LabelFormat { default: LabelFormat::Numbers, resume: MustMatch, group: Classes, value: "FORMAT" }
    /// What separates the numbers or names of a row.
    label_separator: LabelSeparator { default: LabelSeparator::Space, resume: MustMatch, group: Classes, value: "WHAT" }
    /// Where the files of an image are, below the folder of images: a path with `{id}`, with `{channel}` if each channel has a
    /// file of its own, and with `{list}` for train, hpa or test if need be.
    image_files: String { default: String::new(), limits: 0..=LONGEST_TEMPLATE, resume: MustMatch, group: Model, value: "PATH", help_default: "{list}/{id}_{channel}.png, or .jpg in hpa/" }
    /// The channels of the images, 1 to 16 names for `{channel}`; or rgb or grey, if an image is one file. As a flag
    /// `--channels=a,b,c`.
    channels: Vec<String> { default: Vec::new(), limits: 1..=MOST_CHANNELS, resume: MustMatch, group: Model, value: "NAME", help_default: "red,green,blue, or rgb" }
    /// How images of another size get `image_size`; hpa_area is area for the HPA list and exact for all others.
    resize: Resize { default: Resize::HpaArea, resume: MustMatch, group: Model, value: "HOW" }
    /// How images of another shape become square.
    fit: ImageFit { default: ImageFit::Stretch, resume: MustMatch, group: Model, value: "HOW" }
    /// Steps of random changes of training images, in place of `augmentation`, such as `crop 0.5` or `rotate 10 p=0.3`; as a
    /// flag with commas between them.
    augmentations: Vec<String> { default: Vec::new(), limits: 1..=MOST_STEPS, resume: MustMatch, group: Model, value: "STEP", help_default: "none" }
    /// Whether an image has any number of classes or exactly one; multiclass scores are a softmax, and the highest one decides.
    task: Task { default: Task::Multilabel, resume: MustMatch, group: Classes, value: "TASK" }
    /// Label smoothing of cross_entropy, as in PyTorch: the share of the target that all classes divide.
    label_smoothing: f64 { default: 0.0, limits: 0.0..=1.0, resume: MustMatch, group: Training, value: "X" }
    /// Weights of the classes in the loss: a number for each class, such as 1,2.5, or balanced, from the fold's training rows. With
    /// bce the `pos_weight` of PyTorch's BCEWithLogitsLoss (balanced: negatives / positives); with cross_entropy the `weight` of
    /// its CrossEntropyLoss (balanced: rows / (classes * rows of the class)).
    class_weights: ClassWeights { default: ClassWeights::None, limits: 0.0..=1e6, resume: MustMatch, group: Training, value: "WEIGHTS" }
    /// What decides on the best checkpoint, the plateau and the early stop, on the validation rows.
    objective: Objective { default: Objective::MacroF1, resume: MustMatch, group: Schedule, value: "WHAT" }
    /// The threshold of the scores: global (the best one for all classes, by macro F1), per_class (the best one for each class, by
    /// its F1), or a number such as 0.15. Multiclass has none.
    threshold: ThresholdRule { default: ThresholdRule::Global, limits: 0.0..=1.0, resume: MayDiffer, group: Scoring, value: "RULE" }
}
