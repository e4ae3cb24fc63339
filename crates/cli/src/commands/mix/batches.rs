//! Batches for any trainer, as Arrow IPC.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::types::{ArrowPrimitiveType, Int32Type, UInt8Type};
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, PrimitiveArray, RecordBatch, UInt32Array,
    UInt64Array,
};
use arrow_schema::{ArrowError, Field, Schema};
use clap::Args;
use mixdown_mixer::{
    Batch, Documents, Loader, LoaderConfig, Mixer, MixerState, Mixture, MixtureConfig, Rank,
    RunLength,
};

use crate::arrow_stream::{ArrowStream, unwritable};
use crate::commands::Context;
use crate::error::Error;

/// Whose batches are written, and from where on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchArgs {
    /// Write this rank's part of each batch.
    #[arg(long, default_value_t = 0, requires = "emit")]
    rank: u32,
    /// The number of ranks.
    #[arg(long, default_value_t = 1, requires = "emit")]
    world_size: u32,
    /// Go on from this state: of a record batch in hexadecimal digits, or a file with it or its JSON.
    #[arg(long, value_name = "STATE", requires = "emit")]
    resume: Option<String>,
    /// Add segment_ids and position_ids, which begin anew with every document.
    #[arg(long, requires = "emit")]
    documents: bool,
    /// Threads that make batches.
    #[arg(long, default_value_t = 1, requires = "emit")]
    threads: u32,
}

/// Writes the batches of a run until its end, or until the reader goes.
pub(super) fn write(
    config: &MixtureConfig,
    base: &Path,
    length: Option<&RunLength>,
    arguments: &BatchArgs,
    context: Context,
) -> Result<(), Error> {
    let rank = Rank::new(arguments.rank, arguments.world_size)?;
    let state = arguments.resume.as_deref().map(read_state).transpose()?;
    // What the first rank has checked at the beginning of the run is not checked by all, and not again.
    let is_first = state.is_none() && arguments.rank == 0;
    let mixture =
        if is_first { Mixture::open(config, base)? } else { Mixture::open_lazily(config, base)? };
    let mixer = Arc::new(Mixer::new(mixture)?);
    let start = state.map_or(Ok(0), |state| first_step(&mixer, &state))?;
    let end = length.map_or(Ok(u64::MAX), |length| mixer.steps(length))?;
    mixer.check_run(end.saturating_mul(mixer.batch_size()))?;
    let loader = LoaderConfig {
        steps: start..end,
        rank,
        threads: arguments.threads,
        documents: arguments.documents,
        ..LoaderConfig::from_step(start)
    };
    let loader = Loader::<i32>::new(Arc::clone(&mixer), loader)?;
    let mut stream = None;
    for batch in loader {
        if context.stop.load(Ordering::Relaxed) {
            break;
        }
        let batch = batch?;
        let after = mixer.state((batch.step() + 1).saturating_mul(mixer.batch_size()));
        let rows = rows(batch.into_inner(), &after, || metadata(&mixer, rank))
            .map_err(|error| unwritable(&error))?;
        let stream = match &mut stream {
            Some(stream) => stream,
            none => none.insert(ArrowStream::new(&rows.schema())?),
        };
        if stream.write(&rows)?.is_break() {
            return Ok(());
        }
    }
    stream.map_or(Ok(()), ArrowStream::finish)
}

fn first_step(mixer: &Mixer, state: &MixerState) -> Result<u64, Error> {
    let (slot, batch_size) = (mixer.resume(state)?, mixer.batch_size());
    if slot.is_multiple_of(batch_size) {
        return Ok(slot / batch_size);
    }
    let message =
        format!("the state: expected a multiple of batch_size {batch_size}, got slot {slot}");
    Err(Error::usage(message, "go on with the batch size that the run had"))
}

/// A state as it is, in hexadecimal digits or as JSON, in a file or on the command line.
fn read_state(text: &str) -> Result<MixerState, Error> {
    let path = Path::new(text);
    let bytes = match path.is_file() {
        true => std::fs::read(path).map_err(|error| Error::io(path, "read", error))?,
        false => text.as_bytes().to_vec(),
    };
    if u64::try_from(bytes.len()) == Ok(MixerState::LEN_BYTES) {
        return Ok(MixerState::from_bytes(&bytes)?);
    }
    let words = String::from_utf8_lossy(&bytes).trim().to_owned();
    if let Some(bytes) = unhex(&words) {
        return Ok(MixerState::from_bytes(&bytes)?);
    }
    serde_json::from_str(&words).map_err(|error| {
        let digits = 2 * MixerState::LEN_BYTES;
        let message =
            format!("--resume: expected a state of {digits} hexadecimal digits or its JSON");
        Error::usage(message, format!("as JSON: {error}"))
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn metadata(mixer: &Mixer, rank: Rank) -> HashMap<String, String> {
    let names = mixer.mixture().sources().iter().map(|source| source.name.clone());
    let names = serde_json::Value::from(names.collect::<Vec<String>>());
    [
        ("sequence_length", mixer.sequence_length().to_string()),
        ("batch_size", mixer.batch_size().to_string()),
        ("rank", rank.rank().to_string()),
        ("world_size", rank.world_size().to_string()),
        ("sources", names.to_string()),
        ("order", mixer.state(0).order().to_string()),
    ]
    .map(|(key, value)| (format!("mixdown.{key}"), value))
    .into()
}

/// A batch as rows.
fn rows(
    batch: Batch<i32>,
    after: &MixerState,
    metadata: impl Fn() -> HashMap<String, String>,
) -> Result<RecordBatch, ArrowError> {
    let length = batch.sequence_length;
    let states = std::iter::repeat_n(after.to_bytes(), batch.slots.len());
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("tokens", lists::<Int32Type>(batch.tokens, length.saturating_add(1))?),
        ("source", Arc::new(UInt32Array::from(batch.sources))),
        ("slot", Arc::new(UInt64Array::from(batch.slots))),
    ];
    if !batch.loss_mask.is_empty() {
        columns.push(("loss_mask", lists::<UInt8Type>(batch.loss_mask, length)?));
    }
    if let Some(Documents { segment_ids, position_ids, .. }) = batch.documents {
        for (name, numbers) in [("segment_ids", segment_ids), ("position_ids", position_ids)] {
            // A row has at most 2³¹ − 1 inputs.
            let numbers =
                numbers.into_iter().map(|number| i32::try_from(number).unwrap_or(i32::MAX));
            columns.push((name, lists::<Int32Type>(numbers.collect(), length)?));
        }
    }
    columns.push(("state", Arc::new(FixedSizeBinaryArray::try_from_iter(states)?)));
    let fields =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())
}

fn lists<P: ArrowPrimitiveType>(numbers: Vec<P::Native>, len: u64) -> Result<ArrayRef, ArrowError> {
    let len = i32::try_from(len).map_err(|_| {
        ArrowError::InvalidArgumentError(format!("rows of {len} numbers, at most 2^31 - 1"))
    })?;
    let field = Arc::new(Field::new("item", P::DATA_TYPE, false));
    let values = Arc::new(PrimitiveArray::<P>::from_iter_values(numbers));
    Ok(Arc::new(FixedSizeListArray::try_new(field, len, values, None)?))
}
