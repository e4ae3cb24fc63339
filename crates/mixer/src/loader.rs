//! The dataloader: threads make batches some steps ahead and deliver them in the order of the steps.

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
use crate::mixer::batch::{Batch, Rank};
use crate::mixer::planner::{Planner, Slot};
use crate::mixer::state::MixerState;

/// The steps, rank, threads and buffering of a [`Loader`].
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// The steps to deliver; the end is excluded.
    pub steps: Range<u64>,
    /// The rank whose part of each batch is delivered.
    pub rank: Rank,
    /// The number of threads that make batches, 1 to [`Self::MOST_THREADS`].
    pub threads: u32,
    /// The number of batches, beyond the requested one, that may be ready or in progress, 1 to
    /// [`Self::MOST_BATCHES_AHEAD`]. Each takes the memory of a batch.
    pub batches_ahead: u32,
    /// Whether each batch also records where documents begin in its rows.
    pub documents: bool,
}

impl LoaderConfig {
    /// The largest number of threads of a loader: no machine has as many cores.
    pub const MOST_THREADS: u32 = 1024;

    /// The largest number of batches ahead: each takes memory before it is requested.
    pub const MOST_BATCHES_AHEAD: u32 = 1 << 16;

    /// Returns a configuration that delivers every batch from `step` on, for a single rank, with one thread, four
    /// batches ahead and without documents.
    ///
    /// ```
    /// use mixdown_mixer::LoaderConfig;
    ///
    /// let config = LoaderConfig { threads: 2, ..LoaderConfig::from_step(100) };
    /// assert_eq!((config.steps.start, config.batches_ahead), (100, 4));
    /// ```
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

/// An iterator over the batches of a run, which threads make ahead of the consumer.
///
/// Each batch equals that of [`Mixer::batch`], for any number of threads. If data are not in memory yet, the windows of
/// later batches are read ahead, because they are known in advance. Dropping the loader stops its threads after their
/// current batch and waits for them.
///
/// ```
/// use mixdown_mixer::{Loader, LoaderConfig};
///
/// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
/// let mut loader = Loader::<u32>::new(mixer.into(), LoaderConfig::from_step(0))?;
/// for batch in loader.by_ref().take(3) {
///     let batch = batch?;
///     assert_eq!((batch.rows, batch.tokens.len()), (4, 4 * 11));
/// }
/// assert_eq!(loader.state().slot(), 3 * 4);
/// # Ok::<(), mixdown_mixer::Error>(())
/// ```
#[derive(Debug)]
pub struct Loader<T: TokenInt = u32> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

/// A batch of a [`Loader`]; dropping it returns its buffers to the loader.
#[derive(Debug)]
pub struct LoadedBatch<T: TokenInt = u32> {
    batch: Batch<T>,
    step: u64,
    shared: Arc<Shared<T>>,
}

/// The state that the threads and the consumer share.
#[derive(Debug)]
struct Shared<T: TokenInt> {
    mixer: Arc<Mixer>,
    config: LoaderConfig,
    queue: Mutex<BatchQueue<T>>,
    /// Signals that a batch is ready, or that none will be.
    ready: Condvar,
    /// Signals that another batch can be started, or that no more are wanted.
    room: Condvar,
}

/// The steps in progress. Threads take steps in order and deliver batches in any order.
///
/// A pair of crossbeam's bounded channels in its place delivers the same batches, but took 10 % longer for batches of
/// 64 rows of 1,024 tokens (docs/architecture.md): a step then passes through two queues, and the consumer is woken for
/// every batch instead of only for the next one.
#[derive(Debug)]
struct BatchQueue<T: TokenInt> {
    /// The step that the consumer gets next.
    next_out: u64,
    /// The step that a thread takes next.
    next_in: u64,
    /// The batches of the steps taken, from `next_out` on; each is set once it is made.
    made: VecDeque<Option<Result<Batch<T>, Error>>>,
    /// Buffers for reuse: the last one first, since the caches still hold it.
    spare: Vec<Batch<T>>,
    read_ahead: ReadAhead,
    /// Whether no more steps may begin.
    stopped: bool,
    /// The number of threads that have not ended.
    working: u32,
}

impl<T: TokenInt> Loader<T> {
    /// Starts the threads of a loader.
    ///
    /// # Errors
    /// Zero threads or batches ahead; a world size that does not divide the batch size; a batch that is too large for
    /// this machine; a thread that the system refuses.
    ///
    /// ```
    /// use mixdown_mixer::{Loader, LoaderConfig};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let config = LoaderConfig { steps: 5..7, threads: 2, ..LoaderConfig::from_step(5) };
    /// let steps: Vec<u64> = Loader::<u32>::new(mixer.into(), config)?
    ///     .map(|batch| batch.map(|batch| batch.step()))
    ///     .collect::<Result<_, _>>()?;
    /// assert_eq!(steps, [5, 6]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn new(mixer: Arc<Mixer>, config: LoaderConfig) -> Result<Self, Error> {
        check_config(&config)?;
        let slots = mixer.slots(0, config.rank)?;
        mixer.check_memory::<T>(slots.end - slots.start)?;
        let steps = config.steps.start..config.steps.end.min(u64::MAX / mixer.batch_size());
        let queue = BatchQueue {
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
            let thread =
                std::thread::Builder::new().name(name).spawn(move || shared.make_batches());
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

    /// Returns the step of the next batch.
    ///
    /// ```
    /// use mixdown_mixer::{Loader, LoaderConfig};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut loader = Loader::<u32>::new(mixer.into(), LoaderConfig::from_step(8))?;
    /// loader.next();
    /// assert_eq!(loader.step(), 9);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn step(&self) -> u64 {
        self.shared.lock().next_out
    }

    /// Returns the state from which a run continues after the batches taken so far. Batches that the threads have made
    /// ahead do not count.
    ///
    /// ```
    /// use mixdown_mixer::{Loader, LoaderConfig};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mixer = std::sync::Arc::new(mixer);
    /// let mut loader = Loader::<u32>::new(mixer.clone(), LoaderConfig::from_step(0))?;
    /// loader.nth(9);
    /// let state = loader.state();
    /// assert_eq!(mixer.resume_step(&state, u64::MAX)?, 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn state(&self) -> MixerState {
        let mixer = &self.shared.mixer;
        mixer.state(self.step().saturating_mul(mixer.batch_size()))
    }
}

impl<T: TokenInt> Iterator for Loader<T> {
    type Item = Result<LoadedBatch<T>, Error>;

    /// Returns the next batch; `None` after the last step and after an error.
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
            // A thread that panicked has nothing to deliver.
            let _ = thread.join();
        }
    }
}

impl<T: TokenInt> LoadedBatch<T> {
    /// Returns the step of the batch.
    ///
    /// ```
    /// use mixdown_mixer::{Loader, LoaderConfig};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut loader = Loader::<u32>::new(mixer.into(), LoaderConfig::from_step(3))?;
    /// assert_eq!(loader.next().unwrap()?.step(), 3);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Takes the batch out of the loader: its buffers do not return to the loader.
    ///
    /// ```
    /// use mixdown_mixer::{Loader, LoaderConfig};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut loader = Loader::<u32>::new(mixer.into(), LoaderConfig::from_step(0))?;
    /// let tokens: Vec<u32> = loader.next().unwrap()?.into_inner().tokens;
    /// assert_eq!(tokens.len(), 4 * 11);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
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

/// The number of buffers kept for later batches.
const MOST_SPARE: usize = 64;

/// Checks the loader's own settings.
fn check_config(config: &LoaderConfig) -> Result<(), Error> {
    for (field, got, most) in [
        ("threads", config.threads, LoaderConfig::MOST_THREADS),
        ("batches_ahead", config.batches_ahead, LoaderConfig::MOST_BATCHES_AHEAD),
    ] {
        if !(1..=most).contains(&got) {
            let (field, expected) = (field.to_owned(), format!("1 to {most}"));
            return Err(Error::Setting { field, expected, got: got.into() });
        }
    }
    Ok(())
}

/// A step that a thread has taken.
struct BatchTask<T: TokenInt> {
    step: u64,
    batch: Batch<T>,
    /// Steps whose windows are read ahead before it.
    ahead: Range<u64>,
}

impl<T: TokenInt> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, BatchQueue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes batches in a thread of the loader, until all steps are taken or no more are wanted.
    fn make_batches(&self) {
        // The consumer must not wait for this thread, however it ends.
        let _ended = Ended { shared: self };
        let mut planner = self.mixer.planner();
        let mut plan = Vec::new();
        while let Some(BatchTask { step, mut batch, ahead }) = self.take() {
            let mut promise = Promise { shared: self, step, nanoseconds: 0, made: None };
            let read = self.read_ahead(ahead, &mut planner, &mut plan);
            let start = Instant::now();
            let filled = read.and_then(|()| self.fill(step, &mut planner, &mut plan, &mut batch));
            promise.nanoseconds = start.elapsed().as_nanos();
            promise.made = Some(filled.map(|()| batch));
        }
    }

    fn take(&self) -> Option<BatchTask<T>> {
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
        Some(BatchTask { step, batch, ahead })
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
        // After an error, or the end of the loader, the batch is not expected any more.
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

/// The obligation to deliver the batch of a step that a thread has taken. The consumer gets the batch, or an error,
/// even if the thread panics, because no other thread would make it.
struct Promise<'s, T: TokenInt> {
    shared: &'s Shared<T>,
    step: u64,
    nanoseconds: u128,
    made: Option<Result<Batch<T>, Error>>,
}

impl<T: TokenInt> Drop for Promise<'_, T> {
    fn drop(&mut self) {
        let made = self.made.take().unwrap_or(Err(Error::ThreadEnded { step: self.step }));
        self.shared.give(self.step, made, self.nanoseconds);
    }
}

/// A guard that tells the consumer, when dropped, that a thread has ended.
struct Ended<'s, T: TokenInt> {
    shared: &'s Shared<T>,
}

impl<T: TokenInt> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        self.shared.lock().working -= 1;
        self.shared.ready.notify_one();
    }
}
