//! What can go wrong in training.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::Fingerprint;

/// An error of a model, an evaluation or a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A setting has an invalid value.
    #[error("{field}: expected {expected}, got {got}")]
    Setting {
        /// The setting with its table, such as `train.steps`.
        field: String,
        /// The valid values, with the fix if there is one.
        expected: String,
        /// The value that was found.
        got: String,
    },
    /// A model folder holds a model that is not supported.
    #[error("{}: {field}: expected {expected}, got {got}", path.display())]
    UnsupportedModel {
        /// Its config.json.
        path: PathBuf,
        /// The field with the unsupported value.
        field: &'static str,
        /// The supported values.
        expected: String,
        /// The value in the file.
        got: String,
    },
    /// A path that was given as a model is not the folder of a model.
    #[error("{}: expected a Hugging Face model folder, got {got}: {fix}", path.display())]
    NoModel {
        /// The path that was given.
        path: PathBuf,
        /// The value that was found.
        got: String,
        /// How to get a folder.
        fix: String,
    },
    /// A file does not have the content that its name promises.
    #[error("{}: expected {expected}, got {got}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: String,
        /// The content that was found.
        got: String,
    },
    /// A file lacks tensors of the model, or has tensors that the model does not have.
    #[error("{}: missing tensors: {}; unexpected tensors: {}", path.display(), list(missing), list(unexpected))]
    Tensors {
        /// The safetensors file.
        path: PathBuf,
        /// The tensors that the file lacks.
        missing: Vec<String>,
        /// The tensors that the model does not have.
        unexpected: Vec<String>,
    },
    /// A corpus has token ids for which the model has no embedding.
    #[error(
        "{}: expected ids below {expected} (the model's vocab_size), got {id}, of a tokenizer of {got} entries: use \
         the tokenizer that the model was made with, or give the model an embedding for the entries beyond: \
         resize_token_embeddings and save_pretrained of transformers",
        path.display()
    )]
    Vocabulary {
        /// The corpus.
        path: PathBuf,
        /// The size of the model's vocabulary.
        expected: u64,
        /// The size of the corpus' vocabulary.
        got: u64,
        /// The highest id in the corpus.
        id: u64,
    },
    /// A corpus was made with another tokenizer than the model's.
    #[error(
        "{}: expected tokenizer {expected} (the model's), got {got}: prepare the corpus with the \
         model's tokenizer.json",
        path.display()
    )]
    Tokenizer {
        /// The corpus.
        path: PathBuf,
        /// The fingerprint of the model's tokenizer.
        expected: Fingerprint,
        /// The fingerprint of the corpus' tokenizer.
        got: Fingerprint,
    },
    /// Held-out documents of an evaluation corpus are trained on.
    #[error(
        "{}: expected no held-out document in the training part of {}, got {got}: prepare both with \
         the same --holdout, or take the documents out of one",
        path.display(), train.display()
    )]
    Overlap {
        /// The corpus evaluated on.
        path: PathBuf,
        /// The corpus trained on.
        train: PathBuf,
        /// Documents in both.
        got: u64,
    },
    /// Near-duplicates of held-out documents of an evaluation corpus are trained on.
    #[error(
        "{}: expected no held-out document with a near-duplicate in the training part of {}, got {got}: prepare the \
         second corpus again without the near-duplicates of the first one's held-out documents, or drop one",
        path.display(), train.display()
    )]
    NearOverlap {
        /// The corpus evaluated on.
        path: PathBuf,
        /// The corpus trained on.
        train: PathBuf,
        /// Held-out documents with near-duplicates.
        got: u64,
    },
    /// A corpus is too short to be evaluated on.
    #[error(
        "{}: expected at least {expected} tokens in {split} for one sequence, got {got}: hold more \
         text out or shorten sequence_length",
        path.display()
    )]
    TooShort {
        /// The corpus.
        path: PathBuf,
        /// The part of the corpus.
        split: &'static str,
        /// The tokens of one sequence and its last target.
        expected: u64,
        /// The tokens of the part.
        got: u64,
    },
    /// The output folder holds a run with other settings.
    #[error(
        "{}: {field}: expected {expected} (the run in this folder), got {got}: choose another \
         output folder, or the same settings to go on; a mixture may change by a [[mixture.stage]] that \
         begins later, with --allow-change",
        path.display()
    )]
    OtherRun {
        /// The run.toml in the folder.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// The value in the folder.
        expected: String,
        /// The value now.
        got: String,
    },
    /// A run needs more memory than is free.
    #[error(
        "memory: expected {expected} bytes free, got {got}, of which {pass} are for the rows computed at \
         once: lower train.micro_batch_size or sequence_length, or set train.recompute = true"
    )]
    Memory {
        /// The bytes that are needed.
        expected: u64,
        /// The bytes that are free.
        got: u64,
        /// The bytes of one pass, which are a part of them.
        pass: u64,
    },
    /// A run needs more memory than a GPU has free.
    #[error(
        "memory of the GPU: expected {expected} bytes free, got {got}, of which {pass} are for the rows computed at \
         once: lower train.micro_batch_size or sequence_length, set train.recompute = true, or train.device = \"cpu\""
    )]
    DeviceMemory {
        /// The bytes that are needed.
        expected: u64,
        /// The bytes that are free.
        got: u64,
        /// The bytes of one pass, which are a part of them.
        pass: u64,
    },
    /// A GPU or its libraries failed.
    #[error("the GPU could not {action}: {got}")]
    Device {
        /// The action that failed.
        action: &'static str,
        /// The error of the driver.
        got: String,
    },
    /// Another process of the run has ended, does not answer, or has other settings.
    #[error("rank {rank} is lost: {got}; the same command goes on from the last checkpoint")]
    RankLost {
        /// The rank of that process.
        rank: u32,
        /// The reason that the process gave, or what this process observed.
        got: String,
    },
    /// The checkpoints of a run need more disk space than is free.
    #[error(
        "{}: expected {expected} bytes free for checkpoints, got {got}: choose another disk or lower \
         train.keep_checkpoints",
        path.display()
    )]
    Disk {
        /// The run's folder.
        path: PathBuf,
        /// The bytes that are needed.
        expected: u64,
        /// The bytes that are free.
        got: u64,
    },
    /// The loss or the gradient of a run is NaN or infinite.
    #[error(
        "step {step}: expected a finite {what}, got {got}: lower learning_rate or clip, or lengthen \
         warmup_steps; {}",
        kept(*checkpoint)
    )]
    NonFiniteLoss {
        /// The step, from 1.
        step: u64,
        /// The name of the number: the training loss, a gradient norm, or the evaluation loss of a corpus.
        what: String,
        /// The value of the number.
        got: f64,
        /// The step of the last checkpoint, if there is one.
        checkpoint: Option<u64>,
    },
    /// A model's loss on a corpus is NaN or infinite.
    #[error("{corpus}: expected a finite loss, got {got}: the model's weights have diverged")]
    NonFiniteEvaluation {
        /// The name of the corpus.
        corpus: String,
        /// The loss.
        got: f64,
    },
    /// A model's logits for the next token are NaN or infinite.
    #[error("expected finite logits, got {got}: the model's weights have diverged")]
    NonFiniteLogits {
        /// The first such logit.
        got: f64,
    },
    /// A parameter got no gradient, because an operation cut the graph.
    #[error("{name}: expected a gradient, got none")]
    NoGradient {
        /// The parameter.
        name: String,
    },
    /// The stop flag was set, and a checkpoint was written.
    #[error("interrupted after step {step}: the same command goes on from there")]
    Interrupted {
        /// The number of finished steps.
        step: u64,
    },
    /// The stop flag was set during work that cannot be continued later.
    #[error("{what} was stopped before its end")]
    Stopped {
        /// The name of the work.
        what: &'static str,
    },
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The mixture returned an error.
    #[error(transparent)]
    Mixer(#[from] mixdown_mixer::Error),
    /// A corpus returned an error.
    #[error(transparent)]
    Corpus(#[from] mixdown_shards::Error),
    /// The run's folder returned an error.
    #[error(transparent)]
    Run(#[from] mixdown_runs::Error),
}

/// Joins at most eight names, because a file of another model has hundreds.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        text.push_str(&format!(" and {} more", names.len() - 8));
    }
    text
}

fn kept(checkpoint: Option<u64>) -> String {
    match checkpoint {
        Some(step) => format!("the checkpoint of step {step} is kept"),
        None => "no checkpoint was written yet".to_owned(),
    }
}

impl Error {
    /// Returns the kind: whether the settings, the data, the machine, the numbers or a stop is behind the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Setting { .. }
            | Self::UnsupportedModel { .. }
            | Self::NoModel { .. }
            | Self::Vocabulary { .. }
            | Self::Tokenizer { .. }
            | Self::Overlap { .. }
            | Self::NearOverlap { .. }
            | Self::TooShort { .. }
            | Self::OtherRun { .. }
            | Self::Memory { .. }
            | Self::DeviceMemory { .. }
            | Self::Disk { .. } => ErrorKind::Configuration,
            Self::Interrupted { .. } | Self::Stopped { .. } => ErrorKind::Interrupted,
            Self::NonFiniteLoss { .. }
            | Self::NonFiniteEvaluation { .. }
            | Self::NonFiniteLogits { .. } => ErrorKind::Numerical,
            Self::RankLost { .. } => ErrorKind::Other,
            Self::Mixer(error) => error.kind(),
            Self::Corpus(error) => error.kind(),
            Self::Run(error) => error.kind(),
            _ => ErrorKind::Data,
        }
    }

    /// Returns [`Error::Stopped`] once the stop flag is set.
    pub(crate) fn check_stop(stop: &AtomicBool, what: &'static str) -> Result<(), Self> {
        if stop.load(Ordering::Relaxed) { Err(Self::Stopped { what }) } else { Ok(()) }
    }

    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn setting(field: &str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Setting { field: field.to_owned(), expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn bad_file(path: &Path, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::BadFile { path: path.to_owned(), expected: expected.into(), got: got.to_string() }
    }
}

impl From<mixdown_base::files::Error> for Error {
    fn from(error: mixdown_base::files::Error) -> Self {
        let (action, path, source) = error.into_parts();
        Self::Io { path, action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};

    #[test]
    fn kinds_and_messages() {
        fn is_portable<T: Send + Sync + 'static>() {}
        is_portable::<Error>();
        let nan = |checkpoint| {
            let what = "loss".to_owned();
            Error::NonFiniteLoss { step: 7, what, got: f64::NAN, checkpoint }
        };
        assert_eq!(nan(None).kind(), ErrorKind::Numerical);
        assert!(nan(None).to_string().ends_with("; no checkpoint was written yet"));
        assert!(nan(Some(4)).to_string().ends_with("; the checkpoint of step 4 is kept"));
        assert_eq!(Error::Interrupted { step: 3 }.kind(), ErrorKind::Interrupted);
        let missing = Error::io("a/b".as_ref(), "read")(std::io::ErrorKind::NotFound.into());
        assert_eq!(missing.kind(), ErrorKind::Configuration);
        assert_eq!(missing.to_string(), "a/b: cannot read");
        let full = Error::io("a".as_ref(), "write")(std::io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), ErrorKind::Other);
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect();
        let tensors = Error::Tensors { path: "m".into(), missing: names(10), unexpected: names(0) };
        let text =
            "m: missing tensors: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; unexpected tensors: none";
        assert_eq!(tensors.to_string(), text);
        assert_eq!(tensors.kind(), ErrorKind::Data);
    }
}
