//! The decoder: embeddings, blocks of attention and SwiGLU, and the tied output projection.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Var};
use mixdown_mixer::Batch;
use mixdown_shards::{Corpus, Manifest};

use crate::error::Error;
use crate::files::{CONFIG_FILE, WEIGHTS_FILE, write_json};
use crate::gradients::{Gradients, Loss};
use crate::graph::{Graph, Recording, Value};
use crate::initial::Normal;
use crate::model_config::ModelConfig;
use crate::ops::attention::{Attention, Heads};
use crate::ops::cross_entropy::{CrossEntropy, IGNORED, token_losses};
use crate::ops::linear::{Linear, LinearAdd};
use crate::ops::rms_norm::RmsNorm;
use crate::ops::rotary::Rotary;
use crate::ops::swiglu::SwiGlu;
use crate::weights_file::{self, NamedNumbers};

/// Tensors of one block, in the order of [`Model::parameters`].
const BLOCK: [&str; 9] = [
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
];

/// Standard deviation of the initial weights.
const INITIAL_DEVIATION: f64 = 0.02;

/// A trainable tensor with its Hugging Face name.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name in model.safetensors.
    pub name: String,
    /// The numbers.
    pub var: Var,
}

/// A Llama-style decoder with tied embeddings, in f32 on the CPU.
///
/// Results do not depend on the number of threads, bit for bit.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    parameters: Vec<Parameter>,
}

/// A forward pass up to the last hidden states.
struct Pass {
    graph: Graph,
    /// \[rows · length, hidden\], normalised.
    hidden: Value,
    embedding: Value,
}

impl Model {
    /// A fresh model: normal weights of deviation 0.02 from ChaCha, the projections onto the
    /// residual stream scaled by 1/√(2·layers), norms one.
    ///
    /// # Errors
    /// A shape that no model can have, or of more than 2^34 parameters; weights that the system
    /// gives no memory for.
    pub fn new(config: &ModelConfig, seed: u64) -> Result<Self, Error> {
        config
            .check()
            .map_err(|(field, expected, got)| Error::setting(run_key(field), expected, got))?;
        let mut values = Vec::new();
        for (stream, (name, shape)) in (0..).zip(names_and_shapes(config)?) {
            let len = shape.iter().product();
            values.push(match deviation(&name, config) {
                Some(deviation) => {
                    Normal::new(seed, stream).weights(len, deviation).map_err(|error| {
                        Error::setting("model", format!("memory for {len} weights"), error)
                    })?
                }
                None => vec![1.0; len],
            });
        }
        Self::from_values(config, values)
    }

    /// Opens a Hugging Face folder: config.json and model.safetensors (f32 or bf16).
    ///
    /// # Errors
    /// A missing file; an architecture other than `LlamaForCausalLM` with tied embeddings, plain
    /// rotary positions and as many key as query heads; missing or unexpected tensors, listed.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let config = ModelConfig::read(folder)?;
        let expected = names_and_shapes(&config)?;
        let values = weights_file::read(&folder.join(WEIGHTS_FILE), &expected)?;
        Self::from_values(&config, values)
    }

    /// Writes config.json and model.safetensors into an existing folder, synced to the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        write_json(&folder.join(CONFIG_FILE), &self.config.to_json())?;
        let tensors: Result<Vec<_>, Error> =
            self.parameters.iter().map(Parameter::named_numbers).collect();
        weights_file::write(&folder.join(WEIGHTS_FILE), &tensors?)
    }

    fn from_values(config: &ModelConfig, values: Vec<Vec<f32>>) -> Result<Self, Error> {
        let mut parameters = Vec::with_capacity(values.len());
        for ((name, shape), values) in names_and_shapes(config)?.into_iter().zip(values) {
            let var = Var::from_vec(values, shape, &Device::Cpu)?;
            parameters.push(Parameter { name, var });
        }
        Ok(Self { config: config.clone(), parameters })
    }

    /// The shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Takes note of the corpus the model is trained on: config.json will name its tokenizer and
    /// the ids that begin and end its texts.
    pub(crate) fn note_corpus(&mut self, manifest: &Manifest) {
        self.config.bos_token_id = manifest.beginning_of_text.map(u64::from);
        self.config.eos_token_id = Some(u64::from(manifest.end_of_text));
        self.config.tokenizer_fingerprint = Some(manifest.tokenizer_fingerprint);
    }

    /// Refuses a corpus whose ids are not this model's: of a larger vocabulary, or of another
    /// tokenizer than the model's folder names.
    pub(crate) fn check_corpus(&self, corpus: &Corpus) -> Result<(), Error> {
        let path = || corpus.folder().to_owned();
        let (expected, got) = (self.config.vocab_size, corpus.manifest().vocab_size);
        if got > expected {
            return Err(Error::Vocabulary { path: path(), expected, got });
        }
        match (self.config.tokenizer_fingerprint, corpus.tokenizer_fingerprint()) {
            (Some(expected), got) if expected != got => {
                Err(Error::Tokenizer { path: path(), expected, got })
            }
            _ => Ok(()),
        }
    }

    /// All trainable tensors in a fixed order: the embedding, the blocks, the last norm.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The sum of the cross-entropies of all targets of `batch` divided by `target_tokens`, in
    /// nats.
    ///
    /// With the batch's own number of targets it is the mean; with the number of a larger batch,
    /// the gradients of its parts add up to that of the whole.
    ///
    /// # Errors
    /// A batch that is empty or not of its own sizes, a sequence longer than the model's limit, an
    /// id outside its vocabulary; no `target_tokens`.
    #[expect(clippy::cast_precision_loss, reason = "a batch is far shorter than 2^53 tokens")]
    pub fn loss(&self, batch: &Batch, target_tokens: u64) -> Result<Loss, Error> {
        if target_tokens == 0 {
            return Err(Error::setting("target_tokens", "at least 1", target_tokens));
        }
        let (inputs, targets) = self.split(batch)?;
        let mut pass = self.forward(inputs, batch.sequence_length, Recording::On)?;
        let op = CrossEntropy::new(targets, target_tokens as f64);
        let loss = pass.graph.two(op, &pass.hidden, &pass.embedding)?;
        Loss::new(&loss, pass.graph)
    }

    /// The gradients of `loss`, in the order of [`parameters`](Self::parameters).
    ///
    /// # Errors
    /// A parameter that the loss does not depend on.
    pub fn gradients(&self, loss: Loss) -> Result<Gradients, Error> {
        Gradients::of(loss, &self.parameters)
    }

    /// The cross-entropy of every target of `batch` in nats, \[rows · T\]; nothing is recorded.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn token_losses(&self, batch: &Batch) -> Result<Vec<f32>, Error> {
        let (inputs, targets) = self.split(batch)?;
        let pass = self.forward(inputs, batch.sequence_length, Recording::Off)?;
        Ok(token_losses(&pass.hidden.tensor, &pass.embedding.tensor, &targets)?)
    }

    /// Inputs and targets of all rows.
    fn split(&self, batch: &Batch) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let limit = self.config.max_position_embeddings;
        if batch.sequence_length == 0 || batch.sequence_length > limit {
            let expected = format!("1 to {limit} (the model's max_position_embeddings)");
            return Err(Error::setting("sequence_length", expected, batch.sequence_length));
        }
        let row = side(batch.sequence_length)? + 1;
        let tokens = side(batch.rows)?.checked_mul(row);
        if batch.rows == 0 || tokens != Some(batch.tokens.len()) {
            let expected = format!("{} rows, at least 1, of {row} tokens", batch.rows);
            return Err(Error::setting("batch", expected, batch.tokens.len()));
        }
        if let Some(id) = batch.tokens.iter().find(|&&id| u64::from(id) >= self.config.vocab_size) {
            let expected = format!("ids below {} (the model's vocab_size)", self.config.vocab_size);
            return Err(Error::setting("batch", expected, id));
        }
        let mut inputs = Vec::with_capacity(batch.tokens.len());
        let mut targets = Vec::with_capacity(batch.tokens.len());
        for row in batch.tokens.chunks_exact(row) {
            inputs.extend_from_slice(&row[..row.len() - 1]);
            targets.extend_from_slice(&row[1..]);
        }
        if !batch.loss_mask.is_empty() && batch.loss_mask.len() != targets.len() {
            let expected = format!("a loss mask of {} targets", targets.len());
            return Err(Error::setting("batch", expected, batch.loss_mask.len()));
        }
        for (target, _) in
            targets.iter_mut().zip(&batch.loss_mask).filter(|(_, counts)| **counts == 0)
        {
            *target = IGNORED;
        }
        Ok((inputs, targets))
    }

    #[expect(clippy::cast_possible_truncation, reason = "ε is f32 in the operation")]
    fn forward(&self, inputs: Vec<u32>, length: u64, recording: Recording) -> Result<Pass, Error> {
        let heads = Heads {
            length: side(length)?,
            heads: side(self.config.heads)?,
            width: side(self.config.head_width())?,
        };
        let rotary = Arc::new(Rotary::new(heads.length, heads.width, self.config.rope_theta));
        let norm = || RmsNorm { epsilon: self.config.rms_norm_eps as f32 };
        let leaves = self.parameters.iter().map(|parameter| parameter.var.as_tensor().detach());
        let (mut graph, weights) = Graph::new(recording, leaves);
        let (Some(embedding), Some(last)) = (weights.first(), weights.last()) else {
            return Err(Error::setting("model", "an embedding", "none"));
        };
        let mut x = graph.embedding(embedding, inputs)?;
        for block in weights[1..weights.len() - 1].chunks_exact(BLOCK.len()) {
            let [q, k, v, output, gate, up, down, attention_norm, mlp_norm] = block else {
                break;
            };
            // One product instead of three, and of two: wider products are faster, and copying
            // the weights together costs about a hundredth of a step.
            let qkv = graph.rows(&[q, k, v])?;
            let gate_up = graph.rows(&[gate, up])?;
            let normed = graph.two(norm(), &x, attention_norm)?;
            let projected = graph.two(Linear, &normed, &qkv)?;
            let mixed = graph.one(Attention::new(heads, rotary.clone()), &projected)?;
            x = graph.three(LinearAdd, [&mixed, output, &x])?;
            let normed = graph.two(norm(), &x, mlp_norm)?;
            let projected = graph.two(Linear, &normed, &gate_up)?;
            let gated = graph.one(SwiGlu, &projected)?;
            x = graph.three(LinearAdd, [&gated, down, &x])?;
        }
        let hidden = graph.two(norm(), &x, last)?;
        Ok(Pass { graph, hidden, embedding: embedding.clone() })
    }
}

impl Parameter {
    /// Whether weight decay applies: to matrices, not to the weights of norms.
    pub fn decays(&self) -> bool {
        self.var.rank() > 1
    }

    pub(crate) fn named_numbers(&self) -> Result<NamedNumbers, Error> {
        Ok(NamedNumbers {
            name: self.name.clone(),
            shape: self.var.dims().to_vec(),
            values: self.var.flatten_all()?.to_vec1()?,
        })
    }
}

/// The key of a run's description that sets this field of a fresh model's config.json.
fn run_key(field: &str) -> &str {
    match field {
        "vocab_size" => "model.vocab_size",
        "hidden_size" => "model.hidden_size",
        "intermediate_size" => "model.intermediate_size",
        "num_hidden_layers" => "model.layers",
        "num_attention_heads" => "model.heads",
        "max_position_embeddings" => "mixture.sequence_length",
        // The constants: no key sets them.
        _ => field,
    }
}

/// A side of a tensor as an index.
fn side(value: u64) -> Result<usize, Error> {
    usize::try_from(value).map_err(|_| Error::setting("model", "sizes that fit memory", value))
}

fn names_and_shapes(config: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>, Error> {
    let hidden = side(config.hidden_size)?;
    let inner = side(config.intermediate_size)?;
    let mut all =
        vec![("model.embed_tokens.weight".to_owned(), vec![side(config.vocab_size)?, hidden])];
    for layer in 0..config.layers {
        for name in BLOCK {
            let shape = match name {
                "mlp.gate_proj.weight" | "mlp.up_proj.weight" => vec![inner, hidden],
                "mlp.down_proj.weight" => vec![hidden, inner],
                _ if name.ends_with("layernorm.weight") => vec![hidden],
                _ => vec![hidden, hidden],
            };
            all.push((format!("model.layers.{layer}.{name}"), shape));
        }
    }
    all.push(("model.norm.weight".to_owned(), vec![hidden]));
    Ok(all)
}

/// The deviation of a tensor's initial weights; `None` for norms.
#[expect(clippy::cast_precision_loss, reason = "layers are far below 2^53")]
fn deviation(name: &str, config: &ModelConfig) -> Option<f64> {
    if name.ends_with("norm.weight") {
        None
    } else if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
        Some(INITIAL_DEVIATION / (2.0 * config.layers as f64).sqrt())
    } else {
        Some(INITIAL_DEVIATION)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mixdown_mixer::Batch;

    use candle_core::Tensor;

    use super::{Gradients, Model, ModelConfig};
    use crate::model_config::tests::tiny;
    use crate::ops::check::on_threads;

    /// A batch of arbitrary ids below the tiny model's vocabulary.
    pub(crate) fn batch(rows: u64, length: u64, seed: u64) -> Batch {
        let tokens = (0..rows * (length + 1))
            .map(|i| u32::try_from((i * 7919 + seed * 31 + i * i * 13) % 40).unwrap())
            .collect();
        Batch { tokens, rows, sequence_length: length, ..Batch::default() }
    }

    #[test]
    fn every_parameter_gets_a_finite_nonzero_gradient() {
        let model = Model::new(&tiny(), 1).unwrap();
        let grads = model.gradients(model.loss(&batch(3, 9, 1), 27).unwrap()).unwrap();
        for (parameter, gradient) in model.parameters().iter().zip(grads.tensors()) {
            let values = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(values.iter().all(|v| v.is_finite()), "{}", parameter.name);
            assert!(values.iter().any(|&v| v != 0.0), "{}", parameter.name);
            let rows = gradient.dims()[0];
            let width = values.len() / rows;
            if parameter.name != "model.embed_tokens.weight" {
                assert!(values.chunks(width).all(|row| row.iter().any(|&v| v != 0.0)));
            }
        }
    }

    #[test]
    fn the_loss_is_the_mean_of_the_token_losses() {
        let model = Model::new(&tiny(), 1).unwrap();
        let batch = batch(3, 9, 1);
        let losses = model.token_losses(&batch).unwrap();
        assert_eq!(losses.len(), 27);
        let mean = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / 27.0;
        let loss = model.loss(&batch, 27).unwrap().value();
        assert!((loss - mean).abs() < 1e-6);
        assert!((mean - 40f64.ln()).abs() < 0.05);
    }

    #[test]
    fn only_targets_that_count_have_a_loss() {
        let model = Model::new(&tiny(), 1).unwrap();
        let whole = batch(2, 6, 2);
        // All of the first row and none of the second is the first row alone.
        let masked = Batch { loss_mask: [[1; 6], [0; 6]].concat(), ..whole.clone() };
        let alone = Batch { tokens: whole.tokens[..7].to_vec(), rows: 1, ..whole };
        let (masked, alone) = (model.loss(&masked, 6).unwrap(), model.loss(&alone, 6).unwrap());
        assert!((masked.value() - alone.value()).abs() < 1e-6);
        let (masked, alone) = (model.gradients(masked).unwrap(), model.gradients(alone).unwrap());
        for (one, other) in masked.tensors().iter().zip(alone.tensors()) {
            let worst = (one - other).unwrap().abs().unwrap().max_all().unwrap();
            assert!(worst.to_scalar::<f32>().unwrap() < 1e-6);
        }
        let short = Batch { loss_mask: vec![1; 5], ..batch(2, 6, 2) };
        assert!(model.loss(&short, 6).is_err());
    }

    #[test]
    fn gradients_of_parts_add_up_to_that_of_the_batch() {
        let model = Model::new(&tiny(), 1).unwrap();
        let whole = batch(4, 6, 2);
        let half = |range: std::ops::Range<usize>| Batch {
            tokens: whole.tokens[range].to_vec(),
            rows: 2,
            ..whole.clone()
        };
        let grads = |batch: &Batch| model.gradients(model.loss(batch, 24).unwrap()).unwrap();
        let (all, first, second) = (grads(&whole), grads(&half(0..14)), grads(&half(14..28)));
        for (index, parameter) in model.parameters().iter().enumerate() {
            let get = |grads: &Gradients| grads.tensors()[index].clone();
            let difference = (get(&all) - (get(&first) + get(&second)).unwrap()).unwrap();
            let worst = difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(worst < 1e-6, "{}: {worst}", parameter.name);
        }
    }

    #[test]
    fn the_thread_count_changes_no_bit() {
        let run = || {
            let model = Model::new(&tiny(), 1).unwrap();
            let grads = model.gradients(model.loss(&batch(5, 31, 1), 155).unwrap()).unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            grads.tensors().iter().flat_map(flat).collect::<Vec<f32>>()
        };
        assert_eq!(on_threads(1, run), on_threads(2, run));
    }

    #[test]
    fn a_saved_model_comes_back_bit_for_bit() {
        let place = tempfile::tempdir().unwrap();
        let model = Model::new(&tiny(), 5).unwrap();
        model.save(place.path()).unwrap();
        let back = Model::load(place.path()).unwrap();
        assert_eq!(back.config(), model.config());
        for (a, b) in model.parameters().iter().zip(back.parameters()) {
            let (a, b) = (a.named_numbers().unwrap(), b.named_numbers().unwrap());
            assert_eq!((a.name, a.values), (b.name, b.values));
        }
    }

    #[test]
    fn batches_the_model_cannot_take_are_refused() {
        let model = Model::new(&tiny(), 5).unwrap();
        let error = model.loss(&batch(1, 33, 0), 33).unwrap_err().to_string();
        assert!(error.contains("expected 1 to 32 (the model's max_position_embeddings), got 33"));
        let mut bad = batch(1, 4, 0);
        bad.tokens[4] = 40;
        let error = model.token_losses(&bad).unwrap_err().to_string();
        assert!(error.contains("expected ids below 40 (the model's vocab_size), got 40"));
        let empty = Batch { tokens: Vec::new(), rows: 0, ..batch(1, 4, 0) };
        let ragged = Batch { rows: 2, ..batch(3, 4, 0) };
        for batch in [empty, ragged] {
            assert!(model.token_losses(&batch).unwrap_err().is_configuration());
            assert!(model.loss(&batch, 4).unwrap_err().is_configuration());
        }
        assert!(model.loss(&batch(1, 4, 0), 0).unwrap_err().is_configuration());
        assert!(Model::load("/nowhere".as_ref()).unwrap_err().is_configuration());
        let mut config = tiny();
        config.heads = 3;
        assert!(Model::new(&config, 1).unwrap_err().is_configuration());
        config = ModelConfig { layers: 1 << 40, ..tiny() };
        let error = Model::new(&config, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("model.layers: expected a number from 1 to 4096, got"),
            "{error}"
        );
    }
}
