//! Checkpoints written while the training goes on.

use std::thread::{self, JoinHandle};

use crate::checkpoint::{Moment, Numbers};
use crate::error::Error;
use crate::model::Model;
use crate::optim::trained::Trained;

/// What a thread hands back: how it went, and the buffers.
type Written = (Result<(), Error>, Numbers);

/// Writes one checkpoint at a time on a thread of its own.
///
/// The numbers are copied beforehand, into buffers that are used again: a third more memory than the
/// run itself has, while a disk of 1 GB/s would otherwise hold a model of 1 billion parameters up for
/// 12 seconds.
#[derive(Default)]
pub(crate) struct CheckpointWriter {
    at_work: Option<JoinHandle<Written>>,
    spare: Numbers,
}

impl CheckpointWriter {
    /// Starts to write `moment` with copies of the numbers of `trained`, after the checkpoint before it is
    /// written.
    ///
    /// # Errors
    /// What refused the checkpoint before.
    pub(crate) fn start(
        &mut self,
        mut moment: Moment,
        trained: &Trained,
        model: &Model,
    ) -> Result<(), Error> {
        self.finish()?;
        moment.numbers = std::mem::take(&mut self.spare);
        moment.numbers.fill(trained, model, moment.state.is_best());
        let work = thread::Builder::new().name("checkpoint".to_owned());
        let spawned = work.spawn(move || (moment.write(), moment.numbers));
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

impl Numbers {
    /// Copies all numbers of `trained`; where it is an adapter, the merged weights for a best step only.
    pub(crate) fn fill(&mut self, trained: &Trained, model: &Model, is_best: bool) {
        self.adapter.clear();
        self.adapter.extend_from_slice(trained.evaluated_adapter().unwrap_or_default());
        if is_best || trained.adapter().is_none() {
            trained.fill_weights(model, &mut self.weights);
        }
        let numbers = trained.numbers(model);
        self.rest.resize_with(numbers.len(), Default::default);
        for (to, (name, from)) in self.rest.iter_mut().zip(numbers) {
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
