//! Whose fault an error is, for exit codes and messages.

use std::io;

use crate::error::Error;

impl Error {
    /// Whether the given options or paths are at fault rather than the data behind them.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Documents(error) => error.is_configuration(),
            Self::Shards(error) => error.is_configuration(),
            Self::NoTokenizer { .. }
            | Self::NoEndOfText { .. }
            | Self::NoChatTemplate { .. }
            | Self::LongerThanRow { .. }
            | Self::NoSuchToken { .. }
            | Self::LongPrefix { .. }
            | Self::UnknownPrefix { .. }
            | Self::OtherForm { .. }
            | Self::Option { .. }
            | Self::HoldoutLeavesNothing { .. }
            | Self::AlreadyCorpus { .. }
            | Self::CorpusDiffers { .. }
            | Self::TokenizerDiffers { .. }
            | Self::OutputTaken { .. }
            | Self::PlanDiffers { .. }
            | Self::Busy { .. }
            | Self::Unfinished { .. }
            | Self::TooMuchText { .. } => true,
            _ => false,
        }
    }

    /// Whether the stop flag ended the work.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Shards(error) => error.is_interrupted(),
            _ => false,
        }
    }

    /// Whether a file that was to be read is not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the system refused a read or a write.
    #[must_use]
    pub fn is_io(&self) -> bool {
        match self {
            Self::Io { .. } | Self::DiskTooSmall { .. } => true,
            Self::Documents(error) => error.is_io(),
            Self::Shards(error) => error.is_io(),
            _ => false,
        }
    }
}
