//! Sequences that grow token by token on a device, which keeps the keys and values of earlier tokens.

use crate::engine::CachedDecoding;
use crate::engine::cuda::decoder::CudaDecoder;
use crate::engine::cuda::device::workspace::Next;
use crate::engine::cuda::device::{Address, Form, Product};
use crate::engine::cuda::kernels::Shape;
use crate::engine::decoder::ActivationPolicy;
use crate::engine::rows::MicroBatch;
use crate::error::Error;
use crate::model::layout::Sizes;

/// Keys and values of each block, \[sequences, capacity, keys and values\], in the number format of products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyValueCache {
    base: Address,
    /// The bytes of the keys and values of one block.
    block_bytes: usize,
    /// The sequence of each row.
    pub(crate) sequences: Address,
    /// The capacity of one sequence in positions.
    pub(crate) capacity: usize,
    /// Whether rows attend to the cache and not to each other.
    pub(crate) is_step: bool,
}

impl KeyValueCache {
    /// Returns the cache of a block.
    pub(crate) fn block(&self, index: usize) -> Address {
        self.base + index * self.block_bytes
    }
}

/// The width of the keys and values of one position.
pub(crate) fn key_values(sizes: &Sizes) -> usize {
    2 * sizes.key_value_heads * sizes.head_width
}

/// A decoder on a device with the keys and values of some sequences.
pub(crate) struct CudaCachedDecoder<'a> {
    decoder: &'a mut CudaDecoder,
    cache: KeyValueCache,
    /// f32 \[sequences, vocabulary\].
    logits: Address,
    /// The number of positions of each sequence in the cache.
    lengths: Vec<u32>,
}

impl<'a> CudaCachedDecoder<'a> {
    /// Places the cache in the workspace memory. No pass runs meanwhile, so a run that samples needs no additional
    /// memory.
    ///
    /// # Errors
    /// The device has too little memory.
    pub(crate) fn new(
        decoder: &'a mut CudaDecoder,
        sequences: usize,
        capacity: usize,
    ) -> Result<Self, Error> {
        decoder.fit_angles(capacity)?;
        let sizes = decoder.layout.sizes;
        let numbers = sequences.saturating_mul(capacity).saturating_mul(key_values(&sizes));
        let block_bytes = numbers.saturating_mul(decoder.pass.precision.bytes());
        let rows = capacity.max(sequences);
        // The cache follows the workspace of the ids that are read at once: a prompt, or one token of each sequence.
        let workspace_bytes = decoder.workspace_bytes(rows, ActivationPolicy::Discard);
        let places = |base: Address| {
            let mut next = Next { base, bytes: workspace_bytes };
            let ids = next.take(4 * rows);
            let logits = next.take(sequences.saturating_mul(4 * sizes.vocabulary));
            let blocks = next.take(block_bytes.saturating_mul(sizes.layers));
            ([ids, logits, blocks], next.bytes)
        };
        let (_, bytes) = places(Address::NULL);
        let ([ids, logits, base], _) = places(decoder.reserve(bytes)?);
        let cache = KeyValueCache { base, block_bytes, sequences: ids, capacity, is_step: false };
        Ok(Self { decoder, cache, logits, lengths: vec![0; sequences] })
    }

    /// Reads rows of `length` ids and returns the logits of the ids after the last `rows` of them.
    fn forward(
        &mut self,
        ids: &[u32],
        length: usize,
        positions: &[u32],
        sequences: &[u32],
        rows: usize,
    ) -> Result<Vec<f32>, Error> {
        let starts = vec![0; ids.len()];
        let part = MicroBatch { length, tokens: ids, targets: &[], positions, starts: &starts };
        let Self { decoder, cache, logits, .. } = self;
        decoder.kernels.device.write_u32(cache.sequences, sequences)?;
        let stream = decoder.forward(part, ActivationPolicy::Discard, Some(*cache))?;
        let Sizes { hidden: width, vocabulary, .. } = decoder.layout.sizes;
        let norm = decoder.norm_at(&decoder.layout.last_norm, decoder.parameters);
        let last = stream.f32((ids.len() - rows) * width);
        let states = decoder.workspace.hidden;
        decoder.kernels.norm_forward(states, last, norm, rows)?;
        let weight = decoder.narrow(decoder.layout.output().start);
        let device = &mut decoder.kernels.device;
        // The product is added to zeros, so that the logits are f32 in any precision.
        device.zero(*logits, (4 * rows * vocabulary) as u64)?;
        device.product(Product {
            form: Form::AddOutput,
            x: states,
            weight,
            y: *logits,
            rows,
            inputs: width,
            outputs: vocabulary,
            pitch: vocabulary,
        })?;
        let mut numbers = vec![0.0; rows * vocabulary];
        device.read_f32(&mut numbers, *logits)?;
        Ok(numbers)
    }
}

impl CachedDecoding for CudaCachedDecoder<'_> {
    fn prefill(&mut self, sequence: usize, ids: &[u32]) -> Result<Vec<f32>, Error> {
        let positions: Vec<u32> = (0..).take(ids.len()).collect();
        let sequences = vec![u32::try_from(sequence).unwrap_or(u32::MAX); ids.len()];
        self.cache.is_step = false;
        self.lengths[sequence] = positions.last().map_or(0, |position| position + 1);
        self.forward(ids, ids.len(), &positions, &sequences, 1)
    }

    fn step(&mut self, sequences: &[usize], ids: &[u32]) -> Result<Vec<f32>, Error> {
        let positions: Vec<u32> =
            sequences.iter().map(|&sequence| self.lengths[sequence]).collect();
        let numbers: Vec<u32> =
            sequences.iter().map(|&sequence| u32::try_from(sequence).unwrap_or(u32::MAX)).collect();
        self.cache.is_step = true;
        sequences.iter().for_each(|&sequence| self.lengths[sequence] += 1);
        self.forward(ids, 1, &positions, &numbers, ids.len())
    }
}

impl CudaDecoder {
    /// Computes the attention of the rows in `qkv` among themselves, or of each row to its sequence in the cache, to
    /// which their keys and values are added.
    pub(crate) fn attend(
        &mut self,
        index: usize,
        [attended, log_sums, qkv]: [Address; 3],
        shape: Shape,
        cache: Option<KeyValueCache>,
    ) -> Result<(), Error> {
        if let Some(cache) = cache {
            self.kernels.keep_keys(cache.block(index), qkv, &cache, shape)?;
            if cache.is_step {
                return self.kernels.attention_cached(
                    attended,
                    cache.block(index),
                    qkv,
                    &cache,
                    shape,
                );
            }
        }
        self.kernels.attention_forward(attended, log_sums, qkv, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::CudaCachedDecoder;
    use crate::config::compute::Precision;
    use crate::engine::cuda::decoder::decoder_tests::{decoder, pass, wide};
    use crate::engine::decoder::ActivationPolicy;
    use crate::engine::decoder::cached::CachedDecoder;
    use crate::engine::decoder::tests::rows;
    use crate::engine::kernels::check::close;
    use crate::engine::{CachedDecoding, Engine, NEVER};
    use crate::model::Model;
    use crate::model::config::ModelConfig;
    use crate::model::config::tests::all_kinds;
    use crate::model::layout::Layout;

    /// Returns the logits of two prompts of different lengths and of their continuations: both, the second, both again.
    fn logits(decoder: &mut dyn CachedDecoding, [one, two]: [&[u32]; 2]) -> Vec<f32> {
        let mut all = decoder.prefill(1, &two[..3]).unwrap();
        all.extend(decoder.prefill(0, &one[..5]).unwrap());
        all.extend(decoder.step(&[0, 1], &[one[5], two[3]]).unwrap());
        all.extend(decoder.step(&[1], &[two[4]]).unwrap());
        for (a, b) in one[6..].iter().zip(&two[5..]) {
            all.extend(decoder.step(&[0, 1], &[*a, *b]).unwrap());
        }
        all
    }

    fn check(config: &ModelConfig, length: usize, precision: Precision, limit: f64) {
        let model = Model::new(config, 3).unwrap();
        let parameters = model.parameters();
        let rows = rows(2, length, 3);
        let (one, two) = rows.tokens.split_at(length);
        let layout = Layout::new(config).unwrap();
        let mut cpu = CachedDecoder::new(config, &layout, parameters, 2, length).unwrap();
        let expected: Vec<f64> = logits(&mut cpu, [one, two]).into_iter().map(f64::from).collect();
        let mut device =
            decoder(config, pass(precision, ActivationPolicy::Keep, None), 0, parameters);
        // The sequences run between two passes, whose losses must stay the same.
        let losses = device.losses(&[], &rows, &NEVER).unwrap();
        let mut cached = CudaCachedDecoder::new(&mut device, 2, length).unwrap();
        let got = logits(&mut cached, [one, two]);
        close(&got, &expected, limit, &config.family.to_string());
        assert_eq!(device.losses(&[], &rows, &NEVER).unwrap(), losses, "a pass after it");
    }

    #[test]
    fn logits_are_those_of_the_cpu() {
        for config in all_kinds() {
            check(&config, 19, Precision::F32, 1e-4);
            check(&config, 19, Precision::Bf16, 2e-2);
        }
        for config in wide() {
            check(&config, 70, Precision::F32, 1e-4);
        }
    }
}
