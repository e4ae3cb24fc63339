//! The loader's batches in order, made ahead by threads.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use mixdown_mixer::{Error, LoadedBatch, Loader, LoaderConfig, Mixer};
use mixdown_shards::TokenInt;
use numpy::Element;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::batch::{AnyBatch, Rows};
use crate::failure::Failure;
use crate::filler::unknown_dtype;

/// An iterator over the batches of some steps.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct BatchLoader {
    loader: Mutex<Option<Box<dyn AnyLoader>>>,
    process: u32,
}

trait AnyLoader: Send {
    fn next(&mut self) -> Option<Result<Box<dyn AnyBatch>, Error>>;
}

impl<T: TokenInt + Element> AnyLoader for Loader<T> {
    fn next(&mut self) -> Option<Result<Box<dyn AnyBatch>, Error>> {
        let boxed = |batch: LoadedBatch<T>| -> Box<dyn AnyBatch> { Box::new(batch.into_inner()) };
        Iterator::next(self).map(|batch| batch.map(boxed))
    }
}

impl BatchLoader {
    /// Starts the threads.
    pub fn new(mixer: Arc<Mixer>, config: LoaderConfig, dtype: &str) -> Result<Self, Failure> {
        let loader: Box<dyn AnyLoader> = match dtype {
            "uint16" => Box::new(Loader::<u16>::new(mixer, config)?),
            "uint32" => Box::new(Loader::<u32>::new(mixer, config)?),
            "int32" => Box::new(Loader::<i32>::new(mixer, config)?),
            "int64" => Box::new(Loader::<i64>::new(mixer, config)?),
            other => return Err(unknown_dtype(other)),
        };
        Ok(Self { loader: Mutex::new(Some(loader)), process: process::id() })
    }
}

#[pymethods]
impl BatchLoader {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Rows>> {
        if self.process != process::id() {
            return Err(PyRuntimeError::new_err(
                "batches() was called before this process was forked, and its threads are not here: call it \
                 again in this process, or use the dataset itself in a DataLoader with workers",
            ));
        }
        let next = py.detach(|| {
            let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
            loader.as_mut().and_then(|loader| loader.next())
        });
        next.transpose().map_err(Failure::from)?.map(|batch| batch.into_rows(py)).transpose()
    }

    /// Stops the threads. Batches that were taken stay valid.
    fn close(&self, py: Python<'_>) {
        if self.process == process::id() {
            py.detach(|| self.loader.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Drop for BatchLoader {
    fn drop(&mut self) {
        if self.process != process::id() {
            // Its threads are not in this process, so waiting for them would never end.
            let loader = self.loader.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(loader.take());
        }
    }
}
