//! Batches for any trainer, as Arrow IPC.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
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

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::arrow_stream::{ArrowStream, unwritable};
use crate::terminal::output::thousands;
use crate::terminal::progress;

/// The rank whose batches are written, and where they begin.
#[derive(Debug, Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchArgs {
    /// Rank whose part of each batch is written.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "emit")]
    rank: u32,
    /// Number of ranks.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "emit")]
    world_size: u32,
    /// State to continue from: that of a record batch in hexadecimal digits, or a file with it or with its JSON.
    #[arg(long, value_name = "STATE", requires = "emit")]
    resume: Option<String>,
    /// Add segment_ids (the document of each input in its row) and position_ids (its place in the document).
    #[arg(long, requires = "emit")]
    documents: bool,
    /// Threads that make batches.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "emit")]
    threads: u32,
}

/// Writes the batches of a run until its end, or until the reader closes the pipe. A stream that ends for another
/// reason cannot be read to its end.
pub(super) fn write(
    config: &MixtureConfig,
    base: &Path,
    length: Option<&RunLength>,
    arguments: &BatchArgs,
    context: Context,
) -> Result<(), Error> {
    let rank = Rank::new(arguments.rank, arguments.world_size)?;
    let state = arguments.resume.as_deref().map(read_state).transpose()?;
    // The first rank checks the corpora at the beginning of the run; other ranks and later calls do not.
    let is_first = state.is_none() && arguments.rank == 0;
    let mixture =
        if is_first { Mixture::open(config, base)? } else { Mixture::open_lazily(config, base)? };
    let mixer = Arc::new(Mixer::new(mixture)?);
    let end = length.map_or(Ok(u64::MAX), |length| mixer.steps(length))?;
    mixer.check_run(end.saturating_mul(mixer.batch_size()))?;
    let start = state.map_or(Ok(0), |state| mixer.resume_step(&state, end))?;
    if state.is_some() {
        let (slot, batch_size) = (start.saturating_mul(mixer.batch_size()), mixer.batch_size());
        progress::say(&format!(
            "continuing at slot {}, which is step {} in batches of {}",
            thousands(slot),
            thousands(start),
            thousands(batch_size)
        ));
    }
    let loader = LoaderConfig {
        steps: start..end,
        rank,
        threads: arguments.threads,
        documents: arguments.documents,
        ..LoaderConfig::from_step(start)
    };
    let writer = BatchWriter { mixer: &mixer, rank, steps: start..end, context };
    let mut stream = None;
    let written = writer.write(Loader::<i32>::new(Arc::clone(&mixer), loader)?, &mut stream);
    match (written, stream) {
        (Ok(ControlFlow::Break(())), _) => Ok(()),
        (Ok(ControlFlow::Continue(())), Some(stream)) => stream.finish(),
        // A finished run has a stream, too, without batches.
        (Ok(ControlFlow::Continue(())), None) => {
            let empty = Batch { sequence_length: mixer.sequence_length(), ..Batch::default() };
            let documents = arguments.documents.then(Documents::default);
            let rows = writer.rows(Batch { documents, ..empty }, &mixer.state(0))?;
            ArrowStream::new(&rows.schema())?.finish()
        }
        (Err(error), stream) => {
            if let Some(stream) = stream {
                stream.abandon();
            }
            Err(error)
        }
    }
}

/// The batches of some steps, as one stream.
struct BatchWriter<'m> {
    mixer: &'m Mixer,
    rank: Rank,
    steps: Range<u64>,
    context: Context,
}

impl BatchWriter<'_> {
    /// Writes all batches; breaks if the reader has closed the pipe. The stream begins with the first batch.
    fn write(
        &self,
        loader: Loader<i32>,
        stream: &mut Option<ArrowStream>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut next = self.steps.start;
        for batch in loader {
            if self.context.stop.load(Ordering::Relaxed) {
                let message = format!(
                    "the stream was stopped before step {next}; --resume with the state of its last record batch \
                     continues there"
                );
                return Err(Error::Interrupted { message });
            }
            let batch = batch?;
            next = batch.step() + 1;
            let after = self.mixer.state(next.saturating_mul(self.mixer.batch_size()));
            let rows = self.rows(batch.into_inner(), &after)?;
            let stream = match &mut *stream {
                Some(stream) => stream,
                none => none.insert(ArrowStream::new(&rows.schema())?),
            };
            if stream.write(&rows)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Reads a state as bytes, in hexadecimal digits or as JSON, from a file or from the command line.
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

impl BatchWriter<'_> {
    fn metadata(&self) -> HashMap<String, String> {
        let (mixer, rank, steps) = (self.mixer, self.rank, &self.steps);
        let names = mixer.mixture().sources().iter().map(|source| source.name.clone());
        let names = serde_json::Value::from(names.collect::<Vec<String>>());
        // The steps of the whole run, so that a stream that continues the run has the same metadata. Endless runs have
        // none.
        let len = (steps.end < u64::MAX).then(|| ("steps", steps.end.to_string()));
        let always = [
            ("sequence_length", mixer.sequence_length().to_string()),
            ("batch_size", mixer.batch_size().to_string()),
            ("rank", rank.rank().to_string()),
            ("world_size", rank.world_size().to_string()),
            ("sources", names.to_string()),
            ("order", mixer.state(0).order().to_string()),
        ];
        let named = |(key, value): (&str, String)| (format!("mixdown.{key}"), value);
        always.into_iter().chain(len).map(named).collect()
    }

    /// A batch as rows.
    fn rows(&self, batch: Batch<i32>, after: &MixerState) -> Result<RecordBatch, Error> {
        let is_labelled = self.mixer.mixture().is_labelled();
        rows(batch, after, is_labelled, self.metadata()).map_err(|error| unwritable(&error))
    }
}

fn rows(
    batch: Batch<i32>,
    after: &MixerState,
    is_labelled: bool,
    metadata: HashMap<String, String>,
) -> Result<RecordBatch, ArrowError> {
    let length = batch.sequence_length;
    let states = std::iter::repeat_n(after.to_bytes(), batch.slots.len());
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("tokens", lists::<Int32Type>(batch.tokens, length.saturating_add(1))?),
        ("source", Arc::new(UInt32Array::from(batch.sources))),
        ("slot", Arc::new(UInt64Array::from(batch.slots))),
    ];
    if is_labelled {
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
    let states = states.flatten().collect::<Vec<u8>>();
    let state_len = i32::try_from(MixerState::LEN_BYTES).unwrap_or(i32::MAX);
    columns
        .push(("state", Arc::new(FixedSizeBinaryArray::try_new(state_len, states.into(), None)?)));
    let fields =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata);
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())
}

fn lists<P: ArrowPrimitiveType>(numbers: Vec<P::Native>, len: u64) -> Result<ArrayRef, ArrowError> {
    let len = i32::try_from(len).map_err(|_| {
        ArrowError::InvalidArgumentError(format!("rows of {len} numbers, at most 2^31 - 1"))
    })?;
    let field = Arc::new(Field::new("item", P::DATA_TYPE, false));
    // The numbers themselves, not a copy of them.
    let values = Arc::new(PrimitiveArray::<P>::new(numbers.into(), None));
    Ok(Arc::new(FixedSizeListArray::try_new(field, len, values, None)?))
}
