//! Event files of TensorBoard: a fold's epochs as scalars.
//!
//! A file is a sequence of records, each a length, a message and their checksums
//! (TFRecord, <https://www.tensorflow.org/tutorials/load_data/tfrecord>); the messages are those of TensorBoard's `event.proto`
//! and `summary.proto`.

use crc::{CRC_32_ISCSI, Crc};
use fivefold_common::spec::Objective;
use fivefold_proto::v1::EpochMetrics;
use prost::Message;

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// What TFRecord adds to a rotated checksum.
const MASK: u32 = 0xa282_ead8;
const FILE_VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The bytes of an event file with a fold's epochs, of which the first began at `start_seconds`. More epochs only add bytes,
/// so a file can be appended to. Steps are epochs, counted from 1.
pub(crate) fn event_file(epochs: &[EpochMetrics], objective: Objective, start_seconds: f64) -> Vec<u8> {
    let version =
        Event { wall_time: start_seconds, step: 0, file_version: Some(FILE_VERSION.to_owned()), summary: None };
    let mut file = Vec::new();
    append(&mut file, &version);
    let mut wall_time = start_seconds;
    for epoch in epochs {
        wall_time += epoch.duration_seconds.max(0.0);
        let summary = Summary { values: scalars(epoch, objective) };
        let event = Event { wall_time, step: i64::from(epoch.epoch) + 1, file_version: None, summary: Some(summary) };
        append(&mut file, &event);
    }
    file
}

fn scalars(epoch: &EpochMetrics, objective: Objective) -> Vec<Value> {
    let mut scalars = vec![
        ("loss/train", epoch.train_loss),
        ("loss/valid", epoch.valid_loss),
        ("valid/macro_f1", epoch.valid_macro_f1),
        ("learning_rate", epoch.learning_rate),
        ("epoch_seconds", epoch.duration_seconds),
    ];
    scalars.extend(epoch.valid_threshold.map(|threshold| ("valid/threshold", threshold)));
    let tag = format!("valid/{objective}");
    let is_there = matches!(objective, Objective::MacroF1 | Objective::Loss);
    scalars.extend(epoch.valid_objective.filter(|_| !is_there).map(|value| (tag.as_str(), value)));
    // The format has 32 bits.
    scalars.into_iter().map(|(tag, value)| Value { tag: tag.to_owned(), simple_value: Some(value as f32) }).collect()
}

/// Appends a record: length, its checksum, message, its checksum; numbers are little-endian.
fn append(file: &mut Vec<u8>, event: &Event) {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_checksum(&length).to_le_bytes());
    file.extend(&message);
    file.extend(masked_checksum(&message).to_le_bytes());
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(count: u32) -> Vec<EpochMetrics> {
        let epoch = |epoch| EpochMetrics {
            epoch,
            train_loss: 0.5,
            valid_macro_f1: 0.25,
            valid_threshold: Some(0.125),
            duration_seconds: 60.0,
            ..EpochMetrics::default()
        };
        (0..count).map(epoch).collect()
    }

    /// The messages of a file, whose lengths and checksums have to be right.
    fn read(mut file: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(file[8..12], masked_checksum(&file[..8]).to_le_bytes());
            let message = &file[12..12 + length];
            assert_eq!(file[12 + length..16 + length], masked_checksum(message).to_le_bytes());
            events.push(Event::decode(message).unwrap());
            file = &file[16 + length..];
        }
        events
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32/ISCSI.
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn epochs_are_steps_and_more_of_them_only_add_bytes() {
        let file = event_file(&epochs(3), Objective::MacroF1, 1000.0);
        let events = read(&file);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let steps: Vec<(i64, f64)> = events.iter().map(|event| (event.step, event.wall_time)).collect();
        assert_eq!(steps, [(0, 1000.0), (1, 1060.0), (2, 1120.0), (3, 1180.0)]);
        let values = &events[1].summary.as_ref().unwrap().values;
        let tags: Vec<&str> = values.iter().map(|value| value.tag.as_str()).collect();
        let expected =
            ["loss/train", "loss/valid", "valid/macro_f1", "learning_rate", "epoch_seconds", "valid/threshold"];
        assert_eq!(tags, expected);
        assert_eq!((values[0].simple_value, values[2].simple_value), (Some(0.5), Some(0.25)));
        assert!(file.starts_with(&event_file(&epochs(2), Objective::MacroF1, 1000.0)));
    }

    #[test]
    fn another_objective_is_a_scalar_of_its_own() {
        let mut of_accuracy = epochs(1);
        of_accuracy[0].valid_objective = Some(0.75);
        let events = read(&event_file(&of_accuracy, Objective::Accuracy, 0.0));
        let last = events[1].summary.as_ref().unwrap().values.last().unwrap().clone();
        assert_eq!((last.tag.as_str(), last.simple_value), ("valid/accuracy", Some(0.75)));
    }
}
