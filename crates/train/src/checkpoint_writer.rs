//! Checkpoints written while the training goes on.

use std::thread::{self, JoinHandle};

use crate::checkpoint::Moment;
use crate::error::Error;

/// What a thread hands back: how it went, and the buffers.
type Written = (Result<(), Error>, [Vec<f32>; 3]);

/// Writes one checkpoint at a time on a thread of its own.
///
/// The numbers are copied beforehand, into buffers that are used again: a third more memory than the
/// run itself has, while a disk of 1 GB/s would otherwise hold a model of 1 billion parameters up for
/// 12 seconds.
#[derive(Default)]
pub(crate) struct CheckpointWriter {
    at_work: Option<JoinHandle<Written>>,
    spare: [Vec<f32>; 3],
}

impl CheckpointWriter {
    /// Starts to write `moment` with copies of these numbers, after the checkpoint before it is
    /// written.
    ///
    /// # Errors
    /// What refused the checkpoint before.
    pub(crate) fn start(&mut self, mut moment: Moment, numbers: [&[f32]; 3]) -> Result<(), Error> {
        self.finish()?;
        moment.numbers = std::mem::take(&mut self.spare);
        for (to, from) in moment.numbers.iter_mut().zip(numbers) {
            to.clear();
            to.extend_from_slice(from);
        }
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

impl Drop for CheckpointWriter {
    /// A checkpoint that is begun is finished; an error of the run itself is the one that counts.
    fn drop(&mut self) {
        if let Some(at_work) = self.at_work.take() {
            drop(at_work.join());
        }
    }
}
