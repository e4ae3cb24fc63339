//! Whose fault an error is, for exit codes and messages.

use std::io;

use mixdown_base::error_kind::ErrorKind;

use crate::error::Error;

impl Error {
    /// Returns the kind: whether the request, the data, the machine or a stop is behind the error.
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

    /// Whether a file that was to be read is not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
