//! Why a page could not be made.

use std::path::PathBuf;

use mixdown_base::error_kind::ErrorKind;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to show.
    #[error("report {title:?}: expected at least one run, got none")]
    NoRuns {
        /// The page's title.
        title: String,
    },
    /// The page could not be written.
    #[error("{}: cannot write the page", path.display())]
    Io {
        /// The page.
        path: PathBuf,
        /// The system's own message.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Returns the kind: no run was given, or what the operating system refused.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRuns { .. } => ErrorKind::Configuration,
            Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}
