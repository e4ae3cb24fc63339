//! The two sides of a corpus: training and hold-out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two parts of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The documents to train on.
    Train,
    /// The validation documents.
    Holdout,
}

impl Split {
    /// Both splits in the order in which the data fingerprint takes them.
    pub const ALL: [Self; 2] = [Self::Train, Self::Holdout];

    /// The name of the split's folder inside the corpus folder: `train` or `holdout`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Holdout => "holdout",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.folder())
    }
}
