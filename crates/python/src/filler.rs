//! Sequences by slot, made by the calling thread: for map-style datasets.

use std::sync::Arc;

use mixdown_mixer::{Batch, Mixer};
use mixdown_shards::TokenInt;
use numpy::Element;
use pyo3::prelude::*;

use crate::batch::{AnyBatch, Rows};
use crate::failure::Failure;

/// Fills batches with any slots of a run.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct Filler {
    mixer: Arc<Mixer>,
    fill: Fill,
    documents: bool,
}

/// Makes a batch of one integer type.
type Fill = fn(&Mixer, &[u64], bool) -> Result<Box<dyn AnyBatch>, mixdown_mixer::Error>;

impl Filler {
    /// A filler of integers of this dtype.
    pub fn new(mixer: Arc<Mixer>, dtype: &str, documents: bool) -> Result<Self, Failure> {
        let fill: Fill = match dtype {
            "uint16" => fill::<u16>,
            "uint32" => fill::<u32>,
            "int32" => fill::<i32>,
            "int64" => fill::<i64>,
            other => return Err(unknown_dtype(other)),
        };
        Ok(Self { mixer, fill, documents })
    }
}

/// The refusal of a dtype.
pub fn unknown_dtype(got: &str) -> Failure {
    Failure::configuration(format!(
        "dtype: expected \"int64\", \"int32\", \"uint32\" or \"uint16\", got {got:?}"
    ))
}

#[pymethods]
impl Filler {
    /// The sequences of these slots, one per row, in the given order.
    fn fill(&self, py: Python<'_>, slots: Vec<u64>) -> PyResult<Rows> {
        let batch = py.detach(|| (self.fill)(&self.mixer, &slots, self.documents));
        batch.map_err(Failure::from)?.into_rows(py)
    }
}

fn fill<T: TokenInt + Element>(
    mixer: &Mixer,
    slots: &[u64],
    documents: bool,
) -> Result<Box<dyn AnyBatch>, mixdown_mixer::Error> {
    let (mut batch, mut planner) = (Batch::<T>::default(), mixer.planner());
    let mut plan = Vec::with_capacity(slots.len());
    match neighbors(slots) {
        Some(range) => planner.fill_batch(range, &mut plan, &mut batch)?,
        None => {
            for &slot in slots {
                plan.push(planner.slot(slot)?);
            }
            mixer.gather(&plan, &mut batch)?;
        }
    }
    if documents {
        mixer.documents(&plan, batch.documents.get_or_insert_default())?;
    }
    Ok(Box::new(batch))
}

/// The range of slots that are ascending neighbors.
fn neighbors(slots: &[u64]) -> Option<std::ops::Range<u64>> {
    let first = *slots.first()?;
    let end = first.checked_add(u64::try_from(slots.len()).ok()?)?;
    slots.iter().copied().eq(first..end).then_some(first..end)
}
