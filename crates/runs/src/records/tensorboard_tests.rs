//! Event files, read back by a reader of their format that shares nothing with the writer.
#![expect(clippy::cast_possible_truncation, reason = "TensorBoard's scalars are f32")]

use std::path::PathBuf;

use super::{START, TensorBoard, beginning, event, scalar, scalars, text};
use crate::folder::RunFolder;
use crate::records::SampleRecord;
use crate::records::{EvalRecord, LossChange};
use crate::records::{MetricsRecord, SourceLoss};

/// CRC-32C bit by bit, from its polynomial.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    !sum
}

/// One field: its number, and a number or bytes.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Number(u64, u64),
    Bytes(u64, Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let len = match key & 7 {
            0 => {
                all.push(Field::Number(key >> 3, varint(&mut bytes)));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            other => panic!("wire type {other}"),
        };
        all.push(Field::Bytes(key >> 3, bytes[..len].to_vec()));
        bytes = &bytes[len..];
    }
    all
}

fn bytes_of(fields: &[Field], number: u64) -> Vec<Vec<u8>> {
    let of = |field: &Field| match field {
        Field::Bytes(n, bytes) if *n == number => Some(bytes.clone()),
        _ => None,
    };
    fields.iter().filter_map(of).collect()
}

fn number_of(fields: &[Field], number: u64) -> u64 {
    let of = |field: &Field| match field {
        Field::Number(n, value) if *n == number => Some(*value),
        _ => None,
    };
    fields.iter().find_map(of).unwrap_or(0)
}

/// The events of a file, sums checked.
fn events(mut bytes: &[u8]) -> Vec<Vec<Field>> {
    let mut all = Vec::new();
    let masked = |data: &[u8]| {
        let sum = checksum(data);
        sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    while !bytes.is_empty() {
        let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        assert_eq!(bytes[8..12], masked(&bytes[..8]));
        let data = &bytes[12..12 + len];
        assert_eq!(bytes[12 + len..16 + len], masked(data));
        all.push(fields(data));
        bytes = &bytes[16 + len..];
    }
    all
}

/// Step and the numbers of an event.
fn read(event: &[Field]) -> (u64, Vec<(String, f32)>) {
    let mut numbers = Vec::new();
    for summary in bytes_of(event, 5) {
        for value in bytes_of(&fields(&summary), 1) {
            let value = fields(&value);
            let tag = String::from_utf8(bytes_of(&value, 1)[0].clone()).unwrap();
            if let Some(bytes) = bytes_of(&value, 2).first() {
                numbers.push((tag, f32::from_le_bytes(bytes[..].try_into().unwrap())));
            }
        }
    }
    (number_of(event, 2), numbers)
}

fn metrics(step: u64) -> MetricsRecord {
    let at = f64::from(u32::try_from(step).unwrap());
    let sources = ["target", "pretraining"].map(|source| SourceLoss {
        source: source.to_owned(),
        loss: 4.0 - at / 7.0,
        tokens: 100,
    });
    let eval = EvalRecord {
        corpus: "pretraining".to_owned(),
        loss: 3.5 + at / 9.0,
        standard_error: Some(0.0),
        bits_per_byte: 1.25,
        change: Some(LossChange { mean: at / 9.0, standard_error: Some(0.01) }),
        ..EvalRecord::default()
    };
    MetricsRecord {
        step,
        train_loss: (step > 0).then_some(3.9 - at / 5.0),
        learning_rate: 1e-3,
        gradient_norm: (step > 0).then_some(0.7),
        tokens: step * 100,
        tokens_per_second: (step > 0).then_some(12_345.6),
        sources: if step > 0 { sources.to_vec() } else { Vec::new() },
        evals: if step.is_multiple_of(2) { vec![eval] } else { Vec::new() },
        ..MetricsRecord::default()
    }
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/tensorboard-v1")
}

/// tools/golden/golden_tensorboard.py wrote the file with tensorboard's own protocol buffers.
#[test]
fn the_golden_file_is_what_is_written() {
    let mut bytes = beginning(1.5e9, 0);
    let mut lines = String::new();
    for step in [0, 1, 2, 300] {
        let record = metrics(step);
        let values = scalars(&record).into_iter().map(|(tag, value)| scalar(&tag, value));
        bytes.extend(event(1.5e9 + 0.25, step, values.collect()));
        lines.push_str(&serde_json::to_string(&record).unwrap());
        lines.push('\n');
    }
    bytes.extend(event(1.5e9 + 0.5, 300, vec![text("samples/1", "    é 漢\n")]));
    let folder = golden_folder();
    assert_eq!(std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap(), lines);
    let golden = std::fs::read(folder.join("events.out.tfevents.1500000000.mixdown.000000"));
    assert!(golden.unwrap() == bytes);
}

#[test]
fn numbers_come_back_step_by_step_and_a_second_start_says_where() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path()).unwrap();
    let mut first = TensorBoard::new(&folder);
    assert!(!folder.tensorboard().exists());
    (0..4).for_each(|step| first.write_metrics(&metrics(step)).unwrap());
    let mut second = TensorBoard::new(&folder);
    (2..6).for_each(|step| second.write_metrics(&metrics(step)).unwrap());
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder.tensorboard()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 2);
    for (name, steps) in names.iter().zip([0..4, 2..6]) {
        let events = events(&std::fs::read(name).unwrap());
        assert_eq!(bytes_of(&events[0], 3), [b"brain.Event:2".to_vec()]);
        assert_eq!(number_of(&events[1], 2), steps.start);
        let session = fields(&bytes_of(&events[1], 7)[0]);
        assert_eq!(number_of(&session, 1), START);
        for (event, step) in events[2..].iter().zip(steps.clone()) {
            let expected: Vec<(String, f32)> = scalars(&metrics(step))
                .into_iter()
                .map(|(tag, value)| (tag, value as f32))
                .collect();
            assert_eq!(read(event), (step, expected));
        }
        assert_eq!(events.len(), 2 + steps.count());
    }
    // The folder is still that of a run.
    RunFolder::create(place.path()).unwrap();
}

/// A disk that was full, or a kill, leaves half a record; a run that continues writes the steps after its checkpoint
/// again.
#[test]
fn a_run_that_continues_cuts_off_half_a_record_and_the_steps_after_its_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path()).unwrap();
    let mut first = TensorBoard::new(&folder);
    (0..4).for_each(|step| first.write_metrics(&metrics(step)).unwrap());
    let path = std::fs::read_dir(folder.tensorboard()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let value = scalar("train/loss", 1.0);
    let next = event(1.5e9, 4, vec![value]);
    for half in [1, 11, 12, 20, next.len() - 1] {
        std::fs::write(&path, [&whole[..], &next[..half]].concat()).unwrap();
        folder.truncate_after(Some(4)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "{half}");
    }
    std::fs::write(&path, [&whole[..], &next].concat()).unwrap();
    folder.truncate_after(Some(2)).unwrap();
    let mut second = TensorBoard::new(&folder);
    (3..6).for_each(|step| second.write_metrics(&metrics(step)).unwrap());
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder.tensorboard()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let all = names.iter().flat_map(|name| events(&std::fs::read(name).unwrap()));
    let steps: Vec<u64> =
        all.map(|event| read(&event)).filter(|one| !one.1.is_empty()).map(|one| one.0).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
    // What is damaged is left to its owner.
    let mut damaged = std::fs::read(&names[0]).unwrap();
    damaged[50] ^= 1;
    std::fs::write(&names[0], &damaged).unwrap();
    folder.truncate_after(Some(1)).unwrap();
    assert_eq!(std::fs::read(&names[0]).unwrap(), damaged);
    // Without a checkpoint a run begins again: version and start are left.
    folder.truncate_after(None).unwrap();
    assert_eq!(events(&std::fs::read(&names[1]).unwrap()).len(), 2);
}

#[test]
fn texts_are_tensors_of_the_plugin_of_texts() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path()).unwrap();
    let sample = SampleRecord {
        step: 7,
        prompt: "Once\n".to_owned(),
        text: "upon".to_owned(),
        ..SampleRecord::default()
    };
    let mut writer = TensorBoard::new(&folder);
    writer.write_samples(&[]).unwrap();
    assert!(!folder.tensorboard().exists());
    writer.write_samples(&[sample]).unwrap();
    let file = std::fs::read_dir(folder.tensorboard()).unwrap().next().unwrap().unwrap().path();
    let events = events(&std::fs::read(file).unwrap());
    assert_eq!(number_of(&events[2], 2), 7);
    let value = fields(&bytes_of(&fields(&bytes_of(&events[2], 5)[0]), 1)[0]);
    assert_eq!(bytes_of(&value, 1), [b"samples/1".to_vec()]);
    let tensor = fields(&bytes_of(&value, 8)[0]);
    assert_eq!(bytes_of(&tensor, 8), [b"    Once\n    upon\n".to_vec()]);
}
