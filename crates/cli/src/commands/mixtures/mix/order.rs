//! The order of a run, slot by slot.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use mixdown_mixer::{Mixer, Slot};
use serde::Serialize;

use crate::commands::Context;
use crate::commands::mixtures::mix::OrderFormat;
use crate::error::Error;
use crate::terminal::arrow_stream::{ArrowStream, unwritable};
use crate::terminal::output::Lines;

#[derive(Serialize)]
struct OrderLine<'a> {
    slot: u64,
    source: &'a str,
    sequence: u64,
    epoch: u64,
    start_token: u64,
}

/// Slots of one record batch.
const ROWS: u64 = 1 << 16;

/// Prints the slots of a range.
pub(super) fn print(
    mixer: &Mixer,
    range: Range<u64>,
    format: OrderFormat,
    context: Context,
) -> Result<(), Error> {
    match format {
        OrderFormat::Json => print_json(mixer, range, context),
        OrderFormat::Arrow => print_arrow(mixer, range, context),
    }
}

fn print_json(mixer: &Mixer, range: Range<u64>, context: Context) -> Result<(), Error> {
    let mut planner = mixer.planner();
    let mut lines = Lines::new();
    for slot in range {
        if context.stop.load(Ordering::Relaxed) {
            let error = stopped(slot);
            // A reader of the lines sees that some are missing.
            let _ = lines.write(&serde_json::json!({ "error": error.to_string() }))?;
            lines.finish()?;
            return Err(error);
        }
        let Slot { slot, source, sequence, epoch, start_token, .. } = planner.slot(slot)?;
        let source = name(mixer, source);
        if lines.write(&OrderLine { slot, source, sequence, epoch, start_token })?.is_break() {
            return Ok(());
        }
    }
    lines.finish()
}

fn print_arrow(mixer: &Mixer, range: Range<u64>, context: Context) -> Result<(), Error> {
    let mut stream = None;
    match (write_arrow(mixer, range, &mut stream, context), stream) {
        (Ok(ControlFlow::Continue(())), Some(stream)) => stream.finish(),
        (Ok(_), _) => Ok(()),
        (Err(error), stream) => {
            if let Some(stream) = stream {
                stream.abandon();
            }
            Err(error)
        }
    }
}

/// Writes all slots; breaks if the reader has closed the pipe.
fn write_arrow(
    mixer: &Mixer,
    range: Range<u64>,
    stream: &mut Option<ArrowStream>,
    context: Context,
) -> Result<ControlFlow<()>, Error> {
    let mut planner = mixer.planner();
    let mut plan = Vec::new();
    let mut first = range.start;
    while first < range.end {
        if context.stop.load(Ordering::Relaxed) {
            return Err(stopped(first));
        }
        let last = range.end.min(first.saturating_add(ROWS));
        planner.plan(first..last, &mut plan)?;
        let numbers = |field: fn(&Slot) -> u64| -> ArrayRef {
            Arc::new(plan.iter().map(field).collect::<UInt64Array>())
        };
        let names = plan.iter().map(|slot| Some(name(mixer, slot.source)));
        let columns: [(&str, ArrayRef); 5] = [
            ("slot", numbers(|slot| slot.slot)),
            ("source", Arc::new(names.collect::<StringArray>())),
            ("sequence", numbers(|slot| slot.sequence)),
            ("epoch", numbers(|slot| slot.epoch)),
            ("start_token", numbers(|slot| slot.start_token)),
        ];
        let rows = RecordBatch::try_from_iter(columns).map_err(|error| unwritable(&error))?;
        let stream = match &mut *stream {
            Some(stream) => stream,
            none => none.insert(ArrowStream::new(&rows.schema())?),
        };
        if stream.write(&rows)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        first = last;
    }
    Ok(ControlFlow::Continue(()))
}

fn stopped(slot: u64) -> Error {
    Error::Interrupted { message: format!("the order was stopped before slot {slot}") }
}

fn name(mixer: &Mixer, source: u32) -> &str {
    let source =
        usize::try_from(source).ok().and_then(|index| mixer.mixture().sources().get(index));
    source.map_or("", |source| source.name.as_str())
}
