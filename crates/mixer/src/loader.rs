//! The loader: batches in the order of their steps, made by threads some steps ahead.

pub(crate) mod memory;
pub(crate) mod read_ahead;

use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use mixdown_shards::TokenInt;

use crate::error::Error;
use crate::loader::read_ahead::ReadAhead;
use crate::mixer::Mixer;
use crate::mixer::batch::Batch;
use crate::mixer::planner::{Planner, Slot};
use crate::mixer::rank::Rank;
use crate::mixer::state::MixerState;

/// What a [`Loader`] delivers, and with what means.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// The steps; the end left out.
    pub steps: Range<u64>,
    /// Whose part of the batches.
    pub rank: Rank,
    /// Threads that make batches, 1 to [`Self::MOST_THREADS`].
    pub threads: u32,
    /// Batches that may be ready or in the making beyond the one asked for, 1 to [`Self::MOST_BATCHES_AHEAD`].
    /// Memory: so many batches, and those that the consumer holds.
    pub batches_ahead: u32,
    /// Where documents begin in the rows is looked up as well.
    pub documents: bool,
}

impl LoaderConfig {
    /// More threads are refused: no machine has so many cores.
    pub const MOST_THREADS: u32 = 1024;

    /// More batches ahead are refused: each takes memory before it is asked for.
    pub const MOST_BATCHES_AHEAD: u32 = 1 << 16;

    /// All batches from a step on, for the only process, by one thread, four ahead, without documents.
    pub fn from_step(step: u64) -> Self {
        Self {
            steps: step..u64::MAX,
            rank: Rank::single(),
            threads: 1,
            batches_ahead: 4,
            documents: false,
        }
    }
}

/// Delivers the batches of a run in order while threads make the next ones.
///
/// What it delivers is what [`Mixer::batch`] gives, whatever the number of threads. Where data are not in
/// memory yet, the windows of later batches are read ahead, as they are known. Dropping it stops the threads
/// at their current batch and waits for them.
///
/// ```
/// use mixdown_mixer::{Error, Loader, LoaderConfig, Mixer};
///
/// fn run(mixer: Mixer) -> Result<(), Error> {
///     for batch in Loader::<u32>::new(mixer.into(), LoaderConfig::from_step(0))? {
///         let batch = batch?;
///         println!("step {} has {} tokens", batch.step(), batch.tokens.len());
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Loader<T: TokenInt = u32> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

/// A batch of a [`Loader`], whose buffers go back to it when this is dropped.
#[derive(Debug)]
pub struct LoadedBatch<T: TokenInt = u32> {
    batch: Batch<T>,
    step: u64,
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T: TokenInt> {
    mixer: Arc<Mixer>,
    config: LoaderConfig,
    queue: Mutex<Queue<T>>,
    /// A batch is ready, or none will be.
    ready: Condvar,
    /// There is room for another batch, or no more are wanted.
    room: Condvar,
}

#[derive(Debug)]
struct Queue<T: TokenInt> {
    /// The step that the consumer gets next.
    next_out: u64,
    /// The step that a thread takes next.
    next_in: u64,
    /// From `next_out` on, what is made of each step taken.
    made: VecDeque<Option<Result<Batch<T>, Error>>>,
    /// Buffers to be used again.
    spare: Vec<Batch<T>>,
    read_ahead: ReadAhead,
    /// No step is to be begun any more.
    stopped: bool,
    /// Threads that still work.
    working: u32,
}

impl<T: TokenInt> Loader<T> {
    /// Starts the threads of a loader.
    ///
    /// # Errors
    /// No thread or no batch ahead; a world size that does not divide the batch size; a batch too large for
    /// this machine; threads that the system refuses.
    pub fn new(mixer: Arc<Mixer>, config: LoaderConfig) -> Result<Self, Error> {
        for (field, got, most) in [
            ("threads", config.threads, LoaderConfig::MOST_THREADS),
            ("batches_ahead", config.batches_ahead, LoaderConfig::MOST_BATCHES_AHEAD),
        ] {
            if !(1..=most).contains(&got) {
                let (field, expected) = (field.to_owned(), format!("1 to {most}"));
                return Err(Error::Setting { field, expected, got: got.into() });
            }
        }
        let slots = mixer.slots(0, config.rank)?;
        mixer.check_memory::<T>(slots.end - slots.start)?;
        let steps = config.steps.start..config.steps.end.min(u64::MAX / mixer.batch_size());
        let queue = Queue {
            next_out: steps.start,
            next_in: steps.start,
            made: VecDeque::new(),
            spare: Vec::new(),
            read_ahead: ReadAhead::new(
                steps.start,
                slots.end - slots.start,
                mixer.sequence_length(),
            ),
            stopped: false,
            working: 0,
        };
        let threads = config.threads;
        let config = LoaderConfig { steps, ..config };
        let shared = Arc::new(Shared {
            mixer,
            config,
            queue: Mutex::new(queue),
            ready: Condvar::new(),
            room: Condvar::new(),
        });
        let mut loader = Self { shared, threads: Vec::new() };
        for number in 0..threads {
            let shared = Arc::clone(&loader.shared);
            loader.shared.lock().working += 1;
            let name = format!("loader-{number}");
            let thread = std::thread::Builder::new().name(name).spawn(move || shared.work());
            match thread {
                Ok(thread) => loader.threads.push(thread),
                Err(source) => {
                    loader.shared.lock().working -= 1;
                    return Err(Error::Thread { source });
                }
            }
        }
        Ok(loader)
    }

    /// The step that comes next.
    pub fn step(&self) -> u64 {
        self.shared.lock().next_out
    }

    /// The state to go on from after the batches that were taken: what threads have made ahead of them does
    /// not count.
    pub fn state(&self) -> MixerState {
        let mixer = &self.shared.mixer;
        mixer.state(self.step().saturating_mul(mixer.batch_size()))
    }
}

impl<T: TokenInt> Iterator for Loader<T> {
    type Item = Result<LoadedBatch<T>, Error>;

    /// The next batch; none after the last step, and none after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        let made = loop {
            if let Some(Some(_)) = queue.made.front() {
                break queue.made.pop_front().flatten()?;
            }
            if queue.next_out >= shared.config.steps.end {
                return None;
            }
            if queue.working == 0 {
                break Err(Error::ThreadEnded { step: queue.next_out });
            }
            queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        let step = queue.next_out;
        queue.next_out += 1;
        if made.is_err() {
            queue.stopped = true;
            queue.made.clear();
            queue.next_out = shared.config.steps.end;
        }
        drop(queue);
        shared.room.notify_one();
        Some(made.map(|batch| LoadedBatch { batch, step, shared: Arc::clone(shared) }))
    }
}

impl<T: TokenInt> Drop for Loader<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing to hand over.
            let _ = thread.join();
        }
    }
}

impl<T: TokenInt> LoadedBatch<T> {
    /// The step it belongs to.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Takes the batch out; its buffers are the caller's then.
    pub fn into_inner(mut self) -> Batch<T> {
        std::mem::take(&mut self.batch)
    }
}

impl<T: TokenInt> Deref for LoadedBatch<T> {
    type Target = Batch<T>;

    fn deref(&self) -> &Batch<T> {
        &self.batch
    }
}

impl<T: TokenInt> Drop for LoadedBatch<T> {
    fn drop(&mut self) {
        if self.batch.tokens.capacity() > 0 {
            let batch = std::mem::take(&mut self.batch);
            let mut queue = self.shared.lock();
            if queue.spare.len() < MOST_SPARE {
                queue.spare.push(batch);
            }
        }
    }
}

/// Buffers that are kept for later batches.
const MOST_SPARE: usize = 64;

/// A step that a thread has taken.
struct Task<T: TokenInt> {
    step: u64,
    batch: Batch<T>,
    /// Steps whose windows are to be read ahead.
    ahead: Range<u64>,
}

impl<T: TokenInt> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: takes a step, makes its batch, until it is told to stop or all steps are taken.
    fn work(&self) {
        // However the thread ends, the consumer must not wait for it.
        let _ended = Ended { shared: self };
        let mut planner = self.mixer.planner();
        let mut plan = Vec::new();
        while let Some(Task { step, mut batch, ahead }) = self.take() {
            let read = self.read_ahead(ahead, &mut planner, &mut plan);
            let start = Instant::now();
            let filled = read.and_then(|()| self.fill(step, &mut planner, &mut plan, &mut batch));
            self.give(step, filled.map(|()| batch), start.elapsed().as_nanos());
        }
    }

    fn take(&self) -> Option<Task<T>> {
        let mut queue = self.lock();
        loop {
            if queue.stopped || queue.next_in >= self.config.steps.end {
                return None;
            }
            if queue.next_in - queue.next_out <= u64::from(self.config.batches_ahead) {
                break;
            }
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let step = queue.next_in;
        queue.next_in += 1;
        queue.made.push_back(None);
        let batch = queue.spare.pop().unwrap_or_default();
        let ahead = queue.read_ahead.steps_after(step, self.config.steps.end);
        Some(Task { step, batch, ahead })
    }

    fn fill(
        &self,
        step: u64,
        planner: &mut Planner<'_>,
        plan: &mut Vec<Slot>,
        batch: &mut Batch<T>,
    ) -> Result<(), Error> {
        let slots = self.mixer.slots(step, self.config.rank)?;
        planner.fill_batch(slots, plan, batch)?;
        if self.config.documents {
            self.mixer.documents(plan, batch.documents.get_or_insert_default())?;
        }
        Ok(())
    }

    fn read_ahead(
        &self,
        steps: Range<u64>,
        planner: &mut Planner<'_>,
        plan: &mut Vec<Slot>,
    ) -> Result<(), Error> {
        for step in steps {
            planner.plan(self.mixer.slots(step, self.config.rank)?, plan)?;
            self.mixer.will_need(plan)?;
        }
        Ok(())
    }

    fn give(&self, step: u64, made: Result<Batch<T>, Error>, nanoseconds: u128) {
        let mut queue = self.lock();
        queue.read_ahead.note(step, nanoseconds);
        let is_next = step == queue.next_out;
        if made.is_err() {
            queue.stopped = true;
            self.room.notify_all();
        }
        // After an error, or the end of the loader, nobody waits for it.
        let place = step.checked_sub(queue.next_out).and_then(|place| usize::try_from(place).ok());
        if let Some(place) = place.and_then(|place| queue.made.get_mut(place)) {
            *place = Some(made);
        }
        drop(queue);
        if is_next {
            self.ready.notify_one();
        }
    }
}

/// Tells the consumer that a thread is no more.
struct Ended<'s, T: TokenInt> {
    shared: &'s Shared<T>,
}

impl<T: TokenInt> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        self.shared.lock().working -= 1;
        self.shared.ready.notify_one();
    }
}
