//! The reasons why a run, a sweep or a fit cannot be done, with hints.

use std::fmt;
use std::path::{Path, PathBuf};

use mixdown_base::error_kind::ErrorKind;

/// Everything that ends an experiment early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A description or a request that cannot be carried out.
    #[error("{message}")]
    Configuration {
        /// What is wrong.
        message: String,
        /// What helps.
        hint: Hint,
    },
    /// A setting that was changed beside the description is not valid.
    #[error("{setting}: {message}")]
    Override {
        /// The setting as it was given, such as `train.steps=soon`.
        setting: String,
        /// What is wrong with it.
        message: String,
        /// The nearest existing setting; empty if none is similar.
        hint: String,
    },
    /// A coefficient of an expected law is not a finite number above 0.
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
    /// The work was completed, but parts of it failed; the same call tries them again.
    #[error("{message}")]
    Incomplete {
        /// What failed, and why.
        message: String,
        /// Whether losses that are not finite are among the reasons.
        numerical: bool,
    },
    /// The operating system refused an operation.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// No law can be fitted to the runs of a domain.
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

/// A hint how to solve an error. Its text suits every interface; an interface can name its own options instead, by the
/// kind of hint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// A sentence that suits every interface; empty if the message is enough.
    Text(String),
    /// The folder is used by something else.
    FolderTaken,
    /// The folder has a sweep with other settings.
    OtherSweep,
    /// The settings in a sweep's folder are damaged.
    DamagedSettings,
    /// A row in a sweep's folder belongs to another run.
    OtherRow,
    /// Another process is working in the sweep's folder.
    SweepBusy,
    /// The runs of a domain have different recipes.
    DifferentRecipes,
    /// The table of runs at this path was given where a fit was expected.
    TableInsteadOfFit(PathBuf),
    /// The file is not a fit.
    NoFit,
}

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text(text) => text,
            Self::FolderTaken => "name another folder",
            Self::OtherSweep => "name another folder; the lists of a grid may grow in this one",
            Self::DamagedSettings => "restore the file from a copy, or name another folder",
            Self::OtherRow => {
                "the row belongs to other data or settings: remove it, or name another folder"
            }
            Self::SweepBusy => {
                "wait for it, or name another folder; tasks of an array may work at the same time"
            }
            Self::DifferentRecipes => {
                "the recipe affects forgetting as well: keep the runs of one recipe, or pool all recipes"
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
    /// Returns an error about a request that cannot be carried out, with a hint.
    pub(crate) fn configuration(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Configuration { message: message.into(), hint: hint.into() }
    }

    /// Returns an error about damaged files, with a hint.
    pub(crate) fn data(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Data { message: message.into(), hint: hint.into() }
    }

    /// A failed `action` on `path`.
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// Returns the hint, if there is one.
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
