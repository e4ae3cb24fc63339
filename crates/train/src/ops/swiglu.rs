//! SwiGLU's gate: `silu(gate) · up`, the two side by side in one row.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::elementwise::exponential;
use super::host;

/// Rows of one task.
const TASK_ROWS: usize = 32;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exponential(-x))
}

/// `silu(x[.., ..width]) · x[.., width..]` for x \[rows, 2·width\].
pub(crate) struct SwiGlu;

fn forward_rows(x: &[f32], width: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (gate, up) = x.split_at(width);
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate * sigmoid(*gate) * up;
        }
    }
}

fn backward_rows(x: &[f32], gradient: &[f32], width: usize, dx: &mut [f32]) {
    let rows = x.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
    for ((x, g), dx) in rows.zip(dx.chunks_exact_mut(2 * width)) {
        let (gate, up) = x.split_at(width);
        let (dgate, dup) = dx.split_at_mut(width);
        for i in 0..width {
            let share = sigmoid(gate[i]);
            let silu = gate[i] * share;
            dgate[i] = g[i] * up[i] * (share + silu * (1.0 - share));
            dup[i] = g[i] * silu;
        }
    }
}

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, both) = layout.shape().dims2()?;
        let width = both / 2;
        if width == 0 || both % 2 != 0 {
            bail!("swiglu: expected rows of an even number of values, got {both}")
        }
        let x = host::numbers(x, layout)?;
        let mut y = vec![0.0; rows * width];
        y.par_chunks_mut(TASK_ROWS * width)
            .zip(x.par_chunks(TASK_ROWS * both))
            .for_each(|(y, x)| forward_rows(x, width, y));
        Ok(host::output(y, (rows, width)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (rows, both) = x.dims2()?;
        let width = both / 2;
        let mut dx = vec![0.0; rows * both];
        host::with_numbers(x, |x| {
            host::with_numbers(gradient, |g| {
                let inputs = x.par_chunks(TASK_ROWS * both).zip(g.par_chunks(TASK_ROWS * width));
                dx.par_chunks_mut(TASK_ROWS * both)
                    .zip(inputs)
                    .for_each(|(dx, (x, g))| backward_rows(x, g, width, dx));
                Ok(())
            })
        })?;
        Ok(Some(host::tensor(dx, x.shape())?))
    }
}

#[cfg(test)]
mod tests {
    use super::SwiGlu;
    use crate::ops::check::{Operand, check};

    #[test]
    fn gradients_agree_with_central_differences() {
        let width = 9;
        let mut x = Operand::new(&[37, 2 * width], 1);
        x.values.iter_mut().for_each(|value| *value *= 6.0);
        check(&[x], 1e-6, &|t| t[0].apply_op1(SwiGlu), &|v| {
            let mut y = Vec::new();
            for row in v[0].chunks(2 * width) {
                y.extend((0..width).map(|i| row[i] / (1.0 + (-row[i]).exp()) * row[width + i]));
            }
            y
        });
    }
}
