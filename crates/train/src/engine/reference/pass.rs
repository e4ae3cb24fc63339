//! One forward pass in composed candle operations, each as defined by transformers' modules.
//!
//! candle's GELUs are not used: their gradients have constants of only six digits.

use candle_core::{D, Result as TensorResult, Tensor, WithDType};

use super::leaves::Leaves;
use super::places::Places;
use crate::engine::rows::Rows;
use crate::error::Error;
use crate::model::config::{Activation, ModelConfig, Norm};
use crate::model::layout::{BlockLayout, Layout, LinearRange, NormRange};

/// A forward pass, in which hidden states are \[rows · length, hidden\] and heads are \[rows, heads, length,
/// head_width\].
pub(super) struct Pass<'a, W> {
    pub(super) config: &'a ModelConfig,
    pub(super) layout: &'a Layout,
    pub(super) leaves: Leaves<'a, W>,
    pub(super) places: Places,
}

impl<W: WithDType> Pass<'_, W> {
    /// Returns the logits, \[rows · length, vocabulary\].
    pub(super) fn logits(&mut self, rows: &Rows) -> Result<Tensor, Error> {
        let layout = self.layout;
        let table = [layout.sizes.vocabulary, layout.sizes.hidden];
        let embedding = self.leaves.take("embedding".to_owned(), &layout.embedding, &table)?;
        let mut hidden = select(&embedding, &rows.tokens)?;
        if let Some(range) = &layout.positions {
            let shape = [layout.sizes.positions, layout.sizes.hidden];
            let learned = self.leaves.take("positions".to_owned(), range, &shape)?;
            hidden = (hidden + select(&learned, &rows.positions)?)?;
        }
        for (idx, block) in layout.blocks.iter().enumerate() {
            hidden = self.block(&format!("block {idx}"), block, &hidden)?;
        }
        let hidden = self.norm("last_norm", &layout.last_norm, &hidden)?;
        let output = match &layout.head {
            None => embedding,
            Some(range) => self.leaves.take("head".to_owned(), range, &table)?,
        };
        Ok(hidden.matmul(&output.t()?)?)
    }

    fn block(&mut self, name: &str, layout: &BlockLayout, x: &Tensor) -> Result<Tensor, Error> {
        let normed = self.norm(&format!("{name} attention_norm"), &layout.attention_norm, x)?;
        let attended = (x + self.attention(name, layout, &normed)?)?;
        let mlp_input = if self.config.parallel_residual { x } else { &attended };
        let normed = self.norm(&format!("{name} mlp_norm"), &layout.mlp_norm, mlp_input)?;
        Ok((&attended + self.mlp(name, layout, &normed)?)?)
    }

    fn attention(&mut self, name: &str, layout: &BlockLayout, x: &Tensor) -> Result<Tensor, Error> {
        let sizes = self.layout.sizes;
        let (heads, shared) = (sizes.heads, sizes.key_value_heads);
        let qkv = self.linear(&format!("{name} qkv"), &layout.qkv, x, sizes.qkv())?;
        let mut queries = self.heads(&qkv, 0, heads)?;
        let mut keys = self.heads(&qkv, heads, shared)?;
        let values = self.heads(&qkv, heads + shared, shared)?;
        if let (Some(query_norm), Some(key_norm)) = (&layout.query_norm, &layout.key_norm) {
            let width = [sizes.head_width];
            let weight = self.leaves.take(format!("{name} query_norm"), query_norm, &width)?;
            queries = rms_norm(&queries, self.config.norm_epsilon)?.broadcast_mul(&weight)?;
            let weight = self.leaves.take(format!("{name} key_norm"), key_norm, &width)?;
            keys = rms_norm(&keys, self.config.norm_epsilon)?.broadcast_mul(&weight)?;
        }
        if let Some((cosines, sines)) = &self.places.rotary {
            queries = turn(&queries, cosines, sines)?;
            keys = turn(&keys, cosines, sines)?;
        }
        let [keys, values] = [repeat(&keys, heads / shared)?, repeat(&values, heads / shared)?];
        let mixed = mix(&queries, &keys, &values, &self.places.mask)?;
        let rows = self.places.rows * self.places.length;
        let mixed = mixed.transpose(1, 2)?.reshape((rows, sizes.attended()))?;
        self.linear(&format!("{name} output"), &layout.output, &mixed, sizes.hidden)
    }

    /// Returns `count` heads of each row of queries, keys and values, starting at head `first`.
    fn heads(&self, qkv: &Tensor, first: usize, count: usize) -> TensorResult<Tensor> {
        let width = self.layout.sizes.head_width;
        qkv.narrow(1, first * width, count * width)?
            .reshape((self.places.rows, self.places.length, count, width))?
            .transpose(1, 2)?
            .contiguous()
    }

    fn mlp(&mut self, name: &str, layout: &BlockLayout, x: &Tensor) -> Result<Tensor, Error> {
        let sizes = self.layout.sizes;
        let up = self.linear(&format!("{name} up"), &layout.up, x, sizes.up)?;
        let active = match self.config.activation {
            Activation::SwiGlu => {
                let gate = up.narrow(1, 0, sizes.inner)?.silu()?;
                (gate * up.narrow(1, sizes.inner, sizes.inner)?)?
            }
            Activation::Gelu => gelu(&up)?,
            Activation::GeluTanh => gelu_tanh(&up)?,
        };
        self.linear(&format!("{name} down"), &layout.down, &active, sizes.hidden)
    }

    fn linear(
        &mut self,
        name: &str,
        range: &LinearRange,
        x: &Tensor,
        outputs: usize,
    ) -> Result<Tensor, Error> {
        let shape = [outputs, x.dim(1)?];
        let weight = self.leaves.take(format!("{name}.weight"), &range.weight, &shape)?;
        let product = x.matmul(&weight.t()?)?;
        self.biased(name, range.bias.as_ref(), product)
    }

    fn norm(&mut self, name: &str, range: &NormRange, x: &Tensor) -> Result<Tensor, Error> {
        let width = [self.layout.sizes.hidden];
        let weight = self.leaves.take(format!("{name}.weight"), &range.weight, &width)?;
        let epsilon = self.config.norm_epsilon;
        let normed = match self.config.norm {
            Norm::Rms => rms_norm(x, epsilon)?,
            // The biased variance is the mean square of the centered numbers.
            Norm::Layer => rms_norm(&x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?, epsilon)?,
        };
        self.biased(name, range.bias.as_ref(), normed.broadcast_mul(&weight)?)
    }

    fn biased(
        &mut self,
        name: &str,
        range: Option<&std::ops::Range<usize>>,
        x: Tensor,
    ) -> Result<Tensor, Error> {
        let Some(range) = range else { return Ok(x) };
        let bias = self.leaves.take(format!("{name}.bias"), range, &[range.len()])?;
        Ok(x.broadcast_add(&bias)?)
    }
}

/// The rows of `table` with the given `ids`.
fn select(table: &Tensor, ids: &[u32]) -> TensorResult<Tensor> {
    table.index_select(&Tensor::from_slice(ids, ids.len(), table.device())?, 0)
}

/// `x / √(mean(x²) + ε)` along the last dimension.
fn rms_norm(x: &Tensor, epsilon: f64) -> TensorResult<Tensor> {
    x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?)
}

/// Rotates pairs (i, i + n) of a head's first 2n numbers, with n cosines per position.
fn turn(heads: &Tensor, cosines: &Tensor, sines: &Tensor) -> TensorResult<Tensor> {
    let half = cosines.dim(D::Minus1)?;
    let first = heads.narrow(D::Minus1, 0, half)?;
    let second = heads.narrow(D::Minus1, half, half)?;
    let turned_first = (first.broadcast_mul(cosines)? - second.broadcast_mul(sines)?)?;
    let turned_second = (second.broadcast_mul(cosines)? + first.broadcast_mul(sines)?)?;
    let rest = heads.dim(D::Minus1)? - 2 * half;
    let rest = (rest > 0).then(|| heads.narrow(D::Minus1, 2 * half, rest)).transpose()?;
    let parts: Vec<Tensor> = [turned_first, turned_second].into_iter().chain(rest).collect();
    Tensor::cat(&parts, D::Minus1)
}

/// Repeats each head `times` times: head h of the result is head h / `times`.
fn repeat(heads: &Tensor, times: usize) -> TensorResult<Tensor> {
    let (rows, count, length, width) = heads.dims4()?;
    heads.unsqueeze(2)?.broadcast_as((rows, count, times, length, width))?.reshape((
        rows,
        count * times,
        length,
        width,
    ))
}

/// `softmax(queries · keysᵀ / √width + mask) · values`.
#[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^53")]
fn mix(queries: &Tensor, keys: &Tensor, values: &Tensor, mask: &Tensor) -> TensorResult<Tensor> {
    let width = queries.dim(D::Minus1)? as f64;
    let scores = (queries.matmul(&keys.t()?)? / width.sqrt())?.broadcast_add(mask)?;
    let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?.matmul(values)
}

/// `x/2 · (1 + erf(x/√2))`.
fn gelu(x: &Tensor) -> TensorResult<Tensor> {
    (x * 0.5)? * ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
fn gelu_tanh(x: &Tensor) -> TensorResult<Tensor> {
    let cubic = (x + ((x.sqr()? * x)? * 0.044_715)?)?;
    (x * 0.5)? * ((cubic * (2.0 / std::f64::consts::PI).sqrt())?.tanh()? + 1.0)?
}
