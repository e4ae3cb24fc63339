//! The mixer: random access to any slot, step and rank of a run, without state.

pub(crate) mod batch;
pub(crate) mod gather;
pub(crate) mod planner;
pub(crate) mod state;

use std::ops::Range;

use mixdown_shards::{Corpus, TokenInt};

use crate::config::RunLength;
use crate::error::Error;
use crate::mixer::batch::{Batch, Documents, Rank};
use crate::mixer::planner::{Planner, Slot};
use crate::mixer::state::MixerState;
use crate::mixture::identity::Identity;
use crate::mixture::{Mixture, Source, corpus_error};
use crate::order::SourceOrder;
use crate::order::window::{Runs, WRAPPED_START};

/// Random access to the sequences of an endless run.
///
/// Slot n of the run is one sequence, and batch b is the slots b·B to b·B + B − 1. The content of a slot depends only
/// on the seed, the sources' names, weights and sizes, the stages before it, T, the window offset and the schedule
/// version: every batch size, world size, thread and restart gets the same slots. Seeking is free, memory is O(K), and
/// a state is a number.
///
/// Planning a slot takes tens of nanoseconds; gathering it copies T + 1 tokens from the memory map.
#[derive(Debug, Clone)]
pub struct Mixer {
    mixture: Mixture,
    orders: Vec<SourceOrder>,
    rotation_key: [u8; 32],
    /// The identity of each stage, which covers all stages up to it.
    identities: Vec<Identity>,
}

impl Mixer {
    /// Makes a mixer from a checked mixture. O(K).
    ///
    /// # Errors
    /// A source has more sequences than a permutation supports (2⁶³).
    ///
    /// ```
    /// use mixdown_mixer::{Mixer, Mixture, MixtureConfig};
    ///
    /// fn open(text: &str, folder: &std::path::Path) -> Result<Mixer, Box<dyn std::error::Error>> {
    ///     let config: MixtureConfig = toml::from_str(text)?;
    ///     Ok(Mixer::new(Mixture::open(&config, folder)?)?)
    /// }
    /// # let (folder, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let text = r#"
    ///     sequence_length = 10
    ///     batch_size = 4
    ///     source = [{ name = "target", corpus = "target", weight = "100%" }]
    /// "#;
    /// assert_eq!(open(text, folder.path())?.batch_size(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(mixture: Mixture) -> Result<Self, Error> {
        let shape = mixture.shape();
        let orders: Vec<SourceOrder> = mixture
            .sources()
            .iter()
            .zip(mixture.windows())
            .map(|(source, &windows)| SourceOrder::new(shape, &source.name, windows))
            .collect();
        for order in &orders {
            order.epoch(0)?;
        }
        let rotation_key =
            blake3::derive_key("mixdown-mixer rank rotation 1", &shape.seed.to_le_bytes());
        let identities = Identity::of_stages(&mixture);
        Ok(Self { mixture, orders, rotation_key, identities })
    }

    /// Returns the mixture.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.mixture().sources()[1].name, "pretraining");
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// Returns T, the inputs (and targets) of a sequence, in tokens.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.sequence_length(), 10);
    /// ```
    pub fn sequence_length(&self) -> u64 {
        self.mixture.shape().sequence_length
    }

    /// Returns B, the sequences of a batch over all ranks.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.batch_size(), 4);
    /// ```
    pub fn batch_size(&self) -> u64 {
        self.mixture.shape().batch_size
    }

    /// Returns the sequence of one slot. For many neighbors, a [`planner`](Self::planner) is faster.
    ///
    /// # Errors
    /// None for a checked mixture.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// // The third of four slots belongs to the second source, which has 25 %.
    /// let slot = mixer.slot(4_000_002)?;
    /// assert_eq!((slot.source, slot.sequence), (1, 1_000_000));
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slot(&self, slot: u64) -> Result<Slot, Error> {
        self.planner().slot(slot)
    }

    /// Returns the slot of a source's `sequence`-th sequence (from 0), the inverse of [`slot`](Self::slot).
    ///
    /// # Errors
    /// The source does not exist, or the slot exceeds 64 bits.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.slot_of(1, 1_000_000)?, 4_000_002);
    /// assert!(mixer.slot_of(2, 0).is_err());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slot_of(&self, source: u32, sequence: u64) -> Result<u64, Error> {
        if self.mixture.sequences(source).is_none() {
            return Err(no_such_source(self, source));
        }
        self.mixture.timeline().slot_of(source, sequence).ok_or(Error::OutOfRange {
            what: "a source's sequence (no stage gives it, or its slot passes 64 bits)",
            expected: self.mixture.timeline().count(source, u64::MAX).saturating_sub(1),
            got: sequence,
        })
    }

    /// Returns a planner for one thread.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut plan = Vec::new();
    /// mixer.planner().plan(0..4, &mut plan)?;
    /// assert_eq!(plan.iter().map(|slot| slot.source).collect::<Vec<_>>(), [0, 0, 1, 0]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn planner(&self) -> Planner<'_> {
        Planner::new(self)
    }

    /// Returns the slots of a rank's part of a batch.
    ///
    /// # Errors
    /// The world size does not divide the batch size; the slots of the step exceed 64 bits.
    ///
    /// ```
    /// use mixdown_mixer::Rank;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.slots(7, Rank::single())?, 28..32);
    /// let [first, second] = [0, 1].map(|rank| mixer.slots(7, Rank::new(rank, 2).unwrap()).unwrap());
    /// assert!(first.start + second.start == 28 + 30);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slots(&self, step: u64, rank: Rank) -> Result<Range<u64>, Error> {
        let batch_size = self.batch_size();
        let world_size = u64::from(rank.world_size());
        if !batch_size.is_multiple_of(world_size) {
            return Err(Error::WorldSize { batch_size, world_size: rank.world_size() });
        }
        let last_step = u64::MAX / batch_size - 1;
        if step > last_step {
            return Err(Error::OutOfRange { what: "the step", expected: last_step, got: step });
        }
        let rows = batch_size / world_size;
        let start = step * batch_size + rank.part(self.rotation(step)) * rows;
        Ok(start..start + rows)
    }

    /// Fills `out` with a rank's part of a batch: `batch_size / world_size` rows in the order of
    /// their slots.
    ///
    /// # Errors
    /// Those of [`slots`](Self::slots) and [`fill`](Self::fill); a batch too large for this machine.
    ///
    /// ```
    /// use mixdown_mixer::{Batch, Rank};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut batch = Batch::<u32>::default();
    /// mixer.batch(7, Rank::single(), &mut batch)?;
    /// assert_eq!((batch.rows, batch.tokens.len()), (4, 4 * 11));
    /// assert_eq!(batch.slots, [28, 29, 30, 31]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn batch<T: TokenInt>(
        &self,
        step: u64,
        rank: Rank,
        out: &mut Batch<T>,
    ) -> Result<(), Error> {
        let slots = self.slots(step, rank)?;
        self.planner().fill_batch(slots, &mut Vec::new(), out)
    }

    /// Fills `out` with planned sequences, one per row.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch); a slot that does not belong to this mixer.
    ///
    /// ```
    /// use mixdown_mixer::Batch;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut batch = Batch::<u32>::default();
    /// mixer.gather(&[mixer.slot(5)?, mixer.slot(1_000)?], &mut batch)?;
    /// assert_eq!(batch.slots, [5, 1_000]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn gather<T: TokenInt>(&self, plan: &[Slot], out: &mut Batch<T>) -> Result<(), Error> {
        self.make_room(u64::try_from(plan.len()).unwrap_or(u64::MAX), out)?;
        self.fill(plan, &mut out.tokens)?;
        self.describe(plan, out);
        self.add_loss_mask(plan, out)
    }

    pub(crate) fn add_loss_mask<T: TokenInt>(
        &self,
        plan: &[Slot],
        out: &mut Batch<T>,
    ) -> Result<(), Error> {
        if !self.mixture.is_labelled() {
            return Ok(());
        }
        out.loss_mask.resize(out.tokens.len() - plan.len(), 0);
        self.fill_loss_mask(plan, &mut out.loss_mask)
    }

    /// Fills `out.documents` with the beginnings of documents in its rows.
    ///
    /// # Errors
    /// Those of [`documents`](Self::documents); a batch that does not belong to this mixer.
    ///
    /// ```
    /// use mixdown_mixer::{Batch, Rank};
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut batch = Batch::<u32>::default();
    /// mixer.batch(0, Rank::single(), &mut batch)?;
    /// mixer.add_documents(&mut batch)?;
    /// assert_eq!(batch.documents.unwrap().segment_ids.len(), 4 * 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn add_documents<T: TokenInt>(&self, out: &mut Batch<T>) -> Result<(), Error> {
        let mut planner = self.planner();
        let plan: Vec<Slot> =
            out.slots.iter().map(|&slot| planner.slot(slot)).collect::<Result<_, _>>()?;
        self.documents(&plan, out.documents.get_or_insert_with(Documents::default))
    }

    /// Fills in everything about planned rows except their tokens.
    pub(crate) fn describe<T: TokenInt>(&self, plan: &[Slot], out: &mut Batch<T>) {
        out.rows = u64::try_from(plan.len()).unwrap_or(u64::MAX);
        out.sequence_length = self.sequence_length();
        out.loss_mask.clear();
        out.sources.clear();
        out.slots.clear();
        out.sources.extend(plan.iter().map(|slot| slot.source));
        out.slots.extend(plan.iter().map(|slot| slot.slot));
        out.documents = None;
    }

    /// Returns the corpus of a planned sequence, and the position of its tokens there.
    pub(crate) fn runs(&self, source: u32, start_token: u64) -> Result<(&Corpus, Runs), Error> {
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        let sources = (self.mixture.sources().get(place), self.mixture.windows().get(place));
        let (Some(Source { corpus, .. }), Some(windows)) = sources else {
            return Err(no_such_source(self, source));
        };
        let got = start_token;
        if got > windows.last_start() {
            let what = "the start token of a planned sequence";
            return Err(Error::OutOfRange { what, expected: windows.last_start(), got });
        }
        Ok((corpus, windows.runs(got)))
    }

    /// Returns the targets of a planned sequence as tokens of its source's training split: one range, and a second one
    /// that is empty unless the window wraps around the end of an epoch.
    ///
    /// # Errors
    /// The slot does not belong to this mixer.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let slot = mixer.slot(0)?;
    /// let [range, wrapped] = mixer.target_ranges(&slot)?;
    /// assert_eq!(range.start, slot.start_token + 1);
    /// assert_eq!((range.end - range.start) + (wrapped.end - wrapped.start), 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn target_ranges(&self, slot: &Slot) -> Result<[Range<u64>; 2], Error> {
        let (_, runs) = self.runs(slot.source, slot.start_token)?;
        let end = runs.start_token + runs.len_tokens;
        let wrapped_end = WRAPPED_START + runs.wrapped_len_tokens;
        Ok([runs.start_token + 1..end, WRAPPED_START..wrapped_end])
    }

    /// Returns the error of a corpus with the source that it belongs to.
    pub(crate) fn corpus_error(&self, source: u32, error: mixdown_shards::Error) -> Error {
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        match self.mixture.sources().get(place) {
            Some(source) => corpus_error(&source.name, source.corpus.folder(), error),
            None => no_such_source(self, source),
        }
    }

    /// Returns the number of steps of a length, with the last one complete.
    ///
    /// Epochs of a source with a limit (`max_epochs`) end with the last whole step within them: filling another step
    /// would take sequences of the next epoch.
    ///
    /// # Errors
    /// The source does not exist or the run never repeats it that often; the length exceeds 64 bits.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.steps(&"1000 tokens".parse()?)?, 25);
    /// // The first 133 sequences contain 100 of the first source.
    /// assert_eq!(mixer.steps(&"1 epoch of target".parse()?)?, 34);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn steps(&self, length: &RunLength) -> Result<u64, Error> {
        let slots = self.mixture.slots_of(length)?;
        let (steps, whole) = (slots.div_ceil(self.batch_size()), slots / self.batch_size());
        let is_epochs = matches!(length, RunLength::Epochs { .. });
        let passes = |steps: u64| self.check_run(steps.saturating_mul(self.batch_size())).is_err();
        Ok(if is_epochs && whole > 0 && passes(steps) && !passes(whole) { whole } else { steps })
    }

    /// Returns the number of slots of a length from the beginning of the run, before rounding to
    /// [`steps`](Self::steps).
    ///
    /// # Errors
    /// Those of [`steps`](Self::steps).
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.slots_of(&"1000 tokens".parse()?)?, 100);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slots_of(&self, length: &RunLength) -> Result<u64, Error> {
        self.mixture.slots_of(length)
    }

    /// Checks that a run of `slots` slots keeps every source within its `max_epochs`.
    ///
    /// # Errors
    /// The source that would exceed it first, with the step and slot.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// // No source has a `max_epochs`.
    /// assert!(mixer.check_run(1_000_000).is_ok());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn check_run(&self, slots: u64) -> Result<(), Error> {
        let first = self
            .mixture
            .sources()
            .iter()
            .zip(0_u32..)
            .filter_map(|(source, place)| {
                let sequences = source.max_epochs?.checked_mul(self.mixture.sequences(place)?)?;
                let slot = self.mixture.timeline().slot_of(place, sequences)?;
                (slot < slots).then_some((slot, source))
            })
            .min_by_key(|(slot, _)| *slot);
        match first {
            None => Ok(()),
            Some((slot, source)) => Err(Error::MaxEpochs {
                name: source.name.clone(),
                expected: source.max_epochs.unwrap_or_default(),
                step: slot / self.batch_size(),
                slot,
            }),
        }
    }

    /// Returns the state of a run whose next slot is `slot`.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.state(28).slot(), 28);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn state(&self, slot: u64) -> MixerState {
        let identity = self.identity(slot);
        let checks = match self.mixture.timeline().counts_steps_from(slot) {
            true => identity.checks.in_steps(self.batch_size()),
            false => identity.checks,
        };
        MixerState::new(slot, identity, checks)
    }

    /// Returns the next slot of a run that stopped at `state`.
    ///
    /// # Errors
    /// The state has another order; the message names the difference.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let state = mixer.state(28);
    /// assert_eq!(mixer.resume(&state)?, 28);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn resume(&self, state: &MixerState) -> Result<u64, Error> {
        state.check(self.identity(state.slot()), &self.mixture)?;
        Ok(state.slot())
    }

    /// Returns the next step of a run of `steps` steps (`u64::MAX` for an endless one) that stopped at `state`; `steps`
    /// itself if the run is finished.
    ///
    /// # Errors
    /// Those of [`resume`](Self::resume); a state within a batch, or after the end of the run.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.resume_step(&mixer.state(28), 100)?, 7);
    /// assert!(mixer.resume_step(&mixer.state(29), 100).is_err());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn resume_step(&self, state: &MixerState, steps: u64) -> Result<u64, Error> {
        let (slot, batch_size) = (self.resume(state)?, self.batch_size());
        if !slot.is_multiple_of(batch_size) {
            return Err(Error::WithinBatch { expected: batch_size, got: slot });
        }
        let got = slot / batch_size;
        if got > steps {
            return Err(Error::BeyondEnd { slot, expected: steps, got });
        }
        Ok(got)
    }

    /// Returns the identity of the order of the slots before `slot`: a stage that begins there or later does not count,
    /// so it may be added to a run that has reached `slot`.
    fn identity(&self, slot: u64) -> &Identity {
        let stages = self.mixture.timeline().stages();
        let begun = stages.partition_point(|stage| stage.start < slot);
        // There is one identity per stage, and at least one stage.
        &self.identities[begun.saturating_sub(1)]
    }

    /// h(seed, b): the number of parts by which the ranks of a batch are rotated.
    fn rotation(&self, step: u64) -> u64 {
        let hash = blake3::keyed_hash(&self.rotation_key, &step.to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn orders(&self) -> &[SourceOrder] {
        &self.orders
    }
}

pub(crate) fn no_such_source(mixer: &Mixer, source: u32) -> Error {
    Error::OutOfRange {
        what: "the source's place in the mixture",
        expected: u64::try_from(mixer.orders.len()).unwrap_or(u64::MAX) - 1,
        got: u64::from(source),
    }
}
