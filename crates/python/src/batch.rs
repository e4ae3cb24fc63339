//! A batch as NumPy arrays.

use mixdown_mixer::{Batch, Documents};
use mixdown_shards::TokenInt;
use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::prelude::*;

use crate::failure::Failure;

/// A batch of any integer type.
pub trait AnyBatch: Send {
    /// Moves the ids to NumPy, without a copy.
    fn into_rows(self: Box<Self>, py: Python<'_>) -> PyResult<Rows>;
}

impl<T: TokenInt + Element> AnyBatch for Batch<T> {
    fn into_rows(self: Box<Self>, py: Python<'_>) -> PyResult<Rows> {
        let Self { tokens, loss_mask, rows, sequence_length, sources, slots, documents } = *self;
        let tokens = PyArray1::from_vec(py, tokens);
        let tokens = tokens.reshape(shape(rows, sequence_length.saturating_add(1))?)?;
        let shape = shape(rows, sequence_length)?;
        Ok(Rows { tokens: tokens.into_any().unbind(), shape, loss_mask, sources, slots, documents })
    }
}

/// Sequences of the run, one per row.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct Rows {
    tokens: Py<PyAny>,
    /// Rows and T.
    shape: (usize, usize),
    loss_mask: Vec<u8>,
    sources: Vec<u32>,
    slots: Vec<u64>,
    documents: Option<Documents>,
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.slots.len()
    }

    /// Ids, (rows, T + 1), in the requested integer type.
    fn tokens(&self, py: Python<'_>) -> Py<PyAny> {
        self.tokens.clone_ref(py)
    }

    /// 1 if a target counts for the loss, else 0, (rows, T), uint8; None if all targets count.
    fn loss_mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.loss_mask.is_empty() {
            return Ok(None);
        }
        self.grid(py, self.loss_mask.iter().copied()).map(Some)
    }

    /// Each row's source as its index in the mixture, (rows,), int64.
    fn sources<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        PyArray1::from_iter(py, self.sources.iter().copied().map(i64::from)).into_any()
    }

    /// Each row's slot of the run, (rows,), int64.
    fn slots<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        // Runs are kept below 2⁶³ slots (dataset.py).
        let slots = self.slots.iter().map(|&slot| i64::try_from(slot).unwrap_or(i64::MAX));
        PyArray1::from_iter(py, slots).into_any()
    }

    /// Each input's document in its row and its place in that document, both (rows, T), int64; None unless requested.
    fn documents<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        let Some(documents) = &self.documents else { return Ok(None) };
        let numbers = |numbers: &[u32]| self.grid(py, numbers.iter().copied().map(i64::from));
        Ok(Some((numbers(&documents.segment_ids)?, numbers(&documents.position_ids)?)))
    }
}

impl Rows {
    /// A new array with one number per input.
    fn grid<'py, T: Element>(
        &self,
        py: Python<'py>,
        numbers: impl ExactSizeIterator<Item = T>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyArray1::from_iter(py, numbers).reshape(self.shape)?.into_any())
    }
}

fn shape(rows: u64, columns: u64) -> PyResult<(usize, usize)> {
    let shape = usize::try_from(rows).ok().zip(usize::try_from(columns).ok());
    shape.ok_or_else(|| Failure::configuration("a batch beyond this machine's memory").into())
}
