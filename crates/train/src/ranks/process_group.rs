//! The processes of a run as a group: sums, exchanges and decisions over all ranks.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mixdown_base::error_kind::ErrorKind;
use mixdown_mixer::Rank;
use mixdown_runs::RunFolder;
use mixdown_shards::Fingerprint;

use super::World;
#[cfg(feature = "cuda")]
use super::frame::is_there;
use super::frame::{Frame, receive, receive_into, send, send_gone};
use super::rendezvous::{self, WaitLimit};
use crate::error::Error;

/// The ranks of a batch system do not start at once.
const RENDEZVOUS_LIMIT: Duration = Duration::from_secs(600);
/// The silence after which a rank is considered hung. It is longer than reading a large model from a slow disk, and
/// than an evaluation between two exchanges.
const SILENCE: Duration = Duration::from_secs(1800);
/// The numbers that are summed at once: 1 MiB, which fits caches.
const CHUNK: usize = 1 << 18;

/// The connection of this process to the other processes of a run.
///
/// Every rank calls the same methods in the same order. If a rank ends, every other one gets an error that names it.
pub(crate) struct ProcessGroup {
    world: World,
    /// On rank 0 the sockets of all other ranks in order, on another rank that of rank 0.
    streams: Vec<TcpStream>,
}

impl ProcessGroup {
    /// Returns the group of a single process.
    pub(crate) fn alone() -> Self {
        Self { world: World::single(), streams: Vec::new() }
    }

    /// Connects to the other ranks through the run's folder, which rank 0 creates.
    ///
    /// # Errors
    /// A rank does not come; the folder belongs to something else; the stop flag is set.
    pub(crate) fn rendezvous(
        world: World,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        Self::rendezvous_within(WaitLimit { limit: RENDEZVOUS_LIMIT, stop }, world, folder)
    }

    fn rendezvous_within(
        wait_limit: WaitLimit,
        world: World,
        folder: &Path,
    ) -> Result<Self, Error> {
        if world.world_size() == 1 {
            return Ok(Self { world, streams: Vec::new() });
        }
        // Each looks for itself: in a folder of something else nobody would tell the others.
        let folder = RunFolder::expected(folder)?;
        let file = folder.ranks();
        let streams = if world.is_main_process() {
            rendezvous::accept_ranks(&file, world, wait_limit)?
        } else {
            vec![rendezvous::connect(&file, world, wait_limit)?]
        };
        let mut group = Self { world, streams };
        for place in 0..group.streams.len() {
            let set = group.streams[place].set_read_timeout(Some(SILENCE));
            set.map_err(|error| group.lost(place, &error))?;
        }
        Ok(group)
    }

    /// Returns another handle of the same group, for a caller that alternates with this one.
    pub(crate) fn try_clone(&mut self) -> Result<Self, Error> {
        let streams: io::Result<Vec<_>> = self.streams.iter().map(TcpStream::try_clone).collect();
        match streams {
            Ok(streams) => Ok(Self { world: self.world, streams }),
            Err(error) => Err(self.lost(0, &error)),
        }
    }

    /// Returns the world of this process.
    pub(crate) fn world(&self) -> World {
        self.world
    }

    /// Returns this rank's part of a batch.
    pub(crate) fn rank(&self) -> Rank {
        self.world.rank()
    }

    /// Returns whether this rank writes the run's folder and reports for all.
    pub(crate) fn is_main_process(&self) -> bool {
        self.world.is_main_process()
    }

    /// Returns the bytes of every rank, in order of rank.
    pub(crate) fn all_gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
        if self.streams.is_empty() {
            return Ok(vec![own]);
        }
        if !self.is_main_process() {
            self.send_to(0, &own)?;
            let all = self.receive_from(0)?;
            return split(&all).ok_or_else(|| Error::RankLost {
                rank: 0,
                got: "it sent what nobody asked for".to_owned(),
            });
        }
        let mut all = vec![own];
        for place in 0..self.streams.len() {
            all.push(self.receive_from(place)?);
        }
        let joined = join(&all);
        (0..self.streams.len()).try_for_each(|place| self.send_to(place, &joined))?;
        Ok(all)
    }

    /// # Errors
    /// A rank has other settings or other data than rank 0.
    pub(crate) fn check_same_settings(&mut self, settings: Fingerprint) -> Result<(), Error> {
        let all = self.all_gather(settings.as_bytes().to_vec())?;
        let other = (0..).zip(&all).find(|(_, settings)| Some(*settings) != all.first());
        other.map_or(Ok(()), |(rank, _)| {
            let got = "it has other settings or other data than rank 0".to_owned();
            Err(Error::RankLost { rank, got })
        })
    }

    /// Waits for all ranks.
    pub(crate) fn barrier(&mut self) -> Result<(), Error> {
        self.all_gather(Vec::new()).map(|_| ())
    }

    /// Returns whether `own` is true on any rank.
    pub(crate) fn any(&mut self, own: bool) -> Result<bool, Error> {
        Ok(self.all_gather(vec![u8::from(own)])?.iter().any(|flag| flag == &[1]))
    }

    /// Returns the sum over all ranks.
    pub(crate) fn sum_counts(&mut self, own: u64) -> Result<u64, Error> {
        let all = self.all_gather(own.to_le_bytes().to_vec())?;
        Ok(all.iter().map(|count| count.first_chunk().map_or(0, |c| u64::from_le_bytes(*c))).sum())
    }

    /// Returns `own`, or an interruption on all ranks if the stop flag ended the work of any rank.
    pub(crate) fn agree_on_stop<T>(&mut self, own: Result<T, Error>) -> Result<T, Error> {
        let is_interrupted =
            own.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted);
        match own {
            Err(error) if !is_interrupted => Err(error),
            own if self.any(is_interrupted)? => {
                Err(own.err().unwrap_or(Error::Interrupted { step: 0 }))
            }
            own => own,
        }
    }

    /// Replaces `numbers`, of the same length on each rank, by their sums over all ranks, added in order of rank.
    ///
    /// The sum is made on rank 0, chunk by chunk. It moves 2 · (R − 1) times the numbers, which on one machine is a
    /// copy.
    pub(crate) fn all_reduce(&mut self, numbers: &mut [f32]) -> Result<(), Error> {
        if self.streams.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; 4 * CHUNK.min(numbers.len())];
        for chunk in numbers.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..4 * chunk.len()];
            if !self.is_main_process() {
                encode(chunk, bytes);
                self.send_to(0, bytes)?;
                self.receive_exact(0, bytes)?;
                decode(bytes, |place, number| chunk[place] = number);
                continue;
            }
            for place in 0..self.streams.len() {
                self.receive_exact(place, bytes)?;
                decode(bytes, |place, number| chunk[place] += number);
            }
            encode(chunk, bytes);
            (0..self.streams.len()).try_for_each(|place| self.send_to(place, bytes))?;
        }
        Ok(())
    }

    /// Tells the other ranks why this one ends. It must be the last message.
    pub(crate) fn announce_failure(&mut self, error: &Error) {
        if !matches!(error, Error::RankLost { .. }) {
            self.broadcast_failure(self.world.rank().rank(), &error.to_string(), None);
        }
    }

    /// # Errors
    /// A rank has ended while this one waits for something else.
    #[cfg(feature = "cuda")]
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        for place in 0..self.streams.len() {
            match is_there(&self.streams[place]) {
                Ok(true) => {}
                // What it said, or that it said nothing, comes now.
                Ok(false) => drop(self.receive_from(place)?),
                Err(error) => return Err(self.lost(place, &error)),
            }
        }
        Ok(())
    }

    fn send_to(&mut self, place: usize, bytes: &[u8]) -> Result<(), Error> {
        send(&mut self.streams[place], bytes).map_err(|error| {
            // Why it ended is in what it said last, where it could.
            match receive(&mut self.streams[place]) {
                Ok(Frame::Gone(rank, why)) => self.gone(rank, why),
                _ => self.lost(place, &error),
            }
        })
    }

    fn receive_from(&mut self, place: usize) -> Result<Vec<u8>, Error> {
        match receive(&mut self.streams[place]) {
            Ok(Frame::Data(bytes)) => Ok(bytes),
            Ok(Frame::Gone(rank, why)) => Err(self.gone(rank, why)),
            Err(error) => Err(self.lost(place, &error)),
        }
    }

    fn receive_exact(&mut self, place: usize, bytes: &mut [u8]) -> Result<(), Error> {
        match receive_into(&mut self.streams[place], bytes) {
            Ok(None) => Ok(()),
            Ok(Some(Frame::Gone(rank, why))) => Err(self.gone(rank, why)),
            Ok(Some(Frame::Data(_))) => Err(self.lost(place, &io::ErrorKind::InvalidData.into())),
            Err(error) => Err(self.lost(place, &error)),
        }
    }

    /// Handles the end of the socket at `place`.
    fn lost(&mut self, place: usize, error: &io::Error) -> Error {
        let rank =
            if self.is_main_process() { u32::try_from(place + 1).unwrap_or(u32::MAX) } else { 0 };
        let got = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("silent for {SILENCE:?}")
            }
            io::ErrorKind::InvalidData => error.to_string(),
            _ => "its process has ended".to_owned(),
        };
        self.gone(rank, got)
    }

    fn gone(&mut self, rank: u32, got: String) -> Error {
        self.broadcast_failure(
            rank,
            &got,
            usize::try_from(rank).ok().and_then(|rank| rank.checked_sub(1)),
        );
        Error::RankLost { rank, got }
    }

    /// Reports an end to all ranks except one; each of them may have ended as well.
    fn broadcast_failure(&mut self, rank: u32, why: &str, but: Option<usize>) {
        let skipped = if self.is_main_process() { but } else { None };
        for (place, stream) in self.streams.iter_mut().enumerate() {
            if Some(place) != skipped {
                let _ = send_gone(stream, rank, why);
            }
        }
    }
}

fn encode(numbers: &[f32], bytes: &mut [u8]) {
    for (number, bytes) in numbers.iter().zip(bytes.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
}

fn decode(bytes: &[u8], mut each: impl FnMut(usize, f32)) {
    for (place, bytes) in bytes.as_chunks().0.iter().enumerate() {
        each(place, f32::from_le_bytes(*bytes));
    }
}

/// Joins messages into one, each after its length.
fn join(all: &[Vec<u8>]) -> Vec<u8> {
    let len = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    all.iter().flat_map(|bytes| len(bytes).into_iter().chain(bytes.iter().copied())).collect()
}

fn split(mut joined: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = joined.split_first_chunk() {
        let (bytes, rest) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        all.push(bytes.to_vec());
        joined = rest;
    }
    joined.is_empty().then_some(all)
}

#[cfg(test)]
#[path = "process_group_tests.rs"]
pub(crate) mod tests;
