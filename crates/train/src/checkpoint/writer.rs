//! Checkpoints written while the training goes on.

use std::thread::{self, JoinHandle};

use crate::checkpoint::{CheckpointSnapshot, SnapshotBuffers};
use crate::error::Error;
use crate::model::Model;
use crate::optim::trainable_state::TrainableState;

/// What a thread hands back: how it went, and the buffers.
type Written = (Result<(), Error>, SnapshotBuffers);

/// Writes one checkpoint at a time on a thread of its own.
///
/// The numbers are copied beforehand, into buffers that are used again: a third more memory than the
/// run itself has, while a disk of 1 GB/s would otherwise hold a model of 1 billion parameters up for
/// 12 seconds.
#[derive(Default)]
pub(crate) struct CheckpointWriter {
    at_work: Option<JoinHandle<Written>>,
    spare: SnapshotBuffers,
}

impl CheckpointWriter {
    /// Starts to write `snapshot` with copies of the numbers of `trainable`, after the checkpoint before it is
    /// written.
    ///
    /// # Errors
    /// What refused the checkpoint before.
    pub(crate) fn start(
        &mut self,
        mut snapshot: CheckpointSnapshot,
        trainable: &TrainableState,
        model: &Model,
    ) -> Result<(), Error> {
        self.finish()?;
        snapshot.buffers = std::mem::take(&mut self.spare);
        snapshot.buffers.fill(trainable, model, snapshot.state.is_best());
        let work = thread::Builder::new().name("checkpoint".to_owned());
        let spawned = work.spawn(move || (snapshot.write(), snapshot.buffers));
        self.at_work =
            Some(spawned.map_err(Error::io("checkpoint".as_ref(), "start a thread for"))?);
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    ///
    /// # Errors
    /// What refused it.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let Some(at_work) = self.at_work.take() else { return Ok(()) };
        match at_work.join() {
            Ok((result, numbers)) => {
                self.spare = numbers;
                result
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl SnapshotBuffers {
    /// Copies all numbers of `trainable`; where it is an adapter, the merged weights for a best step only.
    pub(crate) fn fill(&mut self, trainable: &TrainableState, model: &Model, is_best: bool) {
        self.adapter.clear();
        self.adapter.extend_from_slice(trainable.evaluated_adapter().unwrap_or_default());
        if is_best || trainable.adapter().is_none() {
            trainable.fill_weights(model, &mut self.weights);
        }
        let numbers = trainable.numbers(model);
        self.optimizer.resize_with(numbers.len(), Default::default);
        for (to, (name, from)) in self.optimizer.iter_mut().zip(numbers) {
            to.0 = name;
            to.1.clear();
            to.1.extend_from_slice(from);
        }
    }
}

impl Drop for CheckpointWriter {
    /// A checkpoint that is begun is finished; an error of the run itself is the one that counts.
    fn drop(&mut self) {
        if let Some(at_work) = self.at_work.take() {
            drop(at_work.join());
        }
    }
}
