//! A decoder with a cache of keys and values, so that each further token costs one row.

use super::block::{Block, norm};
use super::workspace::ActivationPolicy;
use super::{Decoder, last, streams};
use crate::engine::CachedDecoding;
use crate::engine::kernels::attention::cached::Cache;
use crate::engine::kernels::embedding;
use crate::engine::kernels::linear::Linear;
use crate::engine::kernels::number::Number;
use crate::engine::kernels::rotary::Rotary;
use crate::engine::rows::MicroBatch;
use crate::error::Error;
use crate::model::config::{ModelConfig, Positions};
use crate::model::layout::Layout;

/// A group of sequences that grow token by token.
///
/// The results of one sequence do not depend on the others.
pub(crate) struct CachedDecoder<'a, F> {
    decoder: Decoder<F>,
    parameters: &'a [F],
    /// One cache per block.
    caches: Vec<Cache<F>>,
    /// The number of positions of each sequence that are in the caches.
    lengths: Vec<u32>,
}

impl<'a, F: Number> CachedDecoder<'a, F> {
    /// Creates a workspace for `sequences` sequences of `capacity` positions each; `capacity` is within the model's
    /// limit.
    ///
    /// # Errors
    /// There is not enough memory for the keys and values.
    pub(crate) fn new(
        config: &ModelConfig,
        layout: &Layout,
        parameters: &'a [F],
        sequences: usize,
        capacity: usize,
    ) -> Result<Self, Error> {
        let mut decoder = Decoder::new(config, layout, ActivationPolicy::Discard, None);
        if let Positions::Rotary(rotary) = &config.positions {
            decoder.rotary = Some(Rotary::new(rotary, capacity));
        }
        let sizes = &layout.sizes;
        let (heads, key_value_heads, width) =
            (sizes.heads, sizes.key_value_heads, sizes.head_width);
        let mut caches = Vec::with_capacity(sizes.layers);
        for _ in 0..sizes.layers {
            let len = sequences.saturating_mul(key_value_heads * width).saturating_mul(capacity);
            let (keys, values) = (zeros(len)?, zeros(len)?);
            caches.push(Cache { heads, key_value_heads, capacity, width, keys, values });
        }
        Ok(Self { decoder, parameters, caches, lengths: vec![0; sequences] })
    }

    /// Reads the first ids of `sequence`, at least one, and returns the logits of the next token.
    pub(crate) fn prefill(&mut self, sequence: usize, ids: &[u32]) -> Vec<F> {
        let positions: Vec<u32> = (0..).take(ids.len()).collect();
        let starts = vec![0; ids.len()];
        let part = MicroBatch {
            length: ids.len(),
            tokens: ids,
            targets: &[],
            positions: &positions,
            starts: &starts,
        };
        let caches = &mut self.caches;
        self.decoder.forward_seen(
            self.parameters,
            part,
            ActivationPolicy::Discard,
            |index, qkv| {
                caches[index].fill(sequence, 0, qkv);
            },
        );
        self.lengths[sequence] = positions.last().map_or(0, |position| position + 1);
        self.logits(ids.len() - 1..ids.len())
    }

    /// Reads one further id of each of `sequences` and returns the logits of the next tokens, \[sequences,
    /// vocabulary\].
    pub(crate) fn step(&mut self, sequences: &[usize], ids: &[u32]) -> Vec<F> {
        let positions: Vec<u32> =
            sequences.iter().map(|&sequence| self.lengths[sequence]).collect();
        let Decoder { config, layout, workspace, rotary, .. } = &mut self.decoder;
        let starts = vec![0; ids.len()];
        let part = MicroBatch {
            length: 1,
            tokens: ids,
            targets: &[],
            positions: &positions,
            starts: &starts,
        };
        workspace.fit(config, &layout.sizes, ids.len(), ActivationPolicy::Discard);
        let hidden = layout.sizes.hidden;
        let (first, table) = (&mut workspace.streams[0], layout.embedding.clone());
        embedding::forward(&self.parameters[table], hidden, ids, first);
        if let Some(table) = layout.positions.clone() {
            embedding::forward_add(&self.parameters[table], hidden, &positions, first);
        }
        for (index, cache) in self.caches.iter_mut().enumerate() {
            let block = Block::new(config, layout, index, self.parameters, rotary.as_ref(), part);
            let (input, output) = streams(&mut workspace.streams, index, ActivationPolicy::Discard);
            let (saved, scratch) = (&mut workspace.saved[0], &mut workspace.scratch);
            block.step(input, (sequences, cache), saved, scratch, output);
        }
        sequences.iter().for_each(|&sequence| self.lengths[sequence] += 1);
        self.logits(0..ids.len())
    }

    /// Returns the logits of `rows` of the last residual stream.
    fn logits(&mut self, rows: std::ops::Range<usize>) -> Vec<F> {
        let Decoder { config, layout, workspace, .. } = &mut self.decoder;
        let sizes = &layout.sizes;
        let stream = &workspace.streams[last(sizes.layers, ActivationPolicy::Discard)];
        let stream = &stream[rows.start * sizes.hidden..rows.end * sizes.hidden];
        let states = &mut workspace.hidden[..stream.len()];
        norm(&layout.last_norm, self.parameters, config).forward(stream, states);
        let mut logits = vec![F::ZERO; rows.len() * sizes.vocabulary];
        let (inputs, outputs) = (sizes.hidden, sizes.vocabulary);
        let weight = &self.parameters[layout.output()];
        Linear { weight, bias: None, inputs, outputs }.forward_few(states, &mut logits);
        logits
    }
}

impl CachedDecoding for CachedDecoder<'_, f32> {
    fn prefill(&mut self, sequence: usize, ids: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(Self::prefill(self, sequence, ids))
    }

    fn step(&mut self, sequences: &[usize], ids: &[u32]) -> Result<Vec<f32>, Error> {
        // Inside the thread pool, each product starts without waiting for a thread to wake up.
        Ok(rayon::scope(|_| Self::step(self, sequences, ids)))
    }
}

/// Returns `len` zeros, or an error if there is not enough memory for them.
fn zeros<F: Number>(len: usize) -> Result<Vec<F>, Error> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(len).map_err(|_| {
        let expected = "keys and values that fit memory: fewer samples or tokens";
        Error::setting("max_tokens", expected, format!("{len} numbers a block"))
    })?;
    zeros.resize(len, F::ZERO);
    Ok(zeros)
}

#[cfg(test)]
mod tests {
    use super::CachedDecoder;
    use crate::engine::decoder::tests::{parameters, rows};
    use crate::engine::decoder::{ActivationPolicy, Decoder};
    use crate::engine::kernels::check::{close, on_threads};
    use crate::engine::rows::Rows;
    use crate::model::config::ModelConfig;
    use crate::model::config::tests::all_kinds;
    use crate::model::layout::Layout;

    /// Returns the logits of every position of `rows` from position `read - 1` on. The first `read` ids are read at
    /// once, the others one by one, and all rows are processed side by side: \[positions, rows, vocabulary\].
    fn cached(config: &ModelConfig, rows: &Rows, read: usize) -> Vec<f32> {
        let layout = Layout::new(config).unwrap();
        let parameters = parameters::<f32>(&layout);
        let mut decoder =
            CachedDecoder::new(config, &layout, &parameters, rows.rows, rows.length).unwrap();
        let row = |row: usize| &rows.tokens[row * rows.length..(row + 1) * rows.length];
        let sequences: Vec<usize> = (0..rows.rows).collect();
        let mut all: Vec<f32> =
            sequences.iter().flat_map(|&i| decoder.prefill(i, &row(i)[..read])).collect();
        for place in read..rows.length {
            let ids: Vec<u32> = sequences.iter().map(|&i| row(i)[place]).collect();
            all.extend(decoder.step(&sequences, &ids));
        }
        all
    }

    #[test]
    fn logits_are_those_of_the_whole_pass() {
        for config in all_kinds() {
            let rows = rows(3, 19, 4);
            let layout = Layout::new(&config).unwrap();
            let mut whole = Decoder::<f64>::new(&config, &layout, ActivationPolicy::Discard, None);
            let whole = whole.logits(&parameters::<f64>(&layout), &rows);
            for read in [1, 7, 19] {
                let expected: Vec<f64> = (read - 1..19)
                    .flat_map(|place| (0..3).map(move |row| (row * 19 + place) * 40))
                    .flat_map(|at| whole[at..at + 40].to_vec())
                    .collect();
                let got = cached(&config, &rows, read);
                close(&got, &expected, 1e-5, &format!("{} from {read}", config.family));
            }
        }
    }

    #[test]
    fn neither_threads_nor_other_sequences_change_a_bit() {
        for config in all_kinds() {
            let three = rows(3, 9, 4);
            let run = || cached(&config, &three, 4);
            let all = on_threads(1, run);
            assert_eq!(on_threads(3, run), all);
            let alone = Rows { rows: 1, tokens: three.tokens[9..18].to_vec(), ..three.clone() };
            let of_second: Vec<f32> =
                all.chunks_exact(40).skip(1).step_by(3).flatten().copied().collect();
            assert_eq!(cached(&config, &alone, 4), of_second);
        }
    }
}
