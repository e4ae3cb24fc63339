//! Errors between a mixture's description and its batches.

use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::Fingerprint;
use thiserror::Error;

/// An error of the mixer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text of a weight is not a positive exact number.
    #[error(
        "weight {text:?}: expected {expected}, but {got}; write it like \"1%\", \"0.001\", \"99\" or \"1/3\""
    )]
    Weight {
        /// The weight as given.
        text: String,
        /// The requirement for a weight.
        expected: &'static str,
        /// The reason why this one is wrong, as a clause.
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
    /// The percentages do not sum to 100%.
    #[error(
        "the weights' percentages: expected a sum of 100%, got {got}; correct them, or drop every % sign to have relative weights"
    )]
    PercentageSum {
        /// The exact sum.
        got: String,
    },
    /// The weights have no common denominator within the limit.
    #[error(
        "the weights' least common period: expected at most {expected} slots, got {got}; use rounder weights"
    )]
    WeightOverflow {
        /// The largest period.
        expected: u64,
        /// The sum, or the cause of its size.
        got: String,
    },
    /// A mixture has no sources.
    #[error("the mixture: expected at least one [[source]], got none")]
    NoSources,
    /// There are more sources than a source number can count.
    #[error("the mixture: expected at most {expected} sources, got {got}")]
    TooManySources {
        /// The limit.
        expected: u64,
        /// The number of sources.
        got: u64,
    },
    /// A source has no name.
    #[error("source number {number}: expected a name, got an empty one; names order the data")]
    EmptyName {
        /// The source's position in the mixture, counted from 1.
        number: u64,
    },
    /// Two sources have the same name.
    #[error(
        "source {name:?}: expected unique names, got this one twice; rename one of the sources"
    )]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A number of the mixture is out of range.
    #[error("{field}: expected {expected}, got {got}")]
    Setting {
        /// The field of the mixture.
        field: String,
        /// The accepted range.
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
        /// The error of the corpus; boxed because it is large.
        #[source]
        source: Box<mixdown_shards::Error>,
    },
    /// Two corpora have different tokenizers.
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
        /// The first source's tokenizer; boxed because every result would grow by it.
        expected: Box<Fingerprint>,
        /// The other source's tokenizer.
        got: Box<Fingerprint>,
    },
    /// The training split of one corpus contains holdout documents of another.
    #[error(
        "source {holdout:?} ({}): expected no held-out document in the training part of source {train:?} ({}), got {got}; prepare both corpora with the same holdout rule, or drop one",
        path.display(), train_path.display()
    )]
    Overlap {
        /// The source with the holdout documents.
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
    /// The training split of one corpus contains near-duplicates of holdout documents of another.
    #[error(
        "source {holdout:?} ({}): expected no held-out document with a near-duplicate in the training part of source {train:?} ({}), got {got}; prepare the second corpus again without the near-duplicates of the first one's held-out documents, or drop one",
        path.display(), train_path.display()
    )]
    NearOverlap {
        /// The source with the holdout documents.
        holdout: String,
        /// Its corpus folder.
        path: PathBuf,
        /// The source that trains on near-duplicates of them.
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
        /// The tokens required.
        expected: u64,
        /// What limits them: the training split, or `max_tokens`.
        limit: &'static str,
        /// The tokens available.
        got: u64,
        /// The fix.
        fix: &'static str,
    },
    /// A corpus is packed into rows of another length.
    #[error(
        "source {name:?} ({}): expected rows packed for sequence_length {expected}, got {got}; prepare it \
         packed for {expected}, or set sequence_length = {got}",
        path.display()
    )]
    Pack {
        /// The source's name.
        name: String,
        /// Its corpus folder.
        path: PathBuf,
        /// The sequence length T of the mixture.
        expected: u64,
        /// The sequence length T of the rows.
        got: u64,
    },
    /// Weights are shares of loss tokens, but a source has no loss tokens.
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
    /// A stage names a source that does not exist.
    #[error(
        "stage {number}: expected the names of sources, got {name:?}; add a [[source]] of that name"
    )]
    StageSource {
        /// The stage, counted from 1; the beginning of the run is not counted.
        number: u64,
        /// The name.
        name: String,
    },
    /// A stage begins no later than the previous one.
    #[error(
        "stage {number}: expected a start after slot {expected}, where the one before begins, got slot {got}; \
         put the stages in order"
    )]
    StageStart {
        /// The stage, counted from 1.
        number: u64,
        /// The slot of the previous stage.
        expected: u64,
        /// The slot of this stage.
        got: u64,
    },
    /// A stage does not define its weights.
    #[error(
        "stage {number}: expected either `weights`, or `to` and `over` (and `from`, unless the ramp starts from \
         the weights before it), got {got}"
    )]
    StageShape {
        /// The stage, counted from 1.
        number: u64,
        /// What it defines.
        got: &'static str,
    },
    /// A ramp between more than two sources is too long.
    #[error(
        "a ramp of {got} sequences between the weights of more than two sources: expected fewer; split it into \
         several ramps, one after another"
    )]
    RampTooLong {
        /// Its length in slots.
        got: u64,
    },
    /// The batch size changed although a later stage is counted in steps.
    #[error(
        "the mixer state at slot {slot}: expected the batch size that its run had, because a later stage \
         is counted in steps, got {got}; give the stage's start and length in sequences or tokens, \
         or continue with the batch size that the run had"
    )]
    BatchSize {
        /// The state's slot.
        slot: u64,
        /// The current batch size.
        got: u64,
    },
    /// A text is not a length of a run.
    #[error(
        "a length: expected steps, sequences, tokens or epochs such as \"1000 steps\", \"1B tokens\" or \
         \"2 epochs of target\", got {got:?}: {reason}"
    )]
    RunLength {
        /// The text.
        got: String,
        /// The reason, as a clause.
        reason: String,
    },
    /// A length is given in epochs of a source that the run does not repeat that often.
    #[error("the length {length}: expected a source that the run repeats that often, got {got}")]
    Epochs {
        /// The length.
        length: String,
        /// The reason.
        got: String,
    },
    /// A rank does not exist in its world.
    #[error("rank {rank}: expected less than the world size, got world size {world_size}")]
    Rank {
        /// The rank.
        rank: u32,
        /// The number of ranks.
        world_size: u32,
    },
    /// A batch cannot be divided evenly among the ranks.
    #[error(
        "batch_size {batch_size}: expected a multiple of the world size, got world size {world_size}; choose a batch size that it divides"
    )]
    WorldSize {
        /// Sequences in a batch.
        batch_size: u64,
        /// The number of ranks.
        world_size: u32,
    },
    /// A slot, step or other number exceeds its limit.
    #[error("{what}: expected at most {expected}, got {got}")]
    OutOfRange {
        /// The name of the number.
        what: &'static str,
        /// The limit.
        expected: u64,
        /// The requested number.
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
        /// The first step (batch) that would exceed it.
        step: u64,
        /// The first slot that would exceed it.
        slot: u64,
    },
    /// A state belongs to another order.
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
        /// The names of the parts that differ.
        differences: String,
        /// The fix: a stage, only if weights or sources differ.
        fix: String,
    },
    /// A state is in the middle of a batch.
    #[error(
        "the mixer state: expected a multiple of batch_size {expected}, got slot {got}; continue with the batch size \
         that the run had"
    )]
    WithinBatch {
        /// The batch size.
        expected: u64,
        /// The state's slot.
        got: u64,
    },
    /// A state is after the end of the run.
    #[error(
        "the mixer state at slot {slot}: expected at most step {expected}, the end of the run, got step {got}; \
         lengthen the run, or continue with the length and the batch size that it had"
    )]
    BeyondEnd {
        /// The state's slot.
        slot: u64,
        /// The steps of the run.
        expected: u64,
        /// The state's step.
        got: u64,
    },
    /// Bytes are not a mixer state.
    #[error("the mixer state: expected {expected}, got {got}")]
    State {
        /// The expected content at this position.
        expected: String,
        /// The actual content.
        got: String,
    },
    /// The system refused to start a thread.
    #[error("a thread of the loader: cannot start it")]
    Thread {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A thread panicked while it made a batch.
    #[error(
        "the loader: expected the batch of step {step}, but its thread has ended; this is a bug"
    )]
    ThreadEnded {
        /// The step.
        step: u64,
    },
    /// A batch takes more memory than the machine has free.
    #[error(
        "a batch of {rows} rows of {row_tokens} tokens: expected {bytes} bytes of free memory, got less; \
         use a smaller batch_size or more ranks"
    )]
    BatchTooLarge {
        /// The bytes of the rows and their plan.
        bytes: u64,
        /// The rows of the batch.
        rows: u64,
        /// Tokens per row.
        row_tokens: u64,
    },
}

impl Error {
    /// Returns the kind of the error: whether the request, the data, the machine or a stop caused it.
    ///
    /// ```
    /// use mixdown_base::error_kind::ErrorKind;
    /// use mixdown_mixer::Rank;
    ///
    /// assert_eq!(Rank::new(2, 2).unwrap_err().kind(), ErrorKind::Configuration);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corpus { source, .. } => source.kind(),
            Self::State { .. } | Self::ThreadEnded { .. } => ErrorKind::Data,
            Self::Thread { .. } => ErrorKind::Other,
            _ => ErrorKind::Configuration,
        }
    }
}
