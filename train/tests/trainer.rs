//! Whole trainings of a tiny model on tiny images. Wherever one is interrupted, it ends with the same bits.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fivefold_common::checkpoint::CheckpointRole;
use fivefold_common::ids::Fold;
use fivefold_common::labels::Labels;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::progress::{EpochMetrics, Phase};
use fivefold_common::scores::{ScoreTable, Source};
use fivefold_common::spec::{JobSetSpec, LrSchedule, Optimizer, Precision, ScoredCheckpoint};
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_pack::CacheLimit;
use fivefold_train::data::sampler::training_rows;
use fivefold_train::engine::events::{Event, SavedCheckpoint};
use fivefold_train::engine::scoring::{Scored, Scoring};
use fivefold_train::engine::training::load_model;
use fivefold_train::models::Model;
use fivefold_train::torch::device::{self, Device};
use fivefold_train::torch::tensor_file::TensorFile;
use fivefold_train::{FoldData, ImageSource, Predictor, Start, Stop, StopFlag, TrainError, TrainOutcome, Trainer};
use tch::Tensor;
use tempfile::TempDir;

const FOLD: Fold = Fold(3);
const SIZE: u32 = 32;

fn spec() -> JobSetSpec {
    JobSetSpec {
        base_width: 8,
        image_size: SIZE,
        batch_size: 4,
        train_batch_per_epoch: 6,
        valid_batch_per_epoch: 2,
        epochs: 2,
        tta: 2,
        intraop_threads: 2,
        checkpoint_every_batches: 2,
        checkpoint_minutes: 0,
        ..JobSetSpec::default()
    }
}

/// Images, and a folder for checkpoints.
struct Fixture {
    images: TempDir,
    checkpoints: TempDir,
    data: FoldData,
}

impl Fixture {
    /// 20 rows to train on and 11 to validate on, which is more than an epoch validates.
    fn new() -> Self {
        let images = tempfile::tempdir().unwrap();
        let rows: Vec<LabelledRow> = (0..31).map(row).collect();
        for (place, row) in rows.iter().enumerate() {
            write_image(images.path(), row, place as u32);
        }
        let data = FoldData {
            images: Arc::new(ImageFolder::open(images.path()).unwrap()).into(),
            train: rows[..20].into(),
            valid: rows[20..].into(),
            decode_threads: 2,
        };
        Self { images, checkpoints: tempfile::tempdir().unwrap(), data }
    }

    /// Trains to the end, or until `ask` asks to stop after an event.
    fn train(
        &self,
        spec: &JobSetSpec,
        start: &Start,
        mut ask: impl FnMut(&Event) -> Option<Stop>,
    ) -> (Result<TrainOutcome, TrainError>, Vec<Event>) {
        let stop = StopFlag::new();
        let mut events = Vec::new();
        let mut sink = |event: Event| {
            if let Event::CheckpointSaved(checkpoint) = &event {
                assert!(checkpoint.path.exists(), "{checkpoint:?}");
            }
            if let Some(wish) = ask(&event) {
                stop.ask(wish);
            }
            events.push(event);
        };
        let trainer = Trainer {
            spec: spec.clone(),
            fold: FOLD,
            data: self.data.clone(),
            device: Device::Cpu,
            folder: self.checkpoints.path().to_owned(),
            start: start.clone(),
        };
        let trained = trainer.run(&mut sink, &stop);
        (trained, events)
    }

    /// Trains to the end.
    fn finish(&self, spec: &JobSetSpec, start: &Start) -> (Outcome, SavedCheckpoint, Vec<Event>) {
        let (trained, events) = self.train(spec, start, |_| None);
        let TrainOutcome::Finished { checkpoint, out_of_fold } = trained.unwrap() else {
            panic!("stopped without being asked to")
        };
        (outcome(spec, &checkpoint.path, &out_of_fold), checkpoint, events)
    }

    /// Scores the validation rows with a checkpoint.
    fn predict(&self, spec: &JobSetSpec, checkpoint: &Path) -> ScoreTable {
        let FoldData { images, valid, decode_threads, .. } = self.data.clone();
        let predictor = Predictor {
            spec: spec.clone(),
            fold: FOLD,
            images,
            rows: valid,
            decode_threads,
            device: Device::Cpu,
            checkpoint: checkpoint.to_owned(),
        };
        match predictor.run(&mut |_| {}, &StopFlag::new()).unwrap() {
            Scored::Finished(table) => table,
            Scored::Stopped => panic!("stopped without being asked to"),
        }
    }
}

fn outcome(spec: &JobSetSpec, checkpoint: &Path, scores: &ScoreTable) -> Outcome {
    let model = Model::new(spec, FOLD, Device::Cpu);
    let epochs = load_model(checkpoint, spec, FOLD, &model).unwrap().epochs;
    let bits = |tensor: &Tensor| {
        Vec::<f32>::try_from(tensor.to_kind(tch::Kind::Float).flatten(0, -1)).unwrap().into_iter().map(f32::to_bits)
    };
    let weights = model.tensors().iter().flat_map(|named| bits(&named.tensor).collect::<Vec<_>>()).collect();
    Outcome { weights, scores: scores.digest_hex(), epochs }
}

/// The bits of a trained model and of its out-of-fold table, and the metrics of its epochs.
#[derive(PartialEq)]
struct Outcome {
    weights: Vec<u32>,
    scores: String,
    epochs: Vec<EpochMetrics>,
}

fn row(place: u8) -> LabelledRow {
    let source = if place % 3 == 2 { Source::Hpa } else { Source::Train };
    let labels = Labels::from_indices([place % 5, 5 + place % 23].map(u16::from)).unwrap();
    LabelledRow { id: format!("image{place}"), source, labels }
}

fn image_path(folder: &Path, row: &LabelledRow, colour: &str) -> PathBuf {
    folder.join(row.source.to_string()).join(format!("{}_{colour}.png", row.id))
}

fn write_image(folder: &Path, row: &LabelledRow, place: u32) {
    for (channel, colour) in (0u32..).zip(["red", "green", "blue"]) {
        let path = image_path(folder, row, colour);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixel = |at: u32| ((at * (at + 7 * place + channel) + 31 * place) % 251) as u8;
        let pixels: Vec<u8> = (0..SIZE * SIZE).map(pixel).collect();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), SIZE, SIZE);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }
}

fn checkpoints(events: &[Event]) -> Vec<&SavedCheckpoint> {
    let mut saved = Vec::new();
    for event in events {
        if let Event::CheckpointSaved(checkpoint) = event {
            saved.push(checkpoint);
        }
    }
    saved
}

fn names<'a>(checkpoints: &[&'a SavedCheckpoint]) -> Vec<&'a str> {
    checkpoints.iter().map(|checkpoint| checkpoint.path.file_stem().unwrap().to_str().unwrap()).collect()
}

/// The newest checkpoint of a role.
fn newest(role: CheckpointRole, events: &[Event]) -> Option<PathBuf> {
    checkpoints(events)
        .into_iter()
        .rfind(|checkpoint| checkpoint.role == role)
        .map(|checkpoint| checkpoint.path.clone())
}

#[test]
fn training_reports_its_progress() {
    let fixture = Fixture::new();
    let (_, checkpoint, events) = fixture.finish(&spec(), &Start::Seed);
    let phases: Vec<(Phase, Option<u32>, u32)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Progress(progress) if progress.images_per_second == 0.0 => {
                Some((progress.phase, progress.epoch(), progress.step_count))
            }
            _ => None,
        })
        .collect();
    let (train, valid) = (Phase::Training, Phase::Validation);
    let epochs = [(train, Some(0), 6), (valid, Some(0), 2), (train, Some(1), 6), (valid, Some(1), 2)];
    assert_eq!(phases, [&epochs[..], &[(Phase::Scoring, None, 3)]].concat());
    let metrics: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::EpochEnded(metrics) => Some(metrics),
            _ => None,
        })
        .collect();
    assert_eq!(metrics.iter().map(|metrics| metrics.epoch).collect::<Vec<_>>(), [0, 1]);
    assert!(metrics.iter().all(|metrics| metrics.train_loss > 0.0 && metrics.valid_loss > 0.0), "{metrics:?}");
    assert!(metrics.iter().all(|metrics| (0.0..=1.0).contains(&metrics.macro_f1)), "{metrics:?}");

    let saved = checkpoints(&events);
    let mut expected = vec!["last-0-2", "last-0-4", "best-0", "last-1-0", "last-1-2", "last-1-4"];
    if metrics[1].macro_f1 > metrics[0].macro_f1 {
        expected.push("best-1");
    }
    expected.push("last-2-0");
    assert_eq!(names(&saved), expected);
    let last = saved.last().unwrap();
    let model = SavedCheckpoint { path: fixture.checkpoints.path().join("model.safetensors"), ..(*last).clone() };
    assert_eq!(checkpoint, model);
    assert_eq!(checkpoint.macro_f1, Some(metrics[1].macro_f1));
}

#[test]
fn images_of_other_channels_are_trained_resumed_and_scored() {
    let fixture = Fixture::new();
    for row in fixture.data.train.iter().chain(fixture.data.valid.iter()) {
        let [red, yellow] = ["red", "yellow"].map(|colour| image_path(fixture.images.path(), row, colour));
        std::fs::copy(red, yellow).unwrap();
    }
    let four = ["red", "green", "blue", "yellow"];
    for (image_files, channels, count) in [("{list}/{id}_red.png", &["grey"][..], 1), ("", &four, 4)] {
        let channels = channels.iter().map(|&name| name.to_owned()).collect();
        let spec = JobSetSpec { image_files: image_files.to_owned(), channels, epochs: 1, ..spec() };
        let (expected, checkpoint, _) = fixture.finish(&spec, &Start::Seed);
        let model = TensorFile::read(&checkpoint.path).unwrap();
        assert_eq!(model.tensors()["conv1.weight"].shape[1], count);
        let stop = |event: &Event| matches!(event, Event::CheckpointSaved(_)).then_some(Stop::Discard);
        let (_, events) = fixture.train(&spec, &Start::Seed, stop);
        let start = Start::Checkpoint { last: newest(CheckpointRole::Last, &events).unwrap(), best: None };
        assert!(fixture.finish(&spec, &start).0 == expected);
    }
}

#[test]
fn the_checkpoint_that_scores_has_the_model_of_the_last_one_and_no_optimizer() {
    let fixture = Fixture::new();
    let (_, model, events) = fixture.finish(&spec(), &Start::Seed);
    let last = newest(CheckpointRole::Last, &events).unwrap();
    let read = |path: &Path| TensorFile::read(path).unwrap();
    let (model, last) = (read(&model.path), read(&last));
    assert_eq!(model.metadata("fivefold"), last.metadata("fivefold"));
    let is_of_model = |name: &&str| !name.starts_with("optimizer.");
    let names: Vec<&str> = last.names().filter(is_of_model).collect();
    assert_eq!(model.names().collect::<Vec<_>>(), names);
    assert!(names.len() > 100 && last.names().count() > 2 * names.len());
    for name in names {
        assert!(model.bytes_of(name).is_some() && model.bytes_of(name) == last.bytes_of(name), "{name}");
    }
}

#[test]
fn a_training_whose_epochs_have_no_checkpoint_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    let every = JobSetSpec { oof_checkpoint: ScoredCheckpoint::Best, epochs: 3, ..spec() };
    let (expected, _, _) = fixture.finish(&every, &Start::Seed);
    // Checkpoints are far apart, so the best model is saved later than its epoch.
    let spec = JobSetSpec { checkpoint_every_batches: 0, checkpoint_minutes: 1440, ..every };
    let (rare, _, events) = fixture.finish(&spec, &Start::Seed);
    assert!(rare == expected);
    let all = names(&checkpoints(&events)).join(" ");
    assert!(all.ends_with("last-3-0") && all.contains("best-"), "{all}");

    // Stopped in the second epoch: the best model of the first one is saved before the checkpoint that resumes.
    let in_second = |event: &Event| matches!(event, Event::Progress(progress) if progress.epoch == 1);
    let (trained, events) = fixture.train(&spec, &Start::Seed, |event| in_second(event).then_some(Stop::SaveAndStop));
    assert!(matches!(trained.unwrap(), TrainOutcome::Stopped { checkpoint: Some(_) }));
    let (last, best) = (newest(CheckpointRole::Last, &events).unwrap(), newest(CheckpointRole::Best, &events));
    assert!(best.as_ref().unwrap().ends_with("best-0.safetensors"), "{best:?}");
    let (resumed, _, _) = fixture.finish(&spec, &Start::Checkpoint { last, best });
    assert!(resumed == expected);
}

#[test]
fn a_training_that_is_stopped_and_resumed_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    // One event per batch, so that training can be stopped after each.
    let spec = JobSetSpec { checkpoint_every_batches: 1, ..spec() };
    let (undisturbed, _, _) = fixture.finish(&spec, &Start::Seed);

    // Each leg stops one batch later, or one event later, to get past the start of the validation.
    let (mut last, mut best) = (None, None);
    let mut stopped_at = Vec::new();
    let outcome = 'legs: {
        for leg in 0..40 {
            let mut events_left = 2 + leg % 2;
            let start = match last.clone() {
                Some(last) => Start::Checkpoint { last, best: best.clone() },
                None => Start::Seed,
            };
            let (trained, events) = fixture.train(&spec, &start, |_| {
                events_left -= 1;
                (events_left == 0).then_some(Stop::SaveAndStop)
            });
            best = newest(CheckpointRole::Best, &events).or(best);
            last = newest(CheckpointRole::Last, &events).or(last);
            match trained.unwrap() {
                TrainOutcome::Finished { checkpoint, out_of_fold } => {
                    break 'legs outcome(&spec, &checkpoint.path, &out_of_fold);
                }
                TrainOutcome::Stopped { checkpoint: Some(checkpoint) } => {
                    assert_eq!(Some(&checkpoint.path), last.as_ref());
                    stopped_at.push((checkpoint.point.epoch, checkpoint.point.step));
                }
                // Stopped while it scored: the last checkpoint is up to date.
                TrainOutcome::Stopped { checkpoint: None } => stopped_at.push((2, 0)),
            }
        }
        panic!("training did not advance: {stopped_at:?}");
    };
    assert!(outcome == undisturbed, "the bits differ after stops at {stopped_at:?}");
    // Within an epoch, in the validation (all batches are done), and between epochs.
    for place in [(0, 1), (0, 6), (1, 0)] {
        assert!(stopped_at.contains(&place), "{place:?} is not among {stopped_at:?}");
    }
}

#[test]
fn a_training_that_is_extended_ends_with_the_bits_of_a_longer_one() {
    let step = JobSetSpec { lr_schedule: LrSchedule::Step, lr_step_epochs: 1, lr_warmup_epochs: 1, ..spec() };
    // Plateau lowers the rate in the epochs that are added.
    let plateau = JobSetSpec { lr_patience: 0, lr_cooldown: 0, early_stop_patience: 9, ..spec() };
    let best = JobSetSpec { oof_checkpoint: ScoredCheckpoint::Best, optimizer: Optimizer::Sgd, ..plateau.clone() };
    for short in [step, plateau, best] {
        let fixture = Fixture::new();
        let long = JobSetSpec { epochs: 4, ..short.clone() };
        let (expected, scored, _) = fixture.finish(&long, &Start::Seed);
        let expected_bytes = std::fs::read(&scored.path).unwrap();
        let (ended, _, events) = fixture.finish(&short, &Start::Seed);
        // The best epoch may be one of the first, which depends on the machine's last bits.
        assert!(ended != expected || short.oof_checkpoint == ScoredCheckpoint::Best);
        let last = newest(CheckpointRole::Last, &events).unwrap();
        let start = Start::Checkpoint { last, best: newest(CheckpointRole::Best, &events) };
        let (extended, scored, events) = fixture.finish(&long, &start);
        assert!(extended == expected, "the bits differ: {long:?}");
        assert!(std::fs::read(&scored.path).unwrap() == expected_bytes);
        let epochs: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                Event::EpochEnded(metrics) => Some(metrics.epoch),
                _ => None,
            })
            .collect();
        assert_eq!(epochs, [2, 3], "only what is missing is trained");
    }
}

#[test]
fn a_training_that_stopped_early_is_not_longer_with_more_epochs() {
    let fixture = Fixture::new();
    let short = JobSetSpec { early_stop_patience: 1, early_stop_min_delta: 1.0, epochs: 3, ..spec() };
    let (expected, _, events) = fixture.finish(&short, &Start::Seed);
    assert_eq!(expected.epochs.len(), 2);
    let start = Start::Checkpoint { last: newest(CheckpointRole::Last, &events).unwrap(), best: None };
    let (extended, _, _) = fixture.finish(&JobSetSpec { epochs: 6, ..short }, &start);
    assert!(extended == expected);
}

#[test]
fn a_training_that_crashed_ends_with_the_same_bits_from_any_checkpoint() {
    let fixture = Fixture::new();
    let (undisturbed, _, events) = fixture.finish(&spec(), &Start::Seed);
    for checkpoint in checkpoints(&events) {
        if checkpoint.role == CheckpointRole::Last {
            let start = Start::Checkpoint { last: checkpoint.path.clone(), best: None };
            let (outcome, _, _) = fixture.finish(&spec(), &start);
            assert!(outcome == undisturbed, "the bits differ from {checkpoint:?}");
        }
    }
}

#[test]
fn decode_threads_do_not_change_the_bits() {
    let mut fixture = Fixture::new();
    let (two, _, _) = fixture.finish(&spec(), &Start::Seed);
    for threads in [1, 5] {
        fixture.data.decode_threads = threads;
        let (other, _, _) = fixture.finish(&spec(), &Start::Seed);
        assert!(other == two, "the bits differ with {threads} threads");
    }
}

#[test]
fn the_best_checkpoint_scores_when_the_spec_says_so() {
    let fixture = Fixture::new();
    let spec = JobSetSpec { oof_checkpoint: ScoredCheckpoint::Best, epochs: 3, ..spec() };
    let (undisturbed, checkpoint, events) = fixture.finish(&spec, &Start::Seed);
    let best = newest(CheckpointRole::Best, &events).unwrap();
    assert_eq!(checkpoint.role, CheckpointRole::Best);
    assert_eq!(
        std::fs::read(&checkpoint.path).unwrap(),
        std::fs::read(&best).unwrap(),
        "equal checkpoints are one artifact"
    );
    assert!(best.ends_with(format!("best-{}.safetensors", checkpoint.point.epoch - 1)), "{best:?}");

    assert!(outcome(&spec, &best, &fixture.predict(&spec, &best)) == undisturbed);

    // Resuming a finished training needs the best checkpoint too.
    let last = newest(CheckpointRole::Last, &events).unwrap();
    let start = Start::Checkpoint { last: last.clone(), best: Some(best) };
    let (resumed, _, events) = fixture.finish(&spec, &start);
    assert!(resumed == undisturbed);
    let scores_only = |event: &Event| matches!(event, Event::Progress(progress) if progress.phase == Phase::Scoring);
    assert!(events.iter().all(scores_only), "the training was finished before: {events:?}");
    let (without, _) = fixture.train(&spec, &Start::Checkpoint { last, best: None }, |_| None);
    assert!(matches!(without, Err(TrainError::BestMissing)));
}

#[test]
fn a_discarded_training_saves_nothing() {
    let fixture = Fixture::new();
    for phase in [Phase::Training, Phase::Validation] {
        let spec = JobSetSpec { checkpoint_every_batches: 0, ..spec() };
        let in_phase = |event: &Event| matches!(event, Event::Progress(progress) if progress.phase == phase);
        let (trained, events) = fixture.train(&spec, &Start::Seed, |event| in_phase(event).then_some(Stop::Discard));
        assert!(matches!(trained.unwrap(), TrainOutcome::Stopped { checkpoint: None }));
        assert!(checkpoints(&events).is_empty());
    }
    assert_eq!(std::fs::read_dir(fixture.checkpoints.path()).unwrap().count(), 0);
}

#[test]
fn scoring_keeps_the_rows_and_stops_when_asked() {
    let fixture = Fixture::new();
    let spec = spec();
    device::prepare(Device::Cpu, &spec).unwrap();
    let model = Model::new(&spec, FOLD, Device::Cpu);
    let FoldData { images, valid: rows, .. } = &fixture.data;
    let scoring = Scoring { spec: &spec, fold: FOLD, images, rows, decode_threads: 1 };
    let Scored::Finished(table) = scoring.run(&model, &mut |_| {}, &StopFlag::new()).unwrap() else {
        panic!("stopped without being asked to")
    };
    table.check("scores").unwrap();
    assert_eq!(table.rows.len(), fixture.data.valid.len());
    for (scored, row) in table.rows.iter().zip(&*fixture.data.valid) {
        assert_eq!((&scored.id, scored.source, &scored.target, scored.fold), (&row.id, row.source, &row.labels, FOLD));
    }
    let stop = StopFlag::new();
    let scored = scoring.run(&model, &mut |_: Event| stop.ask(Stop::SaveAndStop), &stop).unwrap();
    assert!(matches!(scored, Scored::Stopped));
}

/// Other bytes in every image file, of the same size and the same time.
fn replace_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        if metadata.is_dir() {
            replace_files(&path);
            continue;
        }
        std::fs::write(&path, vec![0; metadata.len() as usize]).unwrap();
        File::open(&path).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
    }
}

#[test]
fn a_cache_changes_no_bit() {
    let mut fixture = Fixture::new();
    let (spec, cache) = (spec(), tempfile::tempdir().unwrap());
    let (reference, _, _) = fixture.finish(&spec, &Start::Seed);
    let ImageSource::Files(folder) = fixture.data.images.clone() else { panic!("it has no cache yet") };
    let open = || {
        let layout = ImageLayout::of(&spec).unwrap();
        ImageSource::cached(folder.clone(), layout, cache.path(), CacheLimit::of(None)).unwrap()
    };
    fixture.data.images = open();
    assert!(fixture.finish(&spec, &Start::Seed).0 == reference, "while the cache is filled");
    // Its validation rows, the rows that it drew, and no other files.
    fixture.data.images = open();
    replace_files(fixture.images.path());
    assert!(fixture.finish(&spec, &Start::Seed).0 == reference, "from the cache alone");
    fixture.data.images = folder.into();
    assert!(fixture.train(&spec, &Start::Seed, |_| None).0.is_err(), "the files are others now");
}

#[test]
fn every_precision_trains() {
    let fixture = Fixture::new();
    for precision in [Precision::Bf16, Precision::Fp16] {
        let spec = JobSetSpec { precision, epochs: 1, train_batch_per_epoch: 2, valid_batch_per_epoch: 1, ..spec() };
        let (_, checkpoint, _) = fixture.finish(&spec, &Start::Seed);
        assert_eq!((checkpoint.point.epoch, checkpoint.point.step), (1, 0));
    }
}

#[test]
fn a_loss_that_is_not_finite_names_its_batch() {
    let fixture = Fixture::new();
    let spec = JobSetSpec { optimizer: Optimizer::Sgd, learning_rate: 1e30, ..spec() };
    let (trained, _) = fixture.train(&spec, &Start::Seed, |_| None);
    let error = trained.err().unwrap();
    let TrainError::NonFiniteLoss { phase: Phase::Training, epoch: 0, step, learning_rate: 1e30, ids, .. } = &error
    else {
        panic!("{error}")
    };
    assert!(*step > 0, "the loss of the first batch is that of the initial weights");
    let rows = training_rows(&spec, FOLD, 0, &fixture.data.train);
    let batch = rows.chunks(4).nth(*step as usize).unwrap();
    let expected: Vec<_> = batch.iter().map(|&row| fixture.data.train[row as usize].id.clone()).collect();
    assert_eq!(*ids, expected);
}

#[test]
fn a_missing_image_is_named() {
    let fixture = Fixture::new();
    let first = training_rows(&spec(), FOLD, 0, &fixture.data.train)[0];
    let path = image_path(fixture.images.path(), &fixture.data.train[first as usize], "green");
    std::fs::remove_file(&path).unwrap();
    let (trained, _) = fixture.train(&spec(), &Start::Seed, |_| None);
    let error = trained.err().unwrap();
    assert!(matches!(error, TrainError::Image(_)), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn unusable_and_unwritable_checkpoints_are_different_errors() {
    let fixture = Fixture::new();
    let broken = fixture.images.path().join("broken.safetensors");
    std::fs::write(&broken, "no checkpoint").unwrap();
    let (trained, _) = fixture.train(&spec(), &Start::Checkpoint { last: broken, best: None }, |_| None);
    assert!(matches!(trained, Err(TrainError::Resume(_))));

    std::fs::remove_dir(fixture.checkpoints.path()).unwrap();
    let (trained, _) = fixture.train(&spec(), &Start::Seed, |_| None);
    assert!(matches!(trained, Err(TrainError::Checkpoint(_))));
}
