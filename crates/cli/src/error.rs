//! The binary's one error: what went wrong, why, and what to do, with its exit code.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Everything that ends a command early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line or a configuration file asks for something that cannot be done.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// The way out; empty where the message has it.
        hint: String,
    },
    /// Output that was stopped on request, where the same command would begin anew.
    #[error("{message}")]
    Interrupted {
        /// What was stopped, and how to go on.
        message: String,
    },
    /// The user stopped work that the same command goes on with.
    #[error("{message}")]
    Stopped {
        /// What stopped, and where.
        message: String,
    },
    /// A run's results are damaged or do not fit together.
    #[error("{message}")]
    Data {
        /// What is wrong: path, expected, got.
        message: String,
        /// The way out.
        hint: String,
    },
    /// Work that went on to its end left some of it undone.
    #[error("{message}")]
    Incomplete {
        /// What failed, and why.
        message: String,
        /// Whether losses that are not finite are among the reasons.
        numerical: bool,
    },
    /// A process of a run of several ended.
    #[error("{message}")]
    Rank {
        /// Its report; empty where it, or another, has given that itself.
        message: String,
        /// Its exit code.
        code: u8,
    },
    /// Reading or writing failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A corpus on disk.
    #[error(transparent)]
    Shards(#[from] mixdown_shards::Error),
    /// Raw input.
    #[error(transparent)]
    Documents(#[from] mixdown_documents::Error),
    /// Tokenizers and preparing.
    #[error(transparent)]
    Tokenize(#[from] mixdown_tokenize::Error),
    /// Mixing.
    #[error(transparent)]
    Mixer(#[from] mixdown_mixer::Error),
    /// Training and evaluation.
    #[error(transparent)]
    Train(#[from] mixdown_train::Error),
    /// A run's records.
    #[error(transparent)]
    Runs(#[from] mixdown_runs::Error),
    /// A scaling law.
    #[error("domain {domain:?}: {source}")]
    Scaling {
        /// The domain whose runs were fitted.
        domain: String,
        /// Why there is no law.
        #[source]
        source: mixdown_scaling::Error,
    },
    /// The report page.
    #[error(transparent)]
    Report(#[from] mixdown_report::Error),
}

impl Error {
    /// A usage error with its way out.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// A failed `action` on `path`.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// Says of an interruption that the same command goes on; other errors stay as they are.
    pub fn resumable(self) -> Self {
        match self.kind() {
            _ if matches!(self, Self::Rank { .. }) => self,
            Kind::Interrupted => Self::Stopped { message: self.to_string() },
            _ => self,
        }
    }

    /// The exit code: 2 usage or configuration, 3 bad or damaged data, 4 numerical failure,
    /// 130 interrupted, 1 anything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The exit code as a number.
    pub fn code(&self) -> u8 {
        if let Self::Rank { code, .. } = self {
            return *code;
        }
        match self.kind() {
            Kind::Configuration => 2,
            Kind::Data => 3,
            Kind::Numerical => 4,
            Kind::Interrupted => 130,
            Kind::Other => 1,
        }
    }

    /// Kind, message, causes and hint, the way a person reads them; empty where another process has said it.
    pub fn report(&self) -> String {
        if let Self::Rank { message, .. } = self {
            return message.clone();
        }
        let mut text = format!("error: {self}");
        let mut source = match self {
            // Its message has the cause already.
            Self::Scaling { .. } => None,
            other => other.source(),
        };
        // A transparent variant's source is the inner error's own source, so nothing is said twice.
        while let Some(cause) = source {
            text.push_str(&format!("\n  cause: {cause}"));
            source = cause.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage { hint, .. } | Self::Data { hint, .. } if !hint.is_empty() => Some(hint),
            Self::Stopped { .. } => Some("run the same command again: it goes on where it stopped"),
            Self::Incomplete { .. } => Some("run the same command again to try them again"),
            _ => None,
        }
    }

    /// Whether the user stopped the work.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.kind(), Kind::Interrupted)
    }

    /// Whether numbers left the finite range.
    pub fn is_numerical(&self) -> bool {
        matches!(self.kind(), Kind::Numerical)
    }

    fn kind(&self) -> Kind {
        let (configuration, interrupted, numerical, io) = match self {
            Self::Usage { .. } => (true, false, false, false),
            Self::Stopped { .. } | Self::Interrupted { .. } => (false, true, false, false),
            Self::Data { .. } => (false, false, false, false),
            Self::Rank { code, .. } => (false, *code == 130, *code == 4, true),
            Self::Incomplete { numerical, .. } => (false, false, *numerical, true),
            Self::Io { source, .. } => (source.kind() == ErrorKind::NotFound, false, false, true),
            Self::Shards(e) => (e.is_configuration(), e.is_interrupted(), false, e.is_io()),
            Self::Documents(e) => (e.is_configuration(), false, false, e.is_io()),
            Self::Tokenize(e) => (e.is_configuration(), e.is_interrupted(), false, e.is_io()),
            Self::Mixer(e) => (e.is_configuration(), e.is_interrupted(), false, e.is_io()),
            Self::Train(e) => {
                (e.is_configuration(), e.is_interrupted(), e.is_numerical(), e.is_io())
            }
            Self::Runs(e) => (e.is_configuration(), false, false, e.is_io()),
            Self::Scaling { source, .. } => {
                (source.is_configuration(), false, source.is_numerical(), false)
            }
            Self::Report(e) => (e.is_configuration(), false, false, e.is_io()),
        };
        match () {
            () if configuration => Kind::Configuration,
            () if interrupted => Kind::Interrupted,
            () if numerical => Kind::Numerical,
            () if io => Kind::Other,
            () => Kind::Data,
        }
    }
}

enum Kind {
    Configuration,
    Data,
    Numerical,
    Interrupted,
    Other,
}
