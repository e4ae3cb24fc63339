//! One line of `samples.jsonl`.

use serde::{Deserialize, Serialize};

/// What a model made of a prompt at an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// Updates done so far.
    pub step: u64,
    /// The prompt.
    pub prompt: String,
    /// What follows it.
    pub text: String,
    /// The ids of that text.
    pub ids: Vec<u32>,
    /// Why it ends: `end_of_text`, `max_tokens` or `context_full`.
    pub ending: String,
}
