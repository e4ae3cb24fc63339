//! The reasons why a page could not be made.

use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to show.
    #[error("report {title:?}: expected at least one run, got none")]
    NoRuns {
        /// The title of the page.
        title: String,
    },
    /// The page could not be written.
    #[error("{}: cannot write the page", path.display())]
    Io {
        /// The file of the page.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Returns the kind: the request if no run was given, else that of the operating system's error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRuns { .. } => ErrorKind::Configuration,
            Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}
