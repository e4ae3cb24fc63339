//! One of the processes that share out a batch.

use crate::error::Error;

/// Rank r of R: which part of every batch is this process' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    rank: u32,
    world_size: u32,
}

impl Rank {
    /// Rank `rank` (from 0) of `world_size`.
    ///
    /// # Errors
    /// A world of none, or a rank outside it.
    pub fn new(rank: u32, world_size: u32) -> Result<Self, Error> {
        if rank >= world_size {
            return Err(Error::Rank { rank, world_size });
        }
        Ok(Self { rank, world_size })
    }

    /// The only process: it gets whole batches.
    pub fn single() -> Self {
        Self { rank: 0, world_size: 1 }
    }

    /// Its number, from 0.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// The number of ranks.
    pub fn world_size(&self) -> u32 {
        self.world_size
    }

    /// Which contiguous part of the batch it takes, when the parts are turned by `rotation`.
    ///
    /// Without the rotation one rank would get every sequence of a source whose share of the
    /// batch is a whole number: p = 1/64 at batch 64 puts it at the same row each time.
    pub(crate) fn part(&self, rotation: u64) -> u64 {
        let world_size = u64::from(self.world_size);
        (u64::from(self.rank) + rotation % world_size) % world_size
    }
}
