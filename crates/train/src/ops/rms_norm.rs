//! RMSNorm: `y = x / sqrt(mean(x²) + ε) · w`, row by row.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::elementwise::{dot, dot3};
use super::host;

/// Rows of one task; the weight's gradient is summed task by task in order.
const TASK_ROWS: usize = 64;

/// Normalises x \[rows, width\] by a weight \[width\].
pub(crate) struct RmsNorm {
    /// ε, added to the mean of squares.
    pub(crate) epsilon: f32,
}

/// `1 / sqrt(mean(x²) + ε)`.
#[expect(clippy::cast_precision_loss, reason = "a row is far shorter than 2^24 numbers")]
fn inverse_norm(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt()
}

fn forward_rows(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let scale = inverse_norm(x, epsilon);
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * w;
        }
    }
}

/// Writes dx and adds to dw: with s the inverse norm, `dx = s·(g·w − x·s²·mean(g·w·x))`.
#[expect(clippy::cast_precision_loss, reason = "a row is far shorter than 2^24 numbers")]
fn backward_rows(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    epsilon: f32,
    dx: &mut [f32],
) -> Vec<f32> {
    let width = weight.len();
    let mut dw = vec![0.0; width];
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
    for ((x, g), dx) in rows.zip(dx.chunks_exact_mut(width)) {
        let scale = inverse_norm(x, epsilon);
        let mean = dot3(g, weight, x) / width as f32;
        let correction = mean * scale * scale * scale;
        for i in 0..width {
            dx[i] = g[i] * weight[i] * scale - x[i] * correction;
            dw[i] += g[i] * x[i] * scale;
        }
    }
    dw
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = x_layout.shape().dims2()?;
        if weight_layout.dims() != [width] {
            bail!("rms-norm: expected {width} weights, got {:?}", weight_layout.dims())
        }
        let x = host::numbers(x, x_layout)?;
        let weight = host::numbers(weight, weight_layout)?;
        let mut y = vec![0.0; rows * width];
        let part = TASK_ROWS * width;
        y.par_chunks_mut(part)
            .zip(x.par_chunks(part))
            .for_each(|(y, x)| forward_rows(x, weight, self.epsilon, y));
        Ok(host::output(y, (rows, width)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut dx = vec![0.0; x.elem_count()];
        let mut dw = vec![0.0; weight.elem_count()];
        let part = TASK_ROWS * dw.len();
        let parts: Vec<Vec<f32>> = host::with_numbers(x, |x| {
            host::with_numbers(weight, |weight| {
                host::with_numbers(gradient, |g| {
                    let inputs = x.par_chunks(part).zip(g.par_chunks(part));
                    Ok(dx
                        .par_chunks_mut(part)
                        .zip(inputs)
                        .map(|(dx, (x, g))| backward_rows(x, weight, g, self.epsilon, dx))
                        .collect())
                })
            })
        })?;
        for part in parts {
            dw.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        Ok((Some(host::tensor(dx, x.shape())?), Some(host::tensor(dw, weight.shape())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::RmsNorm;
    use crate::ops::check::{Operand, check};

    #[test]
    fn gradients_agree_with_central_differences() {
        let (rows, width) = (70, 5);
        check(
            &[Operand::new(&[rows, width], 1), Operand::new(&[width], 2)],
            2e-6,
            &|t| t[0].apply_op2(&t[1], RmsNorm { epsilon: 1e-2 }),
            &|v| {
                let mut y = Vec::new();
                for row in v[0].chunks(width) {
                    let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
                    y.extend(row.iter().zip(&v[1]).map(|(x, w)| x * w / (mean + 1e-2).sqrt()));
                }
                y
            },
        );
    }
}
