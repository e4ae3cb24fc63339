//! The decoder on a device: parameters, gradients and moments stay in device memory, and the host receives the losses
//! and the gradient norm.

pub(crate) mod adapter;
pub(crate) mod attention;
#[cfg(test)]
pub(crate) mod attention_tests;
pub(crate) mod block;
pub(crate) mod cached;
#[cfg(test)]
pub(crate) mod decoder_tests;
pub(crate) mod norms;
pub(crate) mod tracked;

use std::sync::atomic::AtomicBool;

use super::device::{Address, Device, Form, Product};
use super::kernels::{Kernels, Shape, WIDEST_STREAM};
use crate::config::compute::Precision;
use crate::engine::cuda::decoder::cached::KeyValueCache;
use crate::engine::cuda::decoder::tracked::{Averaging, Tracked, tracked_bytes};
use crate::engine::cuda::device::workspace::{Kept, Lists, Workspace};
use crate::engine::cuda::reduction::{BUCKET, Buckets};
use crate::engine::decoder::ActivationPolicy;
use crate::engine::kernels::rotary::Rotary;
use crate::engine::rows::{MicroBatch, Rows};
use crate::error::Error;
use crate::model::config::{ModelConfig, Positions};
use crate::model::layout::Layout;
use crate::optim::trainable_state::TrainableSizes;

/// The largest number of tokens of one pass, which has at least one row. It is enough for products to fill a large GPU.
const PASS_TOKENS: usize = 8192;
/// The largest number of rows of one pass: the limit of thread blocks along the grid dimension that attention uses for
/// rows.
const PASS_ROWS: usize = 65_535;

/// The settings of a decoder on a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CudaPass {
    pub(crate) precision: Precision,
    pub(crate) policy: ActivationPolicy,
    /// The rows of one pass, if they are set.
    pub(crate) micro_batch: Option<usize>,
}

/// A decoder with all its memory on a device.
pub(crate) struct CudaDecoder {
    pub(super) kernels: Kernels,
    pub(super) config: ModelConfig,
    pub(super) layout: Layout,
    pub(super) pass: CudaPass,
    pub(super) parameters: Address,
    /// The gradients of all parameters, in their layout; null if these are not trained.
    pub(super) gradients: Address,
    /// The parameters in the number format of products.
    pub(super) narrow: Address,
    /// The trained state; `None` until it is set or the first gradients are computed.
    pub(super) tracked: Option<Tracked>,
    /// Cosines and sines with the number of pairs of a head, if positions are rotary.
    pub(super) angles: Option<([Address; 2], usize)>,
    /// The number of positions that have angles.
    angle_positions: usize,
    pub(super) workspace: Workspace,
    /// Whether gradients are summed over several ranks; `bucket` is the minimum length of a bucket.
    pub(super) is_joined: bool,
    pub(super) bucket: usize,
    /// The part of the gradients that is still to be summed in this backward pass.
    sums: Option<Buckets>,
    room_memory: Kept,
    /// The losses of a batch.
    losses: Kept,
}

/// Returns the bytes of device memory that training `trainable` uses with rows of `length` tokens and `batch_size` rows
/// per batch: those of the model, and those of a pass.
pub(crate) fn device_bytes(
    config: &ModelConfig,
    layout: &Layout,
    trainable: TrainableSizes,
    [length, batch_size]: [usize; 2],
    pass: CudaPass,
) -> [u64; 2] {
    let rows = pass_rows(pass.micro_batch, length.max(1)).min(batch_size);
    let tokens = rows.saturating_mul(length);
    let workspace =
        Workspace::new(config, &layout.sizes, pass.precision, tokens, pass.policy, Address::NULL);
    let thin = trainable.rank.saturating_mul((2 * tokens * pass.precision.bytes()) as u64);
    let resident = tracked_bytes(layout.len as u64, trainable, pass.precision);
    let losses = length.saturating_mul(4 * batch_size);
    [resident, thin.saturating_add(workspace.bytes.saturating_add(losses) as u64)]
}

fn pass_rows(micro_batch: Option<usize>, length: usize) -> usize {
    micro_batch.unwrap_or(PASS_TOKENS / length).clamp(1, PASS_ROWS)
}

impl CudaDecoder {
    /// Makes a decoder with these parameters.
    ///
    /// # Errors
    /// The device has too little memory; the model is too wide for its kernels.
    pub(crate) fn new(
        config: &ModelConfig,
        layout: &Layout,
        pass: CudaPass,
        device: Box<dyn Device>,
        parameters: &[f32],
    ) -> Result<Self, Error> {
        let sizes = layout.sizes;
        if sizes.hidden > WIDEST_STREAM {
            let expected = format!("at most {WIDEST_STREAM} with train.device = \"cuda\"");
            return Err(Error::setting("model.hidden_size", expected, sizes.hidden));
        }
        #[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
        let epsilon = config.norm_epsilon as f32;
        let window = config
            .sliding_window
            .map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let mut kernels = Kernels { device, precision: pass.precision, sizes, epsilon, window };
        let device = &mut kernels.device;
        let [wide, narrow] = [4, pass.precision.bytes()].map(|bytes| (layout.len * bytes) as u64);
        let weights = device.allocate(wide)?;
        let narrow =
            if pass.precision == Precision::F32 { weights } else { device.allocate(narrow)? };
        let workspace = Workspace::new(
            config,
            &sizes,
            pass.precision,
            0,
            ActivationPolicy::Discard,
            Address::NULL,
        );
        let mut decoder = Self {
            kernels,
            config: config.clone(),
            layout: layout.clone(),
            pass,
            parameters: weights,
            gradients: Address::NULL,
            narrow,
            tracked: None,
            angles: None,
            angle_positions: 0,
            workspace,
            is_joined: false,
            bucket: BUCKET,
            sums: None,
            room_memory: Kept::default(),
            losses: Kept::default(),
        };
        decoder.set_parameters(parameters)?;
        Ok(decoder)
    }

    pub(super) fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), Error> {
        self.kernels.device.write_f32(self.parameters, parameters)?;
        match self.narrow == self.parameters {
            true => Ok(()),
            false => self.kernels.cast(self.narrow, self.parameters, parameters.len()),
        }
    }

    /// Returns the address of parameter `index` in the number format of products.
    pub(super) fn narrow(&self, index: usize) -> Address {
        self.narrow + index * self.pass.precision.bytes()
    }

    /// Computes the angles for all positions of rows of `length`.
    pub(super) fn fit_angles(&mut self, length: usize) -> Result<(), Error> {
        let Positions::Rotary(config) = &self.config.positions else { return Ok(()) };
        if self.angle_positions >= length {
            return Ok(());
        }
        let rotary = Rotary::<f32>::new(config, length);
        let (cosines, sines) = rotary.tables();
        let device = &mut self.kernels.device;
        if let Some((angles, _)) = self.angles.take() {
            for table in angles {
                device.free(table)?;
            }
        }
        let mut place = |table: &[f32]| {
            let to = device.allocate((4 * table.len()) as u64)?;
            device.write_f32(to, table)?;
            Ok::<_, Error>(to)
        };
        self.angles = Some(([place(cosines)?, place(sines)?], cosines.len() / length));
        self.angle_positions = length;
        Ok(())
    }

    /// Returns the bytes of the workspace for `tokens`.
    pub(super) fn workspace_bytes(&self, tokens: usize, policy: ActivationPolicy) -> usize {
        let (config, sizes, precision) = (&self.config, &self.layout.sizes, self.pass.precision);
        Workspace::new(config, sizes, precision, tokens, policy, Address::NULL).bytes
    }

    /// Allocates this number of bytes for workspaces.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<Address, Error> {
        self.room_memory.fit(self.kernels.device.as_mut(), bytes)
    }

    /// Fits the workspace to `tokens`.
    fn fit(&mut self, tokens: usize, policy: ActivationPolicy) -> Result<(), Error> {
        let base = self.reserve(self.workspace_bytes(tokens, policy))?;
        let (config, sizes, precision) = (&self.config, &self.layout.sizes, self.pass.precision);
        self.workspace = Workspace::new(config, sizes, precision, tokens, policy, base);
        Ok(())
    }

    fn shape(&self, part: MicroBatch) -> Shape {
        Shape {
            rows: part.tokens.len() / part.length,
            length: part.length,
            starts: self.workspace.starts,
            positions: self.workspace.positions,
        }
    }

    /// Copies the ids of a part to the device, computes the residual streams and returns the last one. If there is a
    /// cache, it stores the keys and values.
    pub(super) fn forward(
        &mut self,
        part: MicroBatch,
        policy: ActivationPolicy,
        cache: Option<KeyValueCache>,
    ) -> Result<Address, Error> {
        self.fit_angles(part.length)?;
        self.fit(part.tokens.len(), policy)?;
        let device = &mut self.kernels.device;
        device.write_u32(self.workspace.tokens, part.tokens)?;
        device.write_u32(self.workspace.targets, part.targets)?;
        device.write_u32(self.workspace.positions, part.positions)?;
        device.write_u32(self.workspace.starts, part.starts)?;
        let shape = self.shape(part);
        let positions = self.layout.positions.as_ref();
        let positions = positions.map_or(Address::NULL, |range| self.parameters.f32(range.start));
        let tables = [self.parameters.f32(self.layout.embedding.start), positions];
        self.kernels.embed(self.workspace.streams[0], tables, self.workspace.tokens, shape)?;
        let mut stream = 0;
        for index in 0..self.layout.blocks.len() {
            let next = if policy == ActivationPolicy::Discard { 1 - stream } else { stream + 1 };
            let saved =
                self.workspace.saved[if policy == ActivationPolicy::Keep { index } else { 0 }];
            self.block_forward(index, self.workspace.streams[stream], saved, shape, cache)?;
            self.block_finish(index, saved, self.workspace.streams[next], shape)?;
            stream = next;
        }
        Ok(self.workspace.streams[stream])
    }

    /// Computes the losses of `tokens` and, with a divisor, the gradients of the output projection and the last norm.
    fn output(
        &mut self,
        tokens: usize,
        [last, losses]: [Address; 2],
        divisor: Option<f64>,
    ) -> Result<(), Error> {
        let (sizes, bytes) = (self.layout.sizes, self.pass.precision.bytes());
        let norm = self.norm_at(&self.layout.last_norm, self.parameters);
        self.kernels.norm_forward(self.workspace.hidden, last, norm, tokens)?;
        let range = self.layout.output();
        let (weight, gradients) = (self.narrow(range.start), self.gradients);
        #[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
        let scale = divisor.map_or(0.0, |divisor| (1.0 / divisor) as f32);
        let (chunk, pitch, logits) =
            (self.workspace.chunk, self.workspace.pitch, self.workspace.logits);
        for start in (0..tokens).step_by(chunk) {
            let rows = chunk.min(tokens - start);
            let row_bytes = start * sizes.hidden * bytes;
            let (hidden, dhidden) =
                (self.workspace.hidden + row_bytes, self.workspace.dhidden + row_bytes);
            let product = Product {
                form: Form::Output,
                x: hidden,
                weight,
                y: logits,
                rows,
                inputs: sizes.hidden,
                outputs: sizes.vocabulary,
                pitch,
            };
            self.kernels.device.product(product)?;
            let (losses, targets) = (losses.f32(start), self.workspace.targets.f32(start));
            self.kernels.cross_entropy(logits, losses, targets, scale, [rows, pitch])?;
            if divisor.is_some() {
                self.kernels.device.product(Product {
                    form: Form::Input,
                    x: dhidden,
                    ..product
                })?;
            }
            if divisor.is_some() && gradients != Address::NULL {
                let weight = gradients.f32(range.start);
                self.kernels.device.product(Product { form: Form::Weight, weight, ..product })?;
            }
        }
        if divisor.is_none() {
            return Ok(());
        }
        self.kernels.device.zero(self.workspace.d, (4 * tokens * sizes.hidden) as u64)?;
        let last_norm = self.layout.last_norm.clone();
        self.backward_norm(&last_norm, last, self.workspace.dhidden, tokens)?;
        self.sum_from(last_norm.weight.start)
    }

    /// Runs the backward pass from the gradient of the last stream to the embeddings.
    fn backward(&mut self, part: MicroBatch) -> Result<(), Error> {
        let shape = self.shape(part);
        for index in (0..self.layout.blocks.len()).rev() {
            let input = self.workspace.streams[index];
            let saved = self.workspace.saved
                [if self.pass.policy == ActivationPolicy::Keep { index } else { 0 }];
            if self.pass.policy != ActivationPolicy::Keep {
                self.block_forward(index, input, saved, shape, None)?;
            }
            self.block_backward(index, input, saved, shape)?;
            self.sum_from(self.layout.blocks[index].attention_norm.weight.start)?;
        }
        if self.gradients == Address::NULL {
            return self.sum_from(0);
        }
        let table = self.gradients.f32(self.layout.embedding.start);
        self.table_backward(table, part.tokens, self.workspace.token_lists)?;
        if let Some(range) = self.layout.positions.clone() {
            let table = self.gradients.f32(range.start);
            self.table_backward(table, part.positions, self.workspace.position_lists)?;
        }
        self.sum_from(0)
    }

    /// Begins to sum the gradients from index `start` on, which are final.
    fn sum_from(&mut self, start: usize) -> Result<(), Error> {
        let ready = self.sums.as_mut().and_then(|sums| sums.ready(start));
        match ready.zip(self.tracked.as_ref()) {
            Some((ready, tracked)) => {
                self.kernels.device.sum(tracked.gradients.f32(ready.start), ready.len())
            }
            None => Ok(()),
        }
    }

    fn table_backward(&mut self, table: Address, ids: &[u32], at: Lists) -> Result<(), Error> {
        let [entries, begins, order] = lists(ids);
        let device = &mut self.kernels.device;
        device.write_u32(at.entries, &entries)?;
        device.write_u32(at.begins, &begins)?;
        device.write_u32(at.order, &order)?;
        self.kernels.embed_backward(
            table,
            self.workspace.d,
            [at.entries, at.begins, at.order],
            entries.len(),
        )
    }

    /// Computes the losses of all rows, part by part, and, with a divisor, their gradients. The host waits only for the
    /// last part: while the device computes a part, the ids of the next one are copied.
    pub(super) fn pass(
        &mut self,
        rows: &Rows,
        divisor: Option<f64>,
        stop: &AtomicBool,
    ) -> Result<Vec<f32>, Error> {
        let mut losses = vec![0.0; rows.targets.len()];
        let at_once = pass_rows(self.pass.micro_batch, rows.length);
        let policy = if divisor.is_some() { self.pass.policy } else { ActivationPolicy::Discard };
        if divisor.is_some() && self.tracked.is_none() {
            self.track(self.layout.len, None, Averaging::None)?;
        }
        let all = self.losses.fit(self.kernels.device.as_mut(), size_of_val(&losses[..]))?;
        let mut parts =
            rows.micro_batches(at_once).zip((0..).step_by(at_once * rows.length)).peekable();
        // If ranks sum gradients on their devices, each must take part in every sum.
        let may_stop = divisor.is_none() || !self.is_joined;
        while let Some((part, start)) = parts.next() {
            if may_stop {
                let what = if divisor.is_some() { "the training step" } else { "the evaluation" };
                Error::check_stop(stop, what)?;
            }
            // Only the last part sums gradients over the ranks, because each part adds to the gradients of the parts
            // before it.
            let sums = self.is_joined && divisor.is_some() && parts.peek().is_none();
            self.sums = self.tracked.as_ref().filter(|_| sums).map(|tracked| {
                // An adapter's gradients are final only at the end of the backward pass.
                let least = if tracked.adapter.is_some() { usize::MAX } else { self.bucket };
                Buckets::new(tracked.len, least)
            });
            let last = self.forward(part, policy, None)?;
            self.output(part.tokens.len(), [last, all.f32(start)], divisor)?;
            if divisor.is_some() {
                self.backward(part)?;
            }
            if sums {
                self.kernels.device.finish_sums()?;
            }
        }
        self.kernels.device.read_f32(&mut losses, all)?;
        Ok(losses)
    }
}

/// Returns the distinct ids in order, the beginning of each id's places in the last list, and the places in order.
fn lists(ids: &[u32]) -> [Vec<u32>; 3] {
    let mut order: Vec<u32> = (0..).take(ids.len()).collect();
    order.sort_by_key(|&place| ids[place as usize]);
    let (mut entries, mut begins): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for (at, &place) in (0..).zip(&order) {
        let id = ids[place as usize];
        if entries.last() != Some(&id) {
            entries.push(id);
            begins.push(at);
        }
    }
    begins.extend((0..).take(ids.len() + 1).last());
    [entries, begins, order]
}

#[cfg(test)]
mod tests {
    use super::pass_rows;

    #[test]
    fn a_pass_has_no_more_rows_than_a_grid_takes() {
        assert_eq!(pass_rows(Some(100_000), 16), 65_535);
        assert_eq!(pass_rows(Some(7), 16), 7);
        assert_eq!(pass_rows(None, 1 << 20), 1);
    }
}
