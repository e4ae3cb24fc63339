//! Why a run, a sweep or a fit cannot be done, and what helps.

use std::fmt;
use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;

/// Everything that ends an experiment early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A description or a request asks for something that cannot be done.
    #[error("{message}")]
    Configuration {
        /// What is wrong.
        message: String,
        /// What helps.
        hint: Hint,
    },
    /// A changed setting is one that the description cannot have.
    #[error("{setting}: {message}")]
    Override {
        /// The setting as it was given, such as `train.steps=soon`.
        setting: String,
        /// What is wrong with it.
        message: String,
        /// The nearest setting that there is; empty where none is near.
        hint: String,
    },
    /// A coefficient of an expected law is no finite number above 0.
    #[error("{coefficient}: expected a finite number above 0, got {got}")]
    Coefficient {
        /// The coefficient's name.
        coefficient: &'static str,
        /// Its value.
        got: f64,
    },
    /// Files of earlier work are damaged or do not fit together.
    #[error("{message}")]
    Data {
        /// What is wrong: path, expected, got.
        message: String,
        /// What helps.
        hint: Hint,
    },
    /// The work was stopped on request; the same call continues it.
    #[error("{message}")]
    Stopped {
        /// What was stopped, and where.
        message: String,
    },
    /// The work was done to its end, but parts of it failed; the same call tries them again.
    #[error("{message}")]
    Incomplete {
        /// What failed, and why.
        message: String,
        /// Whether losses that are not finite are among the reasons.
        numerical: bool,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The runs of a domain give no law.
    #[error("domain {domain:?}: {source}")]
    Scaling {
        /// The domain whose runs were fitted.
        domain: String,
        /// Why there is no law.
        #[source]
        source: mixdown_scaling::Error,
    },
    /// A corpus on disk cannot be used.
    #[error(transparent)]
    Shards(#[from] mixdown_shards::Error),
    /// A tokenizer cannot be used.
    #[error(transparent)]
    Tokenize(#[from] mixdown_tokenize::Error),
    /// A mixture cannot be made.
    #[error(transparent)]
    Mixer(#[from] mixdown_mixer::Error),
    /// A model cannot be trained.
    #[error(transparent)]
    Train(Box<mixdown_train::Error>),
    /// A run's records cannot be read or written.
    #[error(transparent)]
    Runs(#[from] mixdown_runs::Error),
}

/// What helps against an error. Its text fits every interface; the kinds let an interface name its own options instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// A sentence that fits every interface; empty where the message says enough.
    Text(String),
    /// The folder is used by something else.
    FolderTaken,
    /// The folder has a sweep of other settings.
    OtherSweep,
    /// The settings in a sweep's folder are damaged.
    DamagedSettings,
    /// A row in a sweep's folder is of another run.
    OtherRow,
    /// Another process is at work in the sweep's folder.
    SweepBusy,
    /// The runs of a domain have different recipes.
    DifferentRecipes,
    /// The table of runs at this path was given where a fit was expected.
    TableInsteadOfFit(PathBuf),
    /// The file is no fit.
    NoFit,
}

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text(text) => text,
            Self::FolderTaken => "name another folder",
            Self::OtherSweep => "name another folder; the lists of a grid may grow in this one",
            Self::DamagedSettings => "take the file from a copy, or name another folder",
            Self::OtherRow => {
                "the row is of other data or settings: take it out, or name another folder"
            }
            Self::SweepBusy => {
                "wait for it, or name another folder; tasks of an array may work at the same time"
            }
            Self::DifferentRecipes => {
                "the recipe moves forgetting as well: keep the runs of one, or pool all recipes"
            }
            Self::TableInsteadOfFit(_) => "that is a table of runs: fit it first",
            Self::NoFit => "fit a table of runs, and write the record as JSON",
        })
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<mixdown_train::Error> for Error {
    fn from(error: mixdown_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

impl From<mixdown_base::files::Error> for Error {
    fn from(error: mixdown_base::files::Error) -> Self {
        let (action, path, source) = error.into_parts();
        Self::Io { path, action, source }
    }
}

impl Error {
    /// Something that cannot be done, with what helps.
    pub(crate) fn configuration(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Configuration { message: message.into(), hint: hint.into() }
    }

    /// Damaged files, with what helps.
    pub(crate) fn data(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Data { message: message.into(), hint: hint.into() }
    }

    /// A failed `action` on `path`.
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// Returns what helps, where that is known beside the message.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Configuration { hint, .. } | Self::Data { hint, .. } => hint.to_string(),
            Self::Override { hint, .. } => hint.clone(),
            _ => String::new(),
        };
        (!hint.is_empty()).then_some(hint)
    }

    /// Returns the kind: whether the request, the data, the machine, the numbers or a stop is behind the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Configuration { .. } | Self::Override { .. } | Self::Coefficient { .. } => {
                ErrorKind::Configuration
            }
            Self::Data { .. } => ErrorKind::Data,
            Self::Stopped { .. } => ErrorKind::Interrupted,
            Self::Incomplete { numerical: true, .. } => ErrorKind::Numerical,
            Self::Incomplete { numerical: false, .. } => ErrorKind::Other,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Scaling { source, .. } => source.kind(),
            Self::Shards(error) => error.kind(),
            Self::Tokenize(error) => error.kind(),
            Self::Mixer(error) => error.kind(),
            Self::Train(error) => error.kind(),
            Self::Runs(error) => error.kind(),
        }
    }
}
