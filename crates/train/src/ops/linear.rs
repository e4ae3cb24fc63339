//! `y = x · Wᵀ`, and the same added to a residual.
//!
//! candle's own `matmul` gives the same numbers, but its backward pass transposes by copies and
//! partitions by the number of threads.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::host;
use super::matrix::{Matrix, add_product, product};

/// Rows of the input, its width and the width of the result.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Sizes {
    fn of(x: &Shape, weight: &Shape) -> Result<Self> {
        let (rows, inputs) = x.dims2()?;
        let (outputs, expected) = weight.dims2()?;
        if inputs != expected {
            bail!("linear: expected rows of {expected} numbers, got {inputs}")
        }
        Ok(Self { rows, inputs, outputs })
    }
}

fn backward(x: &Tensor, weight: &Tensor, gradient: &Tensor) -> Result<(Tensor, Tensor)> {
    let sizes = Sizes::of(x.shape(), weight.shape())?;
    let Sizes { rows, inputs, outputs } = sizes;
    let (dx, dw) = host::with_numbers(gradient, |g| {
        let g = Matrix::new(g, rows, outputs);
        let dx = host::with_numbers(weight, |w| Ok(product(g, Matrix::new(w, outputs, inputs))))?;
        let dw =
            host::with_numbers(x, |x| Ok(product(g.transposed(), Matrix::new(x, rows, inputs))))?;
        Ok((dx, dw))
    })?;
    Ok((host::tensor(dx, x.shape())?, host::tensor(dw, weight.shape())?))
}

/// `x · Wᵀ` for x \[rows, inputs\] and W \[outputs, inputs\].
pub(crate) struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(x_layout.shape(), weight_layout.shape())?;
        let x = Matrix::new(host::numbers(x, x_layout)?, sizes.rows, sizes.inputs);
        let weight = host::numbers(weight, weight_layout)?;
        let weight = Matrix::new(weight, sizes.outputs, sizes.inputs);
        Ok(host::output(product(x, weight.transposed()), (sizes.rows, sizes.outputs)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = backward(x, weight, gradient)?;
        Ok((Some(dx), Some(dw)))
    }
}

/// `residual + x · Wᵀ` for x \[rows, inputs\], W \[outputs, inputs\] and residual \[rows, outputs\].
pub(crate) struct LinearAdd;

impl CustomOp3 for LinearAdd {
    fn name(&self) -> &'static str {
        "linear-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(x_layout.shape(), weight_layout.shape())?;
        if residual_layout.dims() != [sizes.rows, sizes.outputs] {
            bail!(
                "linear-add: expected a residual of {:?}, got {:?}",
                (sizes.rows, sizes.outputs),
                residual_layout.dims()
            )
        }
        let x = Matrix::new(host::numbers(x, x_layout)?, sizes.rows, sizes.inputs);
        let weight = host::numbers(weight, weight_layout)?;
        let weight = Matrix::new(weight, sizes.outputs, sizes.inputs);
        let mut values = host::numbers(residual, residual_layout)?.to_vec();
        add_product(&mut values, x, weight.transposed());
        Ok(host::output(values, (sizes.rows, sizes.outputs)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _residual: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = backward(x, weight, gradient)?;
        Ok((Some(dx), Some(dw), Some(gradient.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::{Linear, LinearAdd};
    use crate::ops::check::{Operand, check};

    fn reference(x: &[f64], w: &[f64], rows: usize, inputs: usize, outputs: usize) -> Vec<f64> {
        let mut y = vec![0.0; rows * outputs];
        for r in 0..rows {
            for o in 0..outputs {
                y[r * outputs + o] =
                    (0..inputs).map(|i| x[r * inputs + i] * w[o * inputs + i]).sum();
            }
        }
        y
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        check(
            &[Operand::new(&[5, 7], 1), Operand::new(&[3, 7], 2)],
            1e-6,
            &|t| t[0].apply_op2(&t[1], Linear),
            &|v| reference(&v[0], &v[1], 5, 7, 3),
        );
        check(
            &[Operand::new(&[40, 6], 1), Operand::new(&[3, 6], 2), Operand::new(&[40, 3], 3)],
            1e-6,
            &|t| t[0].apply_op3(&t[1], &t[2], LinearAdd),
            &|v| {
                let y = reference(&v[0], &v[1], 40, 6, 3);
                y.iter().zip(&v[2]).map(|(a, b)| a + b).collect()
            },
        );
    }

    #[test]
    fn wrong_widths_are_refused() {
        let x =
            candle_core::Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu);
        let w =
            candle_core::Tensor::zeros((4, 5), candle_core::DType::F32, &candle_core::Device::Cpu);
        assert!(
            x.unwrap()
                .apply_op2(&w.unwrap(), Linear)
                .unwrap_err()
                .to_string()
                .contains("rows of 5")
        );
    }
}
