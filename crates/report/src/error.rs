//! Why a page could not be made.

use std::path::PathBuf;

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
    /// Whether the user's options are wrong: no run was given, or the page's folder is missing.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::NoRuns { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Whether the machine refused (disk full, permission).
    pub fn is_io(&self) -> bool {
        !self.is_configuration()
    }
}
