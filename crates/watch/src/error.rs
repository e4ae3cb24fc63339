//! The reasons why a run or a sweep cannot be watched.

use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;

/// Everything that ends a view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path is a file where a folder was expected.
    #[error("{}: expected a run's or a sweep's folder, got a file", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// The folder belongs to something else.
    #[error("{}: expected a run's or a sweep's folder, got one that holds {got}", path.display())]
    OtherFolder {
        /// The folder.
        path: PathBuf,
        /// Name of the first entry that does not belong to a run.
        got: String,
    },
    /// The files of a run or a sweep are damaged.
    #[error("{damage}: the run cannot be followed")]
    Damaged {
        /// The damage of the files.
        damage: String,
    },
    /// The operating system refused an operation.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file, the folder, or what else was used.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A run's records cannot be read.
    #[error(transparent)]
    Runs(#[from] mixdown_runs::Error),
}

impl Error {
    /// A failed `action` on `path`.
    pub(crate) fn io(path: &str, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: PathBuf::from(path), action, source }
    }

    /// Returns the kind: whether the path, the run's files or the machine is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::OtherFolder { .. } => ErrorKind::Configuration,
            Self::Damaged { .. } => ErrorKind::Data,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Runs(error) => error.kind(),
        }
    }
}
