//! What a run's description needs of where it stands.

use std::path::Path;

use crate::model::shape::TokenizerFingerprint;

/// Where relative paths of a run's description count from, and what reads the tokenizer of the model that the run
/// starts from.
#[derive(Debug, Clone, Copy)]
pub struct RunBase<'a> {
    /// The folder that relative paths count from.
    pub folder: &'a Path,
    /// Reads a tokenizer.json.
    pub tokenizer: TokenizerFingerprint,
}
