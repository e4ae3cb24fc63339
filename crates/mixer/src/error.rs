//! What can go wrong between a mixture's description and its batches.

use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::Fingerprint;
use thiserror::Error;

/// An error of the mixer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A weight's text is no positive exact number.
    #[error(
        "weight {text:?}: expected {expected}, but {got}; write it like \"1%\", \"0.001\", \"99\" or \"1/3\""
    )]
    Weight {
        /// The weight as it was given.
        text: String,
        /// What a weight must be.
        expected: &'static str,
        /// Why this one is not: a clause.
        got: String,
    },
    /// Some sources have percentages, others plain numbers.
    #[error(
        "source {percent:?} has a percentage and source {plain:?} a plain weight: expected all of one kind; write every weight as a percentage (summing to 100%) or none"
    )]
    MixedWeights {
        /// The first source with a percentage.
        percent: String,
        /// The first source with a plain weight.
        plain: String,
    },
    /// Percentages that leave something over, or want more than there is.
    #[error(
        "the weights' percentages: expected a sum of 100%, got {got}; correct them, or drop every % sign to have relative weights"
    )]
    PercentageSum {
        /// The exact sum.
        got: String,
    },
    /// The weights have no common denominator that fits.
    #[error(
        "the weights' least common period: expected at most {expected} slots, got {got}; use rounder weights"
    )]
    WeightOverflow {
        /// The largest period.
        expected: u64,
        /// How it was passed.
        got: String,
    },
    /// A mixture without sources.
    #[error("the mixture: expected at least one [[source]], got none")]
    NoSources,
    /// More sources than a source number can count.
    #[error("the mixture: expected at most {expected} sources, got {got}")]
    TooManySources {
        /// The limit.
        expected: u64,
        /// The number of sources.
        got: u64,
    },
    /// A source without a name.
    #[error("source number {number}: expected a name, got an empty one; names order the data")]
    EmptyName {
        /// The source's place in the mixture, counted from 1.
        number: u64,
    },
    /// Two sources of one name.
    #[error(
        "source {name:?}: expected a name of its own, got one that is used twice; rename one of them"
    )]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A number of the mixture that must be within limits is not.
    #[error("{field}: expected {expected}, got {got}")]
    Setting {
        /// The field of the mixture.
        field: String,
        /// The range it must lie in.
        expected: String,
        /// Its value.
        got: u64,
    },
    /// A corpus could not be opened or read.
    #[error("source {name:?}, corpus {}", path.display())]
    Corpus {
        /// The source's name.
        name: String,
        /// The corpus folder.
        path: PathBuf,
        /// What the corpus said; boxed, as it is large.
        #[source]
        source: Box<mixdown_shards::Error>,
    },
    /// Two corpora whose token ids mean different things.
    #[error(
        "sources {first:?} and {second:?}: expected one tokenizer, got fingerprint {expected} in {} and {got} in {}; prepare both with the same tokenizer",
        first_path.display(), path.display()
    )]
    Tokenizers {
        /// The first source.
        first: String,
        /// Its corpus folder.
        first_path: PathBuf,
        /// The source that differs from it.
        second: String,
        /// Its corpus folder.
        path: PathBuf,
        /// The first source's tokenizer; boxed, as every result would grow by it.
        expected: Box<Fingerprint>,
        /// The other's tokenizer.
        got: Box<Fingerprint>,
    },
    /// Held-out documents of one corpus stand in the training part of another.
    #[error(
        "source {holdout:?} ({}): expected no held-out document in the training part of source {train:?} ({}), got {got}; prepare both corpora with the same holdout rule, or drop one",
        path.display(), train_path.display()
    )]
    Overlap {
        /// The source whose holdout is concerned.
        holdout: String,
        /// Its corpus folder.
        path: PathBuf,
        /// The source that trains on it.
        train: String,
        /// Its corpus folder.
        train_path: PathBuf,
        /// The number of such documents.
        got: u64,
    },
    /// A corpus, or its `max_tokens`, is shorter than one sequence.
    #[error(
        "source {name:?} ({}): expected at least {expected} tokens {limit} for one sequence, got {got}; {fix}",
        path.display()
    )]
    TooShort {
        /// The source's name.
        name: String,
        /// Its corpus folder.
        path: PathBuf,
        /// The tokens needed.
        expected: u64,
        /// What limits them: the training part, or `max_tokens`.
        limit: &'static str,
        /// The tokens there are.
        got: u64,
        /// The way out.
        fix: &'static str,
    },
    /// Packed rows of another length.
    #[error(
        "source {name:?} ({}): expected rows packed for sequence_length {expected}, got {got}; prepare it \
         with --pack {expected}, or set sequence_length = {got}",
        path.display()
    )]
    Pack {
        /// The source's name.
        name: String,
        /// Its corpus folder.
        path: PathBuf,
        /// T of the mixture.
        expected: u64,
        /// T of the rows.
        got: u64,
    },
    /// A source of which no target counts for the loss, weighed by such targets.
    #[error(
        "source {name:?} ({}): expected loss tokens, as weight_unit is \"loss_tokens\", got none",
        path.display()
    )]
    NoLossTokens {
        /// The source's name.
        name: String,
        /// Its corpus folder.
        path: PathBuf,
    },
    /// No source has a weight at the beginning.
    #[error("the mixture: expected a weight for at least one source at slot 0, got none")]
    NoWeights,
    /// A stage names a source that is not there.
    #[error(
        "stage {number}: expected the names of sources, got {name:?}; add a [[source]] of that name"
    )]
    StageSource {
        /// The stage, counted from 1; the beginning of the run is none.
        number: u64,
        /// The name.
        name: String,
    },
    /// A stage that begins no later than the one before it.
    #[error(
        "stage {number}: expected a start after slot {expected}, where the one before begins, got slot {got}; \
         put the stages in order"
    )]
    StageStart {
        /// The stage, counted from 1.
        number: u64,
        /// The slot of the stage before.
        expected: u64,
        /// Its own.
        got: u64,
    },
    /// A stage that does not say what its weights are.
    #[error(
        "stage {number}: expected either `weights`, or `to` and `over` (and `from`, unless the ramp goes on from \
         the weights before it), got {got}"
    )]
    StageShape {
        /// The stage, counted from 1.
        number: u64,
        /// What it has.
        got: &'static str,
    },
    /// A ramp of more than two sources that is too long to be laid out.
    #[error(
        "a ramp of {got} sequences between the weights of more than two sources: expected fewer; split it into \
         several ramps, one after another"
    )]
    RampTooLong {
        /// Its slots.
        got: u64,
    },
    /// A batch size by which what is still to come would move.
    #[error(
        "the mixer state at slot {slot}: expected the batch size that its run had, as a stage that is still to come \
         is counted in steps, got another one ({got}); say the stage's start and length in sequences or tokens, \
         or go on with the batch size before"
    )]
    BatchSize {
        /// The state's slot.
        slot: u64,
        /// The batch size now.
        got: u64,
    },
    /// A text that is no length of a run.
    #[error(
        "a length: expected steps, sequences, tokens or epochs such as \"1000 steps\", \"1B tokens\" or \
         \"2 epochs of target\", got {got:?}: {reason}"
    )]
    RunLength {
        /// The text.
        got: String,
        /// Why it is none: a clause.
        reason: String,
    },
    /// A length in epochs of a source that the run never repeats that often.
    #[error("the length {length}: expected a source that is drawn so often, got {got}")]
    Epochs {
        /// The length.
        length: String,
        /// What is wrong with it.
        got: String,
    },
    /// A rank that does not exist in its world.
    #[error("rank {rank}: expected less than the world size, got world size {world_size}")]
    Rank {
        /// The rank.
        rank: u32,
        /// The number of ranks.
        world_size: u32,
    },
    /// A batch that cannot be shared out evenly.
    #[error(
        "batch_size {batch_size}: expected a multiple of the world size, got world size {world_size}; choose a batch size that it divides"
    )]
    WorldSize {
        /// Sequences in a batch.
        batch_size: u64,
        /// The number of ranks.
        world_size: u32,
    },
    /// A slot or step beyond what the mixer counts.
    #[error("{what}: expected at most {expected}, got {got}")]
    OutOfRange {
        /// What was asked for.
        what: &'static str,
        /// The limit.
        expected: u64,
        /// The number asked for.
        got: u64,
    },
    /// A run would repeat a source more often than allowed.
    #[error(
        "source {name:?}: expected at most {expected} epochs, got more from step {step} on (slot {slot}); \
         shorten the run to {step} steps, lower its weight or raise max_epochs"
    )]
    MaxEpochs {
        /// The source's name.
        name: String,
        /// Its `max_epochs`.
        expected: u64,
        /// The first step (batch) that would pass it.
        step: u64,
        /// The first slot that would pass it.
        slot: u64,
    },
    /// A state that belongs to another order.
    #[error(
        "the mixer state at slot {slot}: expected this mixture's order {expected}, got {got}; what differs: \
         {differences}; {fix}"
    )]
    OtherOrder {
        /// The state's slot.
        slot: u64,
        /// This mixture's order.
        expected: Fingerprint,
        /// The state's order.
        got: Fingerprint,
        /// The parts that differ, in words.
        differences: String,
        /// The way out, which is a stage only where weights or sources differ.
        fix: String,
    },
    /// A state that is not at the beginning of a batch.
    #[error(
        "the mixer state: expected a multiple of batch_size {expected}, got slot {got}; go on with the batch size \
         that the run had"
    )]
    WithinBatch {
        /// The batch size.
        expected: u64,
        /// The state's slot.
        got: u64,
    },
    /// A state that lies beyond the end of the run.
    #[error(
        "the mixer state at slot {slot}: expected at most step {expected}, the end of the run, got step {got}; \
         lengthen the run, or go on with the length and the batch size that it had"
    )]
    BeyondEnd {
        /// The state's slot.
        slot: u64,
        /// The steps of the run.
        expected: u64,
        /// The state's step.
        got: u64,
    },
    /// Bytes that are no mixer state.
    #[error("the mixer state: expected {expected}, got {got}")]
    State {
        /// What a state holds at this place.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// The system starts no thread.
    #[error("a thread of the loader: cannot start it")]
    Thread {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A thread that made a batch panicked.
    #[error(
        "the loader: expected the batch of step {step}, but its thread has ended; this is a bug"
    )]
    ThreadEnded {
        /// The step.
        step: u64,
    },
    /// Memory for a batch that the machine does not give.
    #[error(
        "a batch of {rows} rows of {row_tokens} tokens: expected {bytes} bytes of memory, which this machine does not \
         give; take a smaller batch_size or more ranks"
    )]
    BatchTooLarge {
        /// What the rows and their plan take.
        bytes: u64,
        /// Rows asked for.
        rows: u64,
        /// Tokens a row.
        row_tokens: u64,
    },
}

impl Error {
    /// Returns the kind: whether the request, the data, the machine or a stop is behind the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corpus { source, .. } => source.kind(),
            Self::State { .. } | Self::ThreadEnded { .. } => ErrorKind::Data,
            Self::Thread { .. } => ErrorKind::Other,
            _ => ErrorKind::Configuration,
        }
    }
}
