//! Errors between documents and a corpus.

use std::io;
use std::path::{Path, PathBuf};

use mixdown_base::display::plural;
use mixdown_base::error_kind::ErrorKind;
use mixdown_documents::InputList;

/// The error type of a tokenizer library, which has no type of its own.
pub(crate) type LibraryError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An unusable tokenizer, options that leave nothing, an output folder in use, or a failure of the inputs, the corpus
/// or the system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The inputs cannot be read.
    #[error(transparent)]
    Documents(#[from] mixdown_documents::Error),
    /// A shard or the manifest cannot be written.
    #[error(transparent)]
    Shards(#[from] mixdown_shards::Error),
    /// There is no tokenizer at the given path.
    #[error("no tokenizer at {}: expected a tokenizer.json or a folder that holds one", path.display())]
    NoTokenizer {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder holds a tokenizer in another format.
    #[error(
        "no tokenizer.json in {}, only {got}: convert it: python -c \"from transformers import \
         AutoTokenizer as T; T.from_pretrained('{}').save_pretrained('{}')\"",
        path.display(), path.display(), path.display()
    )]
    OtherForm {
        /// The folder.
        path: PathBuf,
        /// The file that it has instead.
        got: &'static str,
    },
    /// A tokenizer file is damaged or has an unsupported format.
    #[error("cannot load the tokenizer {}", path.display())]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// The library's error.
        source: LibraryError,
    },
    /// A tokenizer's highest id is out of bounds.
    #[error(
        "tokenizer {}: the highest id is {got}, expected less than {expected}: use another \
         tokenizer, or fetch a damaged file again",
        path.display()
    )]
    VocabularyTooLarge {
        /// The file.
        path: PathBuf,
        /// The first id that is too large.
        expected: u64,
        /// The highest id found.
        got: u64,
    },
    /// A packed row takes more memory than the machine has.
    #[error(
        "a packed row of {row_tokens} tokens: expected {bytes} bytes of free memory, got less: \
         pack into shorter rows"
    )]
    RowTooLarge {
        /// Tokens per row.
        row_tokens: u64,
        /// The bytes of its ids and mask.
        bytes: u64,
    },
    /// No file says which token ends a text.
    #[error(
        "tokenizer {} has no end-of-text token: looked for {expected}: name one of its tokens",
        path.display()
    )]
    NoEndOfText {
        /// The file.
        path: PathBuf,
        /// The places that were searched.
        expected: String,
    },
    /// A named token is not in the vocabulary.
    #[error(
        "tokenizer {} has no token {got:?} to be the {role}, expected one of its {expected} tokens: \
         choose another",
        path.display()
    )]
    NoSuchToken {
        /// The file.
        path: PathBuf,
        /// The role of the token.
        role: &'static str,
        /// The size of the vocabulary: every id is smaller.
        expected: u64,
        /// The token or id as given.
        got: String,
    },
    /// There is no chat template to render conversations with.
    #[error(
        "{}: expected {expected}, got {got}: give the file of a template, or take a model folder that \
         has one", path.display()
    )]
    NoChatTemplate {
        /// The place that was searched.
        path: PathBuf,
        /// The expected file.
        expected: String,
        /// What was found there.
        got: String,
    },
    /// A conversation cannot be rendered.
    #[error("the conversation: {got}")]
    Conversation {
        /// The fault.
        got: mixdown_documents::RecordFault,
    },
    /// A prompt cannot be encoded.
    #[error("cannot encode the prompt")]
    Prompt {
        /// The library's error.
        source: LibraryError,
    },
    /// A document is longer than a row, and the options do not define what to do with it.
    #[error(
        "{}, the document at byte {offset_bytes}: {got} ids, expected at most {expected} to fit a \
         row: drop or truncate such documents, or pack into rows of at least {} inputs",
        path.display(), got - 1
    )]
    LongerThanRow {
        /// The input file.
        path: PathBuf,
        /// The start of the document in the decompressed file.
        offset_bytes: u64,
        /// Ids per row.
        expected: u64,
        /// Ids of the document.
        got: u64,
    },
    /// The post-processor puts more than one token before texts.
    #[error(
        "tokenizer {} begins every text with {got} tokens, expected at most {expected}: choose one \
         by its id, or none",
        path.display()
    )]
    LongPrefix {
        /// The file.
        path: PathBuf,
        /// Tokens that a corpus can record.
        expected: u64,
        /// Tokens that the post-processor adds.
        got: u64,
    },
    /// The token that the post-processor puts before a text is unknown.
    #[error(
        "tokenizer {}: cannot tell which token begins a text: {reason}: choose one by its id, or \
         none",
        path.display()
    )]
    UnknownPrefix {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A text cannot be tokenized.
    #[error("cannot tokenize {}, the document at byte {offset_bytes}", path.display())]
    Encode {
        /// The input file.
        path: PathBuf,
        /// The start of the document in the decompressed file.
        offset_bytes: u64,
        /// The library's error.
        source: LibraryError,
    },
    /// A text that is not from a file cannot be tokenized, or ids cannot be decoded.
    #[error("the tokenizer {} failed", path.display())]
    Library {
        /// The tokenizer file.
        path: PathBuf,
        /// The library's error.
        source: LibraryError,
    },
    /// The tokenizer returned an id outside its own vocabulary.
    #[error(
        "{}, the document at byte {offset_bytes}: token id {got}, expected less than the \
         tokenizer's {expected}: use another tokenizer",
        path.display()
    )]
    IdBeyondVocabulary {
        /// The input file.
        path: PathBuf,
        /// The start of the document in the decompressed file.
        offset_bytes: u64,
        /// The vocabulary's size.
        expected: u64,
        /// The id.
        got: u32,
    },
    /// A document is longer than a corpus can record.
    #[error(
        "{}, the document at byte {offset_bytes}: {got} tokens, expected at most {expected}: \
         split the document",
        path.display()
    )]
    DocumentTooLong {
        /// The input file.
        path: PathBuf,
        /// The start of the document in the decompressed file.
        offset_bytes: u64,
        /// The limit in tokens.
        expected: u64,
        /// The document's tokens.
        got: u64,
    },
    /// An option's value is out of range.
    #[error("{option}: expected {expected}, got {got:?}")]
    Option {
        /// The option.
        option: &'static str,
        /// The accepted values.
        expected: &'static str,
        /// The actual value.
        got: String,
    },
    /// There are no documents to tokenize.
    #[error(
        "no document with text in {}{}, expected at least one, got {} and {}: give other inputs, or name the field that holds their text",
        path.display(), and_others(*other_inputs), plural(*empty_documents, "empty document"),
        plural(*bad_records, "bad record")
    )]
    NoDocuments {
        /// The first input file.
        path: PathBuf,
        /// The number of other input files.
        other_inputs: u64,
        /// Documents without text.
        empty_documents: u64,
        /// Records skipped.
        bad_records: u64,
    },
    /// The holdout would leave one side empty.
    #[error(
        "a holdout of {holdout} leaves {} ({}) to train on and {} ({}) to validate with, expected at least one of each: choose another holdout, or 0 for none", plural(*train_documents, "document"), plural(*train_tokens, "token"),
        plural(*holdout_documents, "document"), plural(*holdout_tokens, "token")
    )]
    HoldoutLeavesNothing {
        /// The holdout as given.
        holdout: String,
        /// Documents left to train on.
        train_documents: u64,
        /// Their tokens.
        train_tokens: u64,
        /// Documents in the holdout.
        holdout_documents: u64,
        /// Their tokens.
        holdout_tokens: u64,
    },
    /// All held-out documents have near-duplicates among the training documents.
    #[error(
        "the holdout is empty: all {documents} held-out documents are near-duplicates of training documents \
         (a similarity of {threshold} or more), so they were moved there{}",
        left_at_other(left_at)
    )]
    HoldoutOfNearDuplicates {
        /// Held-out documents before the search.
        documents: u64,
        /// The threshold of similarity.
        threshold: f64,
        /// Higher thresholds, each with the number of documents that it would leave in the holdout.
        left_at: Vec<(f64, u64)>,
    },
    /// A corpus has no sketches, and no tokenizer to compute them from its text.
    #[error(
        "{}: expected sketches of the held-out documents, or a tokenizer to compute them from the text: got a corpus \
         of an earlier version without a usable tokenizer ({source}): prepare it again", path.display()
    )]
    NoSketches {
        /// The corpus' folder.
        path: PathBuf,
        /// What is wrong with its tokenizer.
        source: Box<Self>,
    },
    /// The output folder is a finished corpus.
    #[error("{} is already a corpus: choose another folder, or delete it to build it again", path.display())]
    AlreadyCorpus {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder is a corpus from other inputs, another tokenizer or other options.
    #[error(
        "{} is already a corpus, which differs in {field} (then {expected}, now {got}): choose another \
         folder, or delete it to build it again",
        path.display()
    )]
    CorpusDiffers {
        /// The folder.
        path: PathBuf,
        /// The first difference.
        field: String,
        /// Its value in the corpus.
        expected: String,
        /// The current value.
        got: String,
    },
    /// The output is a tokenizer that was trained on other inputs or with other options.
    #[error(
        "{} is already a tokenizer, which differs in {field} (then {expected}, now {got}): choose another \
         output, or delete it to train it again",
        path.display()
    )]
    TokenizerDiffers {
        /// The file.
        path: PathBuf,
        /// The first difference.
        field: String,
        /// The value used in the training.
        expected: String,
        /// The current value.
        got: String,
    },
    /// The output exists but was not made by this program.
    #[error(
        "{} exists already and holds {got}, expected a folder that is empty, absent or an unfinished \
         corpus: choose another output",
        path.display()
    )]
    OutputTaken {
        /// The folder or file.
        path: PathBuf,
        /// An entry of it.
        got: String,
    },
    /// The output folder holds unfinished work for other inputs or options.
    #[error(
        "{} holds unfinished work that differs in {field} (then {expected}, now {got}): repeat the \
         first call to continue it, or delete the folder to start again",
        path.display()
    )]
    PlanDiffers {
        /// The folder.
        path: PathBuf,
        /// The difference.
        field: String,
        /// The value in the unfinished work.
        expected: String,
        /// The current value.
        got: String,
    },
    /// Another process is preparing the output folder.
    #[error("another process is preparing {}: wait for it or choose another folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The work is not complete, so it cannot be finished.
    #[error(
        "{} is not complete: expected {expected}, got {got}: run more tasks (--task I/N, any of them), or the same command without --finish to do the rest here",
        path.display()
    )]
    Unfinished {
        /// The output folder.
        path: PathBuf,
        /// The required work.
        expected: String,
        /// The existing work.
        got: String,
    },
    /// A disk clearly has too little free space.
    #[error(
        "{} has too little room: expected about {expected} bytes free, got {got}: free some, or choose \
         other folders for the unfinished work and the corpus",
        path.display()
    )]
    DiskTooSmall {
        /// The folder.
        path: PathBuf,
        /// The minimum number of bytes that the work takes there.
        expected: u64,
        /// Bytes that are free.
        got: u64,
    },
    /// A file of the unfinished work is damaged.
    #[error(
        "{} is damaged: expected {expected}, got {got}: delete the file and repeat the call",
        path.display()
    )]
    DamagedWork {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: String,
        /// The actual content.
        got: String,
    },
    /// The plan of unfinished work is damaged, so it cannot be compared with this call.
    #[error(
        "{}: expected the plan of unfinished work, got {got}: delete {} to start again, or choose another output",
        path.display(), out.display()
    )]
    DamagedPlan {
        /// The plan.
        path: PathBuf,
        /// The output folder.
        out: PathBuf,
        /// The content of the file.
        got: String,
    },
    /// There is more text than a tokenizer can be trained on.
    #[error(
        "a tokenizer is trained on at most {expected} bytes of text, and the inputs hold more: give \
         a sample of them"
    )]
    TooMuchText {
        /// The limit in bytes.
        expected: u64,
    },
    /// Training failed inside the library.
    #[error("training the tokenizer failed")]
    Training {
        /// The library's error.
        source: LibraryError,
    },
    /// The system refused a read or a write.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The stop flag was set; the same call continues from here.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Makes the error for inputs without documents.
    pub(crate) fn no_documents(inputs: &InputList, empty_documents: u64, bad_records: u64) -> Self {
        let path = inputs.file(0).map(|file| file.path.clone()).unwrap_or_default();
        let files = u64::try_from(inputs.files().len()).unwrap_or(u64::MAX);
        let other_inputs = files.saturating_sub(1);
        Self::NoDocuments { path, other_inputs, empty_documents, bad_records }
    }

    /// Wraps a system error, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<mixdown_base::files::Error> for Error {
    fn from(error: mixdown_base::files::Error) -> Self {
        let (action, path, source) = error.into_parts();
        Self::Io { action, path, source }
    }
}

fn and_others(other_inputs: u64) -> String {
    let others = plural(other_inputs, "other input");
    if other_inputs == 0 { String::new() } else { format!(" and {others}") }
}

impl Error {
    /// Returns the kind of the error: whether the request, the data, the machine or a stop caused it.
    ///
    /// ```
    /// use mixdown_base::error_kind::ErrorKind;
    /// use mixdown_tokenize::Tokenizer;
    ///
    /// let error = Tokenizer::load("no/such/folder".as_ref()).err().unwrap();
    /// assert_eq!(error.kind(), ErrorKind::Configuration);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Documents(error) => error.kind(),
            Self::Shards(error) => error.kind(),
            Self::NoTokenizer { .. }
            | Self::NoEndOfText { .. }
            | Self::NoChatTemplate { .. }
            | Self::Conversation { .. }
            | Self::Prompt { .. }
            | Self::LongerThanRow { .. }
            | Self::RowTooLarge { .. }
            | Self::NoSuchToken { .. }
            | Self::LongPrefix { .. }
            | Self::UnknownPrefix { .. }
            | Self::OtherForm { .. }
            | Self::Option { .. }
            | Self::HoldoutLeavesNothing { .. }
            | Self::HoldoutOfNearDuplicates { .. }
            | Self::AlreadyCorpus { .. }
            | Self::CorpusDiffers { .. }
            | Self::TokenizerDiffers { .. }
            | Self::OutputTaken { .. }
            | Self::PlanDiffers { .. }
            | Self::Busy { .. }
            | Self::Unfinished { .. }
            | Self::TooMuchText { .. } => ErrorKind::Configuration,
            Self::Io { .. } | Self::DiskTooSmall { .. } => ErrorKind::Other,
            Self::Interrupted => ErrorKind::Interrupted,
            _ => ErrorKind::Data,
        }
    }

    /// Returns whether the error is a missing file that was to be read.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Lists what other thresholds would leave.
fn left_at_other(left_at: &[(f64, u64)]) -> String {
    let left = left_at.iter().map(|(threshold, documents)| format!("{documents} at {threshold}"));
    match left.collect::<Vec<_>>().join(", ") {
        left if left.is_empty() => String::new(),
        left => format!("; other thresholds would leave {left}"),
    }
}
