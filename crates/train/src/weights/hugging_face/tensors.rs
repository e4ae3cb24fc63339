//! The tensors of a model's file: their names, their shapes, and their places in the flat buffer.
//!
//! The order of the list is part of the contract: fresh weights are drawn by a tensor's index in it.

use std::borrow::Cow;
use std::ops::Range;

use crate::model::config::{Family, ModelConfig};
use crate::model::layout::{BlockLayout, Layout, LinearRange, NormRange};

/// A tensor of the file, and its place in the flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileTensor {
    /// The name in the file.
    pub(crate) name: String,
    /// The shape in the file.
    pub(crate) shape: Vec<usize>,
    /// The range of its values in the flat buffer.
    pub(crate) range: Range<usize>,
    /// The order of its values in the file.
    pub(crate) arrangement: Arrangement,
}

/// The order of a tensor's values in the file, compared to that of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// The order is the same.
    Plain,
    /// The file has \[inputs, outputs\]: GPT-2's `Conv1D`.
    Transposed,
    /// The file has queries, keys and values of the first head, then those of the second, and so on;
    /// the buffer all queries, all keys, all values: GPT-NeoX.
    InterleavedHeads {
        /// The number of heads.
        heads: usize,
    },
}

impl FileTensor {
    /// Returns a tensor of one dimension that is a whole buffer.
    pub(crate) fn flat(name: &str, len: usize) -> Self {
        Self {
            name: name.to_owned(),
            shape: vec![len],
            range: 0..len,
            arrangement: Arrangement::Plain,
        }
    }

    /// Returns whether weight decay applies: to matrices, not to norms and biases.
    pub(crate) fn decays(&self) -> bool {
        self.shape.len() > 1
    }

    /// Returns the number of values in one indivisible part of the file, at least 1. [`FileTensor::copy_in`] and
    /// [`FileTensor::copy_out`] take whole parts.
    pub(crate) fn part_len(&self) -> usize {
        let part = match self.arrangement {
            Arrangement::Plain => 1,
            Arrangement::Transposed => self.shape.last().copied().unwrap_or(1),
            Arrangement::InterleavedHeads { heads } => self.range.len() / (3 * heads).max(1),
        };
        part.max(1)
    }

    /// Copies `numbers`, which are the file's values from index `first` on, to their places in `out`, which is the
    /// whole tensor in the buffer's order.
    pub(crate) fn copy_in(&self, first: usize, numbers: &[f32], out: &mut [f32]) {
        let part = self.part_len();
        match self.arrangement {
            Arrangement::Plain => out[first..first + numbers.len()].copy_from_slice(numbers),
            Arrangement::Transposed => {
                let (inputs, input) = (out.len() / part, first / part);
                for (output, row) in out.chunks_exact_mut(inputs).enumerate() {
                    let column = numbers[output..].iter().step_by(part);
                    row[input..].iter_mut().zip(column).for_each(|(to, from)| *to = *from);
                }
            }
            Arrangement::InterleavedHeads { heads } => {
                for (n, numbers) in numbers.chunks_exact(part).enumerate() {
                    let place = place(first / part + n, heads) * part;
                    out[place..place + part].copy_from_slice(numbers);
                }
            }
        }
    }

    /// Does the reverse: fills `numbers` with the file's values from index `first` on, from the whole tensor in the
    /// buffer's order.
    pub(crate) fn copy_out(&self, first: usize, values: &[f32], numbers: &mut [f32]) {
        let part = self.part_len();
        match self.arrangement {
            Arrangement::Plain => {
                let len = numbers.len();
                numbers.copy_from_slice(&values[first..first + len]);
            }
            Arrangement::Transposed => {
                let (inputs, input) = (values.len() / part, first / part);
                transpose(&values[input..], inputs, numbers, part);
            }
            Arrangement::InterleavedHeads { heads } => {
                for (n, numbers) in numbers.chunks_exact_mut(part).enumerate() {
                    let place = place(first / part + n, heads) * part;
                    numbers.copy_from_slice(&values[place..place + part]);
                }
            }
        }
    }
}

/// Numbers on a side of a block that is transposed at once: rows lie a multiple of 4 KiB apart, so
/// whole columns would push each other out of the inner cache.
const BLOCK: usize = 8;

/// `to[i][o] = from[o][i]` for all of `to`, whose rows are `outputs` long; those of `from` begin
/// `stride` apart.
fn transpose(from: &[f32], stride: usize, to: &mut [f32], outputs: usize) {
    for (block, rows) in to.chunks_mut(BLOCK * outputs).enumerate() {
        let input = block * BLOCK;
        for output in (0..outputs).step_by(BLOCK) {
            let end = outputs.min(output + BLOCK);
            for (i, row) in rows.chunks_exact_mut(outputs).enumerate() {
                for (o, place) in (output..end).zip(&mut row[output..end]) {
                    *place = from[o * stride + input + i];
                }
            }
        }
    }
}

/// Returns the place in the buffer of part `n` of the file, which is the queries, keys or values of one head.
fn place(n: usize, heads: usize) -> usize {
    let (head, kind) = (n / 3, n % 3);
    kind * heads + head
}

/// Returns the tensors of a model in the order of the list.
pub(crate) fn tensors(config: &ModelConfig, layout: &Layout) -> Vec<FileTensor> {
    let mut list = List { layout, family: config.family, tensors: Vec::new() };
    match config.family {
        Family::Gpt2 => list.gpt2(),
        Family::GptNeoX => list.gpt_neox(),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => list.llama(),
    }
    list.tensors
}

/// Returns the name in the list of a tensor that is called `name` in a file.
///
/// GPT-2's oldest files leave out the prefix of all names, GPT-NeoX' newest have another name for
/// the output projection.
pub(crate) fn canonical_name(family: Family, name: &str) -> Cow<'_, str> {
    match family {
        Family::Gpt2 if ["wte.", "wpe.", "ln_f.", "h."].iter().any(|p| name.starts_with(p)) => {
            format!("transformer.{name}").into()
        }
        Family::GptNeoX if name == "lm_head.weight" => head_name(family).into(),
        _ => name.into(),
    }
}

/// Returns the name of the embedding.
pub(crate) fn embedding_name(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "transformer.wte.weight",
        Family::GptNeoX => "gpt_neox.embed_in.weight",
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
            "model.embed_tokens.weight"
        }
    }
}

/// Returns the name of the output projection.
pub(crate) fn head_name(family: Family) -> &'static str {
    if family == Family::GptNeoX { "embed_out.weight" } else { "lm_head.weight" }
}

/// Returns whether a file may have a tensor that the model does not need: masks and rotary frequencies, which older
/// versions stored, and an output projection that equals the embedding.
pub(crate) fn is_superfluous(config: &ModelConfig, name: &str) -> bool {
    const STORED: [&str; 5] = [
        ".attn.bias",
        ".attn.masked_bias",
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
    ];
    (config.tied_embeddings && name == head_name(config.family))
        || STORED.iter().any(|end| name.ends_with(end))
}

/// The builder of the list.
struct List<'a> {
    layout: &'a Layout,
    family: Family,
    tensors: Vec<FileTensor>,
}

impl List<'_> {
    fn push(&mut self, name: String, shape: &[usize], range: &Range<usize>, order: Arrangement) {
        let (shape, range) = (shape.to_vec(), range.clone());
        self.tensors.push(FileTensor { name, shape, range, arrangement: order });
    }

    fn plain(&mut self, name: String, shape: &[usize], range: &Range<usize>) {
        self.push(name, shape, range, Arrangement::Plain);
    }

    /// Adds the weight of a linear layer as one matrix.
    fn matrix(&mut self, name: String, inputs: usize, linear: &LinearRange, order: Arrangement) {
        let outputs = linear.weight.len() / inputs.max(1);
        let shape =
            if order == Arrangement::Transposed { [inputs, outputs] } else { [outputs, inputs] };
        self.push(name, &shape, &linear.weight, order);
    }

    fn bias(&mut self, name: String, linear: &LinearRange, order: Arrangement) {
        if let Some(range) = &linear.bias {
            self.push(name, &[range.len()], range, order);
        }
    }

    fn vector(&mut self, name: String, range: Option<&Range<usize>>) {
        if let Some(range) = range {
            self.plain(name, &[range.len()], range);
        }
    }

    /// Adds the weight and the bias of a norm.
    fn norm(&mut self, name: &str, norm: &NormRange) {
        self.vector(format!("{name}.weight"), Some(&norm.weight));
        self.vector(format!("{name}.bias"), norm.bias.as_ref());
    }

    fn table(&mut self, name: &str, range: &Range<usize>) {
        let hidden = self.layout.sizes.hidden;
        self.plain(name.to_owned(), &[range.len() / hidden.max(1), hidden], range);
    }

    fn head(&mut self) {
        if let Some(range) = &self.layout.head {
            self.table(head_name(self.family), range);
        }
    }

    fn llama(&mut self) {
        let layout = self.layout;
        self.table(embedding_name(self.family), &layout.embedding);
        for (n, block) in layout.blocks.iter().enumerate() {
            self.llama_block(&format!("model.layers.{n}"), block);
        }
        self.norm("model.norm", &layout.last_norm);
        self.head();
    }

    fn llama_block(&mut self, at: &str, block: &BlockLayout) {
        let sizes = self.layout.sizes;
        let (queries, keys) = (sizes.attended(), sizes.key_value_heads * sizes.head_width);
        let attention = [("q", 0, queries), ("k", queries, keys), ("v", queries + keys, keys)];
        for (name, row, rows) in attention {
            let name = format!("{at}.self_attn.{name}_proj.weight");
            self.rows(name, &block.qkv.weight, sizes.hidden, row..row + rows);
        }
        let name = format!("{at}.self_attn.o_proj.weight");
        self.matrix(name, queries, &block.output, Arrangement::Plain);
        let up = [("gate", 0..sizes.inner), ("up", sizes.inner..sizes.up)];
        for (name, rows) in up.clone() {
            let name = format!("{at}.mlp.{name}_proj.weight");
            self.rows(name, &block.up.weight, sizes.hidden, rows);
        }
        let name = format!("{at}.mlp.down_proj.weight");
        self.matrix(name, sizes.inner, &block.down, Arrangement::Plain);
        self.norm(&format!("{at}.input_layernorm"), &block.attention_norm);
        self.norm(&format!("{at}.post_attention_layernorm"), &block.mlp_norm);
        if let Some(bias) = &block.qkv.bias {
            for (name, row, rows) in attention {
                let range = bias.start + row..bias.start + row + rows;
                self.vector(format!("{at}.self_attn.{name}_proj.bias"), Some(&range));
            }
        }
        self.bias(format!("{at}.self_attn.o_proj.bias"), &block.output, Arrangement::Plain);
        if let Some(bias) = &block.up.bias {
            for (name, rows) in up {
                let range = bias.start + rows.start..bias.start + rows.end;
                self.vector(format!("{at}.mlp.{name}_proj.bias"), Some(&range));
            }
        }
        self.bias(format!("{at}.mlp.down_proj.bias"), &block.down, Arrangement::Plain);
        self.vector(format!("{at}.self_attn.q_norm.weight"), block.query_norm.as_ref());
        self.vector(format!("{at}.self_attn.k_norm.weight"), block.key_norm.as_ref());
    }

    /// Adds some rows of a fused matrix.
    fn rows(&mut self, name: String, weight: &Range<usize>, inputs: usize, rows: Range<usize>) {
        let range = weight.start + rows.start * inputs..weight.start + rows.end * inputs;
        self.plain(name, &[rows.len(), inputs], &range);
    }

    fn gpt2(&mut self) {
        let layout = self.layout;
        self.table(embedding_name(self.family), &layout.embedding);
        if let Some(positions) = &layout.positions {
            self.table("transformer.wpe.weight", positions);
        }
        for (n, block) in layout.blocks.iter().enumerate() {
            let at = format!("transformer.h.{n}");
            let names = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
            let orders = [Arrangement::Transposed, Arrangement::Plain, Arrangement::Transposed];
            self.linears(&at, names, block, orders);
            self.norm(&format!("{at}.ln_1"), &block.attention_norm);
            self.norm(&format!("{at}.ln_2"), &block.mlp_norm);
        }
        self.norm("transformer.ln_f", &layout.last_norm);
        self.head();
    }

    fn gpt_neox(&mut self) {
        let layout = self.layout;
        self.table(embedding_name(self.family), &layout.embedding);
        let order = Arrangement::InterleavedHeads { heads: layout.sizes.heads };
        for (n, block) in layout.blocks.iter().enumerate() {
            let at = format!("gpt_neox.layers.{n}");
            let names = [
                "attention.query_key_value",
                "attention.dense",
                "mlp.dense_h_to_4h",
                "mlp.dense_4h_to_h",
            ];
            self.linears(&at, names, block, [order, order, Arrangement::Plain]);
            self.norm(&format!("{at}.input_layernorm"), &block.attention_norm);
            self.norm(&format!("{at}.post_attention_layernorm"), &block.mlp_norm);
        }
        self.norm("gpt_neox.final_layer_norm", &layout.last_norm);
        self.head();
    }

    /// Adds the four linear layers of a block whose queries, keys and values are fused in the file too: weights, then
    /// biases. The orders are those of the first layer's weight, of its bias, and of the other weights.
    fn linears(
        &mut self,
        at: &str,
        names: [&str; 4],
        block: &BlockLayout,
        [first, first_bias, others]: [Arrangement; 3],
    ) {
        let sizes = self.layout.sizes;
        let linears = [
            (names[0], &block.qkv, sizes.hidden, first, first_bias),
            (names[1], &block.output, sizes.attended(), others, Arrangement::Plain),
            (names[2], &block.up, sizes.hidden, others, Arrangement::Plain),
            (names[3], &block.down, sizes.inner, others, Arrangement::Plain),
        ];
        for (name, linear, inputs, order, _) in linears {
            self.matrix(format!("{at}.{name}.weight"), inputs, linear, order);
        }
        for (name, linear, .., order) in linears {
            self.bias(format!("{at}.{name}.bias"), linear, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrangement, FileTensor, canonical_name, is_superfluous, tensors};
    use crate::model::config::Family;
    use crate::weights::hugging_face::test_models::{every, layout, tiny};

    #[test]
    fn the_tensors_cover_the_buffer_once() {
        let models = every();
        assert_eq!(models.len(), 16 + 4 + 4 + 8 + 2 + 4);
        for config in models {
            let layout = layout(&config);
            let tensors = tensors(&config, &layout);
            let mut covered = vec![0; layout.len];
            for tensor in &tensors {
                covered[tensor.range.clone()].iter_mut().for_each(|n| *n += 1);
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.range.len());
                assert!(tensor.range.len().is_multiple_of(tensor.part_len()));
            }
            assert!(covered.iter().all(|n| *n == 1), "{config:?}");
            assert_eq!(layout.len as u64, config.parameters());
            let names: std::collections::BTreeSet<_> = tensors.iter().map(|t| &t.name).collect();
            assert_eq!(names.len(), tensors.len());
        }
    }

    #[test]
    fn llama_keeps_its_order() {
        let mut config = tiny(Family::Llama);
        (config.layers, config.tied_embeddings) = (1, true);
        let tensors = tensors(&config, &layout(&config));
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let block = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        ];
        let mut expected = vec!["model.embed_tokens.weight".to_owned()];
        expected.extend(block.map(|name| format!("model.layers.0.{name}.weight")));
        expected.push("model.norm.weight".to_owned());
        assert_eq!(names, expected);
        let decays: Vec<_> = tensors.iter().map(FileTensor::decays).collect();
        assert_eq!(decays, [vec![true; 8], vec![false; 3]].concat());
    }

    /// Where each number of the file belongs, by the definition of the arrangement.
    fn place_of(tensor: &FileTensor, n: usize, heads: usize) -> usize {
        let inputs = if tensor.shape.len() > 1 { tensor.shape[1] } else { 1 };
        match tensor.arrangement {
            Arrangement::Plain => n,
            Arrangement::Transposed => {
                let (input, output) = (n / tensor.shape[1], n % tensor.shape[1]);
                output * tensor.shape[0] + input
            }
            Arrangement::InterleavedHeads { .. } => {
                let (row, column) = (n / inputs, n % inputs);
                let width = tensor.shape[0] / heads / 3;
                let (head, kind, number) = (row / (3 * width), row / width % 3, row % width);
                ((kind * heads + head) * width + number) * inputs + column
            }
        }
    }

    #[test]
    fn every_number_goes_to_its_place_and_back() {
        let mut seen = Vec::new();
        for config in every() {
            for tensor in tensors(&config, &layout(&config)) {
                let len = tensor.range.len();
                let file: Vec<f32> = (0_u16..).take(len).map(f32::from).collect();
                let (mut buffer, mut back) = (vec![-1.0; len], vec![-1.0; len]);
                // In two calls, of which the first ends at a part.
                let middle = len / tensor.part_len() / 2 * tensor.part_len();
                tensor.copy_in(middle, &file[middle..], &mut buffer);
                tensor.copy_in(0, &file[..middle], &mut buffer);
                for (n, value) in file.iter().enumerate() {
                    assert_eq!(buffer[place_of(&tensor, n, 4)].to_bits(), value.to_bits());
                }
                tensor.copy_out(0, &buffer, &mut back[..middle]);
                tensor.copy_out(middle, &buffer, &mut back[middle..]);
                assert_eq!(back, file);
                seen.push((tensor.arrangement, tensor.shape.len()));
            }
        }
        let heads = Arrangement::InterleavedHeads { heads: 4 };
        for kind in [(Arrangement::Transposed, 2), (heads, 1), (heads, 2)] {
            assert!(seen.contains(&kind));
        }
        assert!(!seen.contains(&(Arrangement::Transposed, 1)));
    }

    #[test]
    fn older_and_newer_names_are_known() {
        for (family, name, expected) in [
            (Family::Gpt2, "wte.weight", "transformer.wte.weight"),
            (Family::Gpt2, "h.3.ln_1.bias", "transformer.h.3.ln_1.bias"),
            (Family::Gpt2, "transformer.h.3.ln_1.bias", "transformer.h.3.ln_1.bias"),
            (Family::Gpt2, "lm_head.weight", "lm_head.weight"),
            (Family::GptNeoX, "lm_head.weight", "embed_out.weight"),
            (Family::Llama, "h.weight", "h.weight"),
        ] {
            assert_eq!(canonical_name(family, name), expected);
        }
        let (tied, untied) = (tiny(Family::Gpt2), tiny(Family::Llama));
        for name in
            ["transformer.h.0.attn.bias", "x.attention.masked_bias", "y.rotary_emb.inv_freq"]
        {
            assert!(is_superfluous(&tied, name) && is_superfluous(&untied, name));
        }
        assert!(is_superfluous(&tied, "lm_head.weight"));
        assert!(!is_superfluous(&untied, "lm_head.weight"));
        assert!(!is_superfluous(&tied, "score.weight"));
    }
}
