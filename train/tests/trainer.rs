//! Whole trainings of a tiny model on tiny images: wherever one is interrupted, it ends with the same bits.

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
use fivefold_common::spec::{JobSetSpec, Optimizer, Precision, ScoredCheckpoint};
use fivefold_train::checkpoint;
use fivefold_train::data::image_folder::ImageFolder;
use fivefold_train::data::sampler::training_rows;
use fivefold_train::engine::events::{Event, SavedCheckpoint};
use fivefold_train::engine::scoring::{Scored, score_rows};
use fivefold_train::engine::stop::{Stop, StopFlag};
use fivefold_train::engine::trainer::{FoldData, Resume, TrainError, Trained, train_fold};
use fivefold_train::models::resnet50::ResNet50;
use fivefold_train::torch::device::{self, Device};
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
        ..JobSetSpec::default()
    }
}

/// A folder of images, and one for checkpoints.
struct Fixture {
    images: TempDir,
    checkpoints: TempDir,
    data: FoldData,
}

impl Fixture {
    /// 20 rows to train on and 11 to validate on, more than an epoch validates.
    fn new() -> Self {
        let images = tempfile::tempdir().unwrap();
        let rows: Vec<LabelledRow> = (0..31).map(row).collect();
        for (place, row) in rows.iter().enumerate() {
            write_image(images.path(), row, place as u32);
        }
        let data = FoldData {
            folder: Arc::new(ImageFolder::open(images.path()).unwrap()),
            train: rows[..20].into(),
            valid: rows[20..].into(),
            decode_threads: 2,
        };
        Self { images, checkpoints: tempfile::tempdir().unwrap(), data }
    }

    /// Trains until the end, or until `ask` wants it to stop after an event.
    fn train(
        &self,
        spec: &JobSetSpec,
        resume: &Resume,
        mut ask: impl FnMut(&Event) -> Option<Stop>,
    ) -> (Result<Trained, TrainError>, Vec<Event>) {
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
        let folder = self.checkpoints.path();
        let trained = train_fold(spec, FOLD, &self.data, Device::Cpu, resume, None, folder, &mut sink, &stop);
        (trained, events)
    }

    /// Trains to the end.
    fn finish(&self, spec: &JobSetSpec, resume: &Resume) -> (Outcome, SavedCheckpoint, Vec<Event>) {
        let (trained, events) = self.train(spec, resume, |_| None);
        let Trained::Finished { model, checkpoint } = trained.unwrap() else { panic!("nobody asked it to stop") };
        (self.outcome(spec, &model, &checkpoint.path), checkpoint, events)
    }

    fn outcome(&self, spec: &JobSetSpec, model: &ResNet50, checkpoint: &Path) -> Outcome {
        let bits = |tensor: &Tensor| {
            Vec::<f32>::try_from(tensor.to_kind(tch::Kind::Float).flatten(0, -1)).unwrap().into_iter().map(f32::to_bits)
        };
        let tensors = model.parameters().iter().chain(model.buffers());
        let weights = tensors.flat_map(|named| bits(&named.tensor).collect::<Vec<_>>()).collect();
        let scores = self.score(spec, model).digest_hex();
        let again = ResNet50::new(spec, FOLD, Device::Cpu);
        let epochs = checkpoint::load(checkpoint, spec, FOLD, &again, None).unwrap().epochs;
        Outcome { weights, scores, epochs }
    }

    fn score(&self, spec: &JobSetSpec, model: &ResNet50) -> ScoreTable {
        let FoldData { folder, valid, decode_threads, .. } = &self.data;
        let mut sink = |_: Event| {};
        let flag = StopFlag::new();
        match score_rows(spec, FOLD, model, folder.clone(), valid, *decode_threads, &mut sink, &flag).unwrap() {
            Scored::Finished(table) => table,
            Scored::Stopped => panic!("nobody asked it to stop"),
        }
    }
}

/// The bits of a trained model, of its out-of-fold table, and of what its epochs came to.
#[derive(PartialEq)]
struct Outcome {
    weights: Vec<u32>,
    scores: String,
    epochs: Vec<EpochMetrics>,
}

fn row(place: u8) -> LabelledRow {
    let source = if place % 3 == 2 { Source::Hpa } else { Source::Train };
    let labels = Labels::from_indices([place % 5, 5 + place % 23]).unwrap();
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

/// A checkpoint that a later leg starts from, as a coordinator would hand it out.
fn newest(role: CheckpointRole, events: &[Event]) -> Option<PathBuf> {
    checkpoints(events)
        .into_iter()
        .rfind(|checkpoint| checkpoint.role == role)
        .map(|checkpoint| checkpoint.path.clone())
}

#[test]
fn training_tells_what_it_does() {
    let fixture = Fixture::new();
    let (_, checkpoint, events) = fixture.finish(&spec(), &Resume::default());
    let phases: Vec<(Phase, u32, u32)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Progress(progress) if progress.images_per_second == 0.0 => {
                Some((progress.phase, progress.epoch, progress.step_count))
            }
            _ => None,
        })
        .collect();
    let (train, valid) = (Phase::Training, Phase::Validation);
    assert_eq!(phases, [(train, 0, 6), (valid, 0, 2), (train, 1, 6), (valid, 1, 2)]);
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
    assert_eq!(checkpoint, **saved.last().unwrap());
    assert_eq!(checkpoint.macro_f1, Some(metrics[1].macro_f1));
}

#[test]
fn a_training_that_is_stopped_and_resumed_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    // Tells after each batch, so that it can be stopped there.
    let spec = JobSetSpec { checkpoint_every_batches: 1, ..spec() };
    let (undisturbed, _, _) = fixture.finish(&spec, &Resume::default());

    // After one batch more, or, to get over the validation's start, one event more.
    let mut resume = Resume::default();
    let mut stopped_at = Vec::new();
    let outcome = 'legs: {
        for leg in 0..40 {
            let mut events_left = 2 + leg % 2;
            let (trained, events) = fixture.train(&spec, &resume, |_| {
                events_left -= 1;
                (events_left == 0).then_some(Stop::SaveAndStop)
            });
            resume.best = newest(CheckpointRole::Best, &events).or(resume.best);
            match trained.unwrap() {
                Trained::Finished { model, checkpoint } => {
                    break 'legs fixture.outcome(&spec, &model, &checkpoint.path);
                }
                Trained::Stopped { checkpoint } => {
                    let checkpoint = checkpoint.unwrap();
                    stopped_at.push((checkpoint.point.epoch, checkpoint.point.step));
                    resume.last = Some(checkpoint.path);
                }
            }
        }
        panic!("it did not get on: {stopped_at:?}");
    };
    assert!(outcome == undisturbed, "other bits after stops at {stopped_at:?}");
    // In mid-epoch, in the validation (all batches done), and between epochs.
    for place in [(0, 1), (0, 6), (1, 0)] {
        assert!(stopped_at.contains(&place), "{place:?} is not among {stopped_at:?}");
    }
}

#[test]
fn a_training_that_crashed_ends_with_the_same_bits_from_any_checkpoint() {
    let fixture = Fixture::new();
    let (undisturbed, _, events) = fixture.finish(&spec(), &Resume::default());
    for checkpoint in checkpoints(&events) {
        if checkpoint.role == CheckpointRole::Last {
            let resume = Resume { last: Some(checkpoint.path.clone()), best: None };
            let (outcome, _, _) = fixture.finish(&spec(), &resume);
            assert!(outcome == undisturbed, "other bits from {checkpoint:?}");
        }
    }
}

#[test]
fn decode_threads_do_not_change_the_bits() {
    let mut fixture = Fixture::new();
    let (two, _, _) = fixture.finish(&spec(), &Resume::default());
    for threads in [1, 5] {
        fixture.data.decode_threads = threads;
        let (other, _, _) = fixture.finish(&spec(), &Resume::default());
        assert!(other == two, "other bits with {threads} threads");
    }
}

#[test]
fn the_best_checkpoint_scores_when_the_spec_says_so() {
    let fixture = Fixture::new();
    let spec = JobSetSpec { oof_checkpoint: ScoredCheckpoint::Best, epochs: 3, ..spec() };
    let (undisturbed, checkpoint, events) = fixture.finish(&spec, &Resume::default());
    let best = newest(CheckpointRole::Best, &events).unwrap();
    assert_eq!((&checkpoint.path, checkpoint.role), (&best, CheckpointRole::Best));
    assert!(best.ends_with(format!("best-{}.safetensors", checkpoint.point.epoch - 1)), "{best:?}");

    let model = ResNet50::new(&spec, FOLD, Device::Cpu);
    checkpoint::load(&best, &spec, FOLD, &model, None).unwrap();
    assert!(fixture.outcome(&spec, &model, &best) == undisturbed);

    // A worker that has only the last one needs the best one too.
    let last = newest(CheckpointRole::Last, &events);
    let resume = Resume { last: last.clone(), best: Some(best) };
    let (resumed, _, events) = fixture.finish(&spec, &resume);
    assert!(resumed == undisturbed);
    assert_eq!(events, [], "it was finished before");
    let (without, _) = fixture.train(&spec, &Resume { last, best: None }, |_| None);
    assert!(matches!(without, Err(TrainError::BestMissing)));
}

#[test]
fn a_discarded_training_saves_nothing() {
    let fixture = Fixture::new();
    for phase in [Phase::Training, Phase::Validation] {
        let spec = JobSetSpec { checkpoint_every_batches: 0, ..spec() };
        let in_phase = |event: &Event| matches!(event, Event::Progress(progress) if progress.phase == phase);
        let (trained, events) =
            fixture.train(&spec, &Resume::default(), |event| in_phase(event).then_some(Stop::Discard));
        assert!(matches!(trained.unwrap(), Trained::Stopped { checkpoint: None }));
        assert!(checkpoints(&events).is_empty());
    }
    assert_eq!(std::fs::read_dir(fixture.checkpoints.path()).unwrap().count(), 0);
}

#[test]
fn scoring_keeps_the_rows_and_stops_when_asked() {
    let fixture = Fixture::new();
    let spec = spec();
    device::prepare(Device::Cpu, &spec).unwrap();
    let model = ResNet50::new(&spec, FOLD, Device::Cpu);
    let table = fixture.score(&spec, &model);
    table.check("scores").unwrap();
    assert_eq!(table.rows.len(), fixture.data.valid.len());
    for (scored, row) in table.rows.iter().zip(&*fixture.data.valid) {
        assert_eq!((&scored.id, scored.source, scored.target, scored.fold), (&row.id, row.source, row.labels, FOLD.0));
    }
    let FoldData { folder, valid, .. } = &fixture.data;
    let stop = StopFlag::new();
    let mut sink = |_: Event| stop.ask(Stop::SaveAndStop);
    let scored = score_rows(&spec, FOLD, &model, folder.clone(), valid, 1, &mut sink, &stop).unwrap();
    assert!(matches!(scored, Scored::Stopped));
}

#[test]
fn every_precision_trains() {
    let fixture = Fixture::new();
    for precision in [Precision::Bf16, Precision::Fp16] {
        let spec = JobSetSpec { precision, epochs: 1, train_batch_per_epoch: 2, valid_batch_per_epoch: 1, ..spec() };
        let (_, checkpoint, _) = fixture.finish(&spec, &Resume::default());
        assert_eq!((checkpoint.point.epoch, checkpoint.point.step), (1, 0));
    }
}

#[test]
fn a_loss_that_is_not_finite_names_its_batch() {
    let fixture = Fixture::new();
    let spec = JobSetSpec { optimizer: Optimizer::Sgd, learning_rate: 1e30, ..spec() };
    let (trained, _) = fixture.train(&spec, &Resume::default(), |_| None);
    let error = trained.err().unwrap();
    let TrainError::NonFiniteLoss { phase: Phase::Training, epoch: 0, step, learning_rate: 1e30, ids } = &error else {
        panic!("{error}")
    };
    assert!(*step > 0, "the first batch's loss is of the first weights");
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
    let (trained, _) = fixture.train(&spec(), &Resume::default(), |_| None);
    let error = trained.err().unwrap();
    assert!(matches!(error, TrainError::Image(_)), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn checkpoints_that_cannot_be_used_or_written_are_told_apart() {
    let fixture = Fixture::new();
    let broken = fixture.images.path().join("broken.safetensors");
    std::fs::write(&broken, "no checkpoint").unwrap();
    let (trained, _) = fixture.train(&spec(), &Resume { last: Some(broken), best: None }, |_| None);
    assert!(matches!(trained, Err(TrainError::Resume(_))));

    std::fs::remove_dir(fixture.checkpoints.path()).unwrap();
    let (trained, _) = fixture.train(&spec(), &Resume::default(), |_| None);
    assert!(matches!(trained, Err(TrainError::Checkpoint(_))));
}
