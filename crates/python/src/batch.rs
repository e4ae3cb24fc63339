//! A batch's memory as NumPy arrays.

use std::ops::DerefMut;
use std::process;

use mixdown_mixer::{Batch, Documents};
use mixdown_shards::TokenInt;
use numpy::ndarray::ArrayView2;
use numpy::{Element, PyArray1, PyArray2};
use pyo3::prelude::*;

use crate::failure::Failure;

/// A batch in whatever integers, held by whatever owns its buffers.
pub trait AnyBatch: Send + Sync {
    /// `rows × (T + 1)` ids as an array that borrows from `owner`, which holds this batch.
    fn tokens<'py>(&mut self, owner: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
    /// What holds for every integer.
    fn parts(&self) -> Parts<'_>;
}

/// What a batch has beside its ids.
pub struct Parts<'b> {
    rows: u64,
    sequence_length: u64,
    loss_mask: &'b [u8],
    sources: &'b [u32],
    slots: &'b [u64],
    documents: Option<&'b Documents>,
}

impl<T, B> AnyBatch for B
where
    T: TokenInt + Element,
    B: DerefMut<Target = Batch<T>> + Send + Sync,
{
    fn tokens<'py>(&mut self, owner: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let batch: &mut Batch<T> = self;
        let shape = shape(batch.rows, batch.sequence_length.saturating_add(1))?;
        borrowed(&mut batch.tokens, shape, owner)
    }

    fn parts(&self) -> Parts<'_> {
        let batch: &Batch<T> = self;
        Parts {
            rows: batch.rows,
            sequence_length: batch.sequence_length,
            loss_mask: &batch.loss_mask,
            sources: &batch.sources,
            slots: &batch.slots,
            documents: batch.documents.as_ref(),
        }
    }
}

/// An array over `memory` that keeps `owner` alive. NumPy's own memory for every batch would take 1.3 to
/// 1.6 times as long: its pages are fresh each time (docs/log.md).
#[expect(unsafe_code, reason = "buffers that are used again, for the gain above")]
fn borrowed<'py, T: Element>(
    memory: &mut [T],
    (rows, columns): (usize, usize),
    owner: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if memory.len() != rows.saturating_mul(columns) {
        let message = format!("a batch of {} numbers, not {rows} times {columns}", memory.len());
        return Err(Failure::configuration(message).into());
    }
    // SAFETY: the pointer comes from an exclusive reference and is valid for rows × columns elements. The
    // array keeps `owner` alive, which holds the buffer and never resizes it: `Rows` has no method that does,
    // and only its drop gives the buffer back.
    let array = unsafe {
        let view = ArrayView2::from_shape_ptr((rows, columns), memory.as_mut_ptr().cast_const());
        PyArray2::borrow_from_array(&view, owner)
    };
    Ok(array.into_any())
}

fn shape(rows: u64, columns: u64) -> PyResult<(usize, usize)> {
    let shape = usize::try_from(rows).ok().zip(usize::try_from(columns).ok());
    shape.ok_or_else(|| Failure::configuration("a batch beyond this machine's memory").into())
}

/// Some sequences of the run, a row each. Its arrays borrow its memory, which goes back to where it came
/// from when the last of them is dropped.
#[pyclass(module = "mixdown._mixdown")]
pub struct Rows {
    batch: Option<Box<dyn AnyBatch>>,
    process: u32,
}

impl Rows {
    pub fn new(batch: Box<dyn AnyBatch>) -> Self {
        Self { batch: Some(batch), process: process::id() }
    }

    fn parts(&self) -> PyResult<Parts<'_>> {
        let batch = self.batch.as_ref();
        Ok(batch.ok_or_else(|| Failure::configuration("a batch without memory"))?.parts())
    }
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.parts()?.slots.len())
    }

    /// Ids, (rows, T + 1), in the integers that were asked for.
    fn tokens(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let owner = slf.clone().into_any();
        let mut rows = slf.borrow_mut();
        let batch = rows.batch.as_mut();
        batch.ok_or_else(|| Failure::configuration("a batch without memory"))?.tokens(owner)
    }

    /// 1 where a target counts for the loss, (rows, T), uint8; None where all do.
    fn loss_mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let parts = self.parts()?;
        if parts.loss_mask.is_empty() {
            return Ok(None);
        }
        grid(py, &parts, parts.loss_mask.iter().copied()).map(Some)
    }

    /// Each row's source, by its place in the mixture, (rows,), int64.
    fn sources<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let sources = self.parts()?.sources;
        Ok(PyArray1::from_iter(py, sources.iter().copied().map(i64::from)).into_any())
    }

    /// Each row's slot of the run, (rows,), int64.
    fn slots<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let slots = self.parts()?.slots.iter();
        // Runs are kept below 2⁶³ slots (dataset.py).
        let slots = slots.map(|&slot| i64::try_from(slot).unwrap_or(i64::MAX));
        Ok(PyArray1::from_iter(py, slots).into_any())
    }

    /// Each input's document in its row and its place in it, both (rows, T), int64; None where they were
    /// not asked for.
    fn documents<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        let parts = self.parts()?;
        let Some(documents) = parts.documents else { return Ok(None) };
        let numbers = |numbers: &[u32]| grid(py, &parts, numbers.iter().copied().map(i64::from));
        Ok(Some((numbers(&documents.segment_ids)?, numbers(&documents.position_ids)?)))
    }
}

/// A new array of one number an input.
fn grid<'py, T: Element>(
    py: Python<'py>,
    parts: &Parts<'_>,
    numbers: impl ExactSizeIterator<Item = T>,
) -> PyResult<Bound<'py, PyAny>> {
    use numpy::PyArrayMethods;
    let (rows, columns) = shape(parts.rows, parts.sequence_length)?;
    Ok(PyArray1::from_iter(py, numbers).reshape((rows, columns))?.into_any())
}

impl Drop for Rows {
    fn drop(&mut self) {
        if self.process != process::id() {
            // After a fork, the lock that giving the buffer back takes may be held by a thread that this
            // process does not have.
            std::mem::forget(self.batch.take());
        }
    }
}
