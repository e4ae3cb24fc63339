//! Sequences by their slots, made by the thread that asks: for map-style datasets.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use mixdown_mixer::{Batch, Mixer, Slot};
use mixdown_shards::TokenInt;
use numpy::Element;
use pyo3::prelude::*;

use crate::batch::{AnyBatch, Rows};
use crate::failure::Failure;

/// Buffers that are kept for later calls.
const MOST_SPARE: usize = 8;

/// Fills batches with any slots of a run.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct Filler {
    pool: Box<dyn AnyPool>,
}

/// Makes batches of whatever integers.
trait AnyPool: Send + Sync {
    fn fill(&self, slots: &[u64]) -> Result<Box<dyn AnyBatch>, mixdown_mixer::Error>;
}

struct Pool<T: TokenInt> {
    mixer: Arc<Mixer>,
    documents: bool,
    spare: Spare<T>,
}

type Spare<T> = Arc<Mutex<Vec<Batch<T>>>>;

/// A batch whose buffers go back to the pool.
struct Pooled<T: TokenInt> {
    batch: Batch<T>,
    spare: Spare<T>,
}

impl Filler {
    /// A filler of integers of this dtype.
    pub fn new(mixer: Arc<Mixer>, dtype: &str, documents: bool) -> Result<Self, Failure> {
        Ok(Self {
            pool: match dtype {
                "uint16" => Box::new(Pool::<u16>::new(mixer, documents)),
                "uint32" => Box::new(Pool::<u32>::new(mixer, documents)),
                "int32" => Box::new(Pool::<i32>::new(mixer, documents)),
                "int64" => Box::new(Pool::<i64>::new(mixer, documents)),
                other => return Err(unknown_dtype(other)),
            },
        })
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
    /// The sequences of these slots, a row each, in the order asked for.
    fn fill(&self, py: Python<'_>, slots: Vec<u64>) -> PyResult<Rows> {
        Ok(Rows::new(py.detach(|| self.pool.fill(&slots)).map_err(Failure::from)?))
    }
}

impl<T: TokenInt> Pool<T> {
    fn new(mixer: Arc<Mixer>, documents: bool) -> Self {
        Self { mixer, documents, spare: Arc::default() }
    }
}

impl<T: TokenInt + Element> AnyPool for Pool<T> {
    fn fill(&self, slots: &[u64]) -> Result<Box<dyn AnyBatch>, mixdown_mixer::Error> {
        let kept = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        let mut pooled = Pooled { batch: kept.unwrap_or_default(), spare: Arc::clone(&self.spare) };
        let batch = &mut pooled.batch;
        let mut planner = self.mixer.planner();
        let mut plan = Vec::with_capacity(slots.len());
        match neighbours(slots) {
            Some(range) => planner.fill_batch(range, &mut plan, batch)?,
            None => {
                for &slot in slots {
                    let slot: Slot = planner.slot(slot)?;
                    plan.push(slot);
                }
                self.mixer.gather(&plan, batch)?;
            }
        }
        if self.documents {
            self.mixer.documents(&plan, batch.documents.get_or_insert_default())?;
        }
        Ok(Box::new(pooled))
    }
}

/// The range that ascending neighbours make up.
fn neighbours(slots: &[u64]) -> Option<std::ops::Range<u64>> {
    let first = *slots.first()?;
    let end = first.checked_add(u64::try_from(slots.len()).ok()?)?;
    slots.iter().copied().eq(first..end).then_some(first..end)
}

impl<T: TokenInt> Deref for Pooled<T> {
    type Target = Batch<T>;

    fn deref(&self) -> &Batch<T> {
        &self.batch
    }
}

impl<T: TokenInt> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut Batch<T> {
        &mut self.batch
    }
}

impl<T: TokenInt> Drop for Pooled<T> {
    fn drop(&mut self) {
        // Whoever holds the lock keeps nobody waiting, least of all in a forked process.
        if let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < MOST_SPARE
        {
            spare.push(std::mem::take(&mut self.batch));
        }
    }
}
