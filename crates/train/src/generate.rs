//! Text from a model: token ids that continue a prompt.

pub(crate) mod samples;
pub(crate) mod sampling;

use std::sync::atomic::AtomicBool;

use serde_json::Value;

use crate::error::Error;
use crate::generate::sampling::{Sampler, Sampling};
use crate::model::Model;

/// The options of a generation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerateOptions {
    /// The largest number of new ids for each prompt.
    pub max_tokens: u64,
    /// The sampling of new ids.
    pub sampling: Sampling,
    /// The random seed; the ids that prompt i draws do not depend on the other prompts.
    pub seed: u64,
}

/// The reason why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model generated an id that ends a text.
    EndOfText,
    /// The generation has the requested number of ids.
    MaxTokens,
    /// The model's last position is reached.
    ContextFull,
}

/// The continuation of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The new ids, without the one that ends a text.
    pub ids: Vec<u32>,
    /// The reason why it ended.
    pub finish_reason: FinishReason,
}

/// One prompt and its continuation so far.
struct Sequence {
    sampler: Sampler,
    generated: Generated,
    /// The number of ids that may still be drawn.
    left: u64,
    /// The number of the model's positions that are still free.
    remaining: u64,
}

/// Continues all prompts at once; `on_token` gets each new id with the number of its prompt as soon as it is sampled.
///
/// A generation ends with an id that ends a text (config.json and generation_config.json say which), after
/// `max_tokens` ids, or at the model's last position. The ids are the same for any number of threads, and do
/// not depend on the other prompts.
///
/// Keys and values of earlier tokens are kept, so a further id costs one row. They take `8 · layers · key_value_heads ·
/// head_width` bytes per position and prompt, and half of that in bf16.
///
/// The computation runs on the model's device (`Model::set_pass`) with the weights there.
///
/// # Errors
/// No prompt or one without an id, of more ids than the model has positions, or of an id outside its
/// vocabulary; settings nothing can be drawn with; no memory; logits that are not finite; the stop flag.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_train::{FreshModel, GenerateOptions, Model, Sampling, generate};
///
/// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
/// let mut model = Model::new(&shape.config(8), 3)?;
/// let options = GenerateOptions { max_tokens: 5, sampling: Sampling::GREEDY, seed: 0 };
/// let mut told = Vec::new();
/// let mut on_token = |_prompt, id| told.push(id);
/// let never = AtomicBool::new(false);
/// let generated = generate(&mut model, &[vec![1, 2]], &options, &mut on_token, &never)?;
/// assert_eq!(generated[0].ids, told);
/// assert_eq!(told.len(), 5);
/// # Ok(())
/// # }
/// ```
pub fn generate(
    model: &mut Model,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, u32),
    stop: &AtomicBool,
) -> Result<Vec<Generated>, Error> {
    generate_until(model, prompts, options, &[], on_token, stop)
}

/// Continues prompts like [`generate`], and also ends at the ids in `ends`, such as those that end a turn of a chat.
///
/// # Errors
/// As [`generate`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::atomic::AtomicBool;
///
/// use mixdown_train::{FinishReason, FreshModel, GenerateOptions, Model, Sampling, generate_until};
///
/// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
/// let mut model = Model::new(&shape.config(8), 3)?;
/// let options = GenerateOptions { max_tokens: 5, sampling: Sampling::GREEDY, seed: 0 };
/// let never = AtomicBool::new(false);
/// let every_id: Vec<u32> = (0..40).collect();
/// let prompts = [vec![1, 2]];
/// let generated =
///     generate_until(&mut model, &prompts, &options, &every_id, &mut |_, _| {}, &never)?;
/// assert!(generated[0].ids.is_empty());
/// assert_eq!(generated[0].finish_reason, FinishReason::EndOfText);
/// # Ok(())
/// # }
/// ```
pub fn generate_until(
    model: &mut Model,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    ends: &[u32],
    on_token: &mut dyn FnMut(usize, u32),
    stop: &AtomicBool,
) -> Result<Vec<Generated>, Error> {
    check(model, prompts, options)?;
    let limit = model.config().max_position_embeddings;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let capacity = count(longest).saturating_add(options.max_tokens).min(limit);
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    let vocabulary = model.layout().sizes.vocabulary;
    let ends = [end_ids(model).as_slice(), ends].concat();
    let mut decoder = model.cached(prompts.len(), capacity)?;
    let mut sequences: Vec<Sequence> = (0..)
        .zip(prompts)
        .map(|(stream, prompt)| Sequence::new(options, stream, prompt, limit))
        .collect();
    let mut growing: Vec<(usize, u32)> = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        Error::check_stop(stop, "generating")?;
        let logits = decoder.prefill(index, prompt)?;
        growing.extend(sequences[index].take(&logits, &ends)?.map(|id| (index, id)));
        told(&sequences[index], index, on_token);
    }
    while !growing.is_empty() {
        Error::check_stop(stop, "generating")?;
        let (indices, ids): (Vec<usize>, Vec<u32>) = growing.drain(..).unzip();
        let logits = decoder.step(&indices, &ids)?;
        for (&index, logits) in indices.iter().zip(logits.chunks_exact(vocabulary)) {
            let before = sequences[index].generated.ids.len();
            growing.extend(sequences[index].take(logits, &ends)?.map(|id| (index, id)));
            if sequences[index].generated.ids.len() > before {
                told(&sequences[index], index, on_token);
            }
        }
    }
    Ok(sequences.into_iter().map(|sequence| sequence.generated).collect())
}

/// Reports the last id.
fn told(sequence: &Sequence, index: usize, on_token: &mut dyn FnMut(usize, u32)) {
    if let Some(&id) = sequence.generated.ids.last() {
        on_token(index, id);
    }
}

impl Sequence {
    fn new(options: &GenerateOptions, stream: u64, prompt: &[u32], limit: u64) -> Self {
        Self {
            sampler: Sampler::new(options.sampling, options.seed, stream),
            generated: Generated { ids: Vec::new(), finish_reason: FinishReason::MaxTokens },
            left: options.max_tokens,
            remaining: limit - count(prompt.len()),
        }
    }

    /// Draws the next id, and returns it if the model must read it to draw another one.
    fn take(&mut self, logits: &[f32], ends: &[u32]) -> Result<Option<u32>, Error> {
        let id = self.sampler.next(logits)?;
        if ends.contains(&id) {
            self.generated.finish_reason = FinishReason::EndOfText;
            return Ok(None);
        }
        self.generated.ids.push(id);
        self.left -= 1;
        if self.left == 0 {
            return Ok(None);
        }
        if self.remaining == 0 {
            self.generated.finish_reason = FinishReason::ContextFull;
            return Ok(None);
        }
        self.remaining -= 1;
        Ok(Some(id))
    }
}

fn check(model: &Model, prompts: &[Vec<u32>], options: &GenerateOptions) -> Result<(), Error> {
    options.sampling.check("")?;
    if options.max_tokens == 0 {
        return Err(Error::setting("max_tokens", "at least 1", 0));
    }
    if prompts.is_empty() {
        return Err(Error::setting("prompts", "at least one", 0));
    }
    let (limit, vocab_size) = (model.config().max_position_embeddings, model.config().vocab_size);
    for prompt in prompts {
        if prompt.is_empty() || count(prompt.len()) > limit {
            let expected = format!("1 to {limit} tokens (the model's positions)");
            return Err(Error::setting("prompt", expected, prompt.len()));
        }
        if let Some(id) = prompt.iter().find(|&&id| u64::from(id) >= vocab_size) {
            let expected = format!("ids below {vocab_size} (the model's vocab_size)");
            return Err(Error::setting("prompt", expected, id));
        }
    }
    Ok(())
}

/// Returns all ids that end a text. Chat models have several, which generation_config.json or config.json lists.
fn end_ids(model: &Model) -> Vec<u32> {
    let generation = model.companion("generation_config.json");
    let generation: Option<Value> = generation.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let generation = generation.as_ref().and_then(|file| file.get(END_FIELD));
    let said = generation.into_iter().chain(model.config().extra.get(END_FIELD));
    let listed = said.flat_map(|value| match value {
        Value::Array(ids) => ids.as_slice(),
        one => std::slice::from_ref(one),
    });
    let ids = listed.filter_map(Value::as_u64).chain(model.config().eos_token_id);
    ids.filter_map(|id| u32::try_from(id).ok()).collect()
}

/// The field of both files that names the ids that end a text: one id, or a list.
const END_FIELD: &str = "eos_token_id";

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "generate/generate_tests.rs"]
mod tests;
