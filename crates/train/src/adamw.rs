//! AdamW with decoupled weight decay, in one pass over each tensor.
//!
//! candle-nn's own keeps its moments to itself, so that no run could be resumed bit for bit, decays
//! norms like matrices, and makes about fifteen new tensors a parameter.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, bail};
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::error::Error;
use crate::gradients::Gradients;
use crate::model::Parameter;
use crate::ops::elementwise::square_sum;
use crate::ops::host;

/// Numbers of one task.
const TASK_LEN: usize = 1 << 14;

/// The constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Share of a matrix, times the learning rate, that a step takes away.
    pub weight_decay: f64,
    /// The largest global gradient norm; larger gradients are scaled down to it.
    pub clip: f64,
}

/// Running moments of one parameter's gradient.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// The optimiser of one model's parameters, in their order.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    moments: Vec<Moments>,
    steps: u64,
}

impl AdamW {
    /// An optimiser that has done no step.
    pub fn new(parameters: &[Parameter], options: AdamWOptions) -> Self {
        let zero = |parameter: &Parameter| vec![0.0; parameter.var.elem_count()];
        let moments =
            parameters.iter().map(|p| Moments { first: zero(p), second: zero(p) }).collect();
        Self { options, moments, steps: 0 }
    }

    /// One that goes on after `steps` steps.
    pub(crate) fn resumed(options: AdamWOptions, moments: Vec<Moments>, steps: u64) -> Self {
        Self { options, moments, steps }
    }

    /// Moments of all parameters, in their order.
    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the parameters by one step and gives the global norm the gradients had before
    /// clipping. Where that is not finite nothing is changed.
    ///
    /// # Errors
    /// Gradients that are not of these parameters.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &Gradients,
        learning_rate: f64,
    ) -> Result<f64, Error> {
        let norm = gradient_norm(gradients)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let values = parameters.iter().zip(gradients.tensors());
        for ((parameter, gradient), moments) in values.zip(&mut self.moments) {
            let decay = if parameter.decays() { self.options.weight_decay } else { 0.0 };
            let factors = factors(&self.options, self.steps, learning_rate, decay, norm);
            parameter
                .var
                .inplace_op2(gradient, &Update { factors, moments: Mutex::new(moments) })?;
        }
        Ok(norm)
    }
}

/// The root of the sum of squares of all gradients, summed in the parameters' order.
fn gradient_norm(gradients: &Gradients) -> Result<f64, Error> {
    let mut sum = 0.0;
    for gradient in gradients.tensors() {
        let parts: Vec<f64> = host::with_numbers(gradient, |values| {
            Ok(values.par_chunks(TASK_LEN).map(square_sum).collect())
        })?;
        sum += parts.iter().sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// What the inner loop multiplies by.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    keep: f32,
    beta1: f32,
    one_less_beta1: f32,
    beta2: f32,
    one_less_beta2: f32,
    inverse_correction2: f32,
    epsilon: f32,
    rate: f32,
}

#[expect(clippy::cast_possible_truncation, reason = "the inner loop is f32 by definition")]
#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn factors(
    options: &AdamWOptions,
    steps: u64,
    learning_rate: f64,
    decay: f64,
    norm: f64,
) -> Factors {
    let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
    Factors {
        // The millionth is PyTorch's, which the committed curve follows.
        gradient: (options.clip / (norm + 1e-6)).min(1.0) as f32,
        keep: (1.0 - learning_rate * decay) as f32,
        beta1: options.beta1 as f32,
        one_less_beta1: (1.0 - options.beta1) as f32,
        beta2: options.beta2 as f32,
        one_less_beta2: (1.0 - options.beta2) as f32,
        inverse_correction2: (1.0 / correction(options.beta2).sqrt()) as f32,
        epsilon: options.epsilon as f32,
        rate: (learning_rate / correction(options.beta1)) as f32,
    }
}

struct Update<'a> {
    factors: Factors,
    moments: Mutex<&'a mut Moments>,
}

fn update(f: Factors, weights: &mut [f32], gradients: &[f32], m: &mut [f32], v: &mut [f32]) {
    let values = weights.iter_mut().zip(gradients).zip(m.iter_mut().zip(v));
    for ((weight, gradient), (first, second)) in values {
        let gradient = gradient * f.gradient;
        *first = *first * f.beta1 + gradient * f.one_less_beta1;
        *second = *second * f.beta2 + gradient * gradient * f.one_less_beta2;
        let root = second.sqrt() * f.inverse_correction2 + f.epsilon;
        *weight = *weight * f.keep - f.rate * *first / root;
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        layout: &Layout,
        gradients: &CpuStorage,
        gradients_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradients = host::numbers(gradients, gradients_layout)?;
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (CpuStorage::F32(weights), Some((start, end))) = (weights, layout.contiguous_offsets())
        else {
            bail!("adamw: expected contiguous f32 weights")
        };
        let weights = &mut weights[start..end];
        let Moments { first, second } = &mut **moments;
        if [gradients.len(), first.len(), second.len()] != [weights.len(); 3] {
            bail!("adamw: expected {} gradients, got {}", weights.len(), gradients.len())
        }
        weights
            .par_chunks_mut(TASK_LEN)
            .zip(gradients.par_chunks(TASK_LEN))
            .zip(first.par_chunks_mut(TASK_LEN).zip(second.par_chunks_mut(TASK_LEN)))
            .for_each(|((weights, gradients), (first, second))| {
                update(self.factors, weights, gradients, first, second);
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::{AdamW, AdamWOptions};
    use crate::gradients::Gradients;
    use crate::model::Parameter;

    /// The gradients of the sum of all squares.
    fn gradients(parameters: &[Parameter]) -> Gradients {
        let doubled = parameters.iter().map(|p| (p.var.as_tensor().detach() * 2.0).unwrap());
        Gradients::from_tensors(doubled.collect())
    }

    fn parameter(name: &str, values: &[f32], shape: &[usize]) -> Parameter {
        let var = Var::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
        Parameter { name: name.to_owned(), var }
    }

    /// The textbook's formula, number by number in f64.
    #[test]
    fn steps_follow_the_formula_and_norms_do_not_decay() {
        let options =
            AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 0.5 };
        let start = [0.5_f32, -1.5, 2.0];
        let parameters = [parameter("matrix", &start, &[1, 3]), parameter("norm", &start, &[3])];
        let mut optimiser = AdamW::new(&parameters, options);
        let mut expected = [start.map(f64::from); 2];
        let (mut m, mut v) = ([[0.0; 3]; 2], [[0.0; 3]; 2]);
        for step in 1..=4 {
            let gradients = gradients(&parameters);
            let norm = optimiser.step(&parameters, &gradients, 0.01).unwrap();
            let exact = expected.iter().flatten().map(|w| 4.0 * w * w).sum::<f64>().sqrt();
            assert!((norm - exact).abs() < 1e-5);
            for p in 0..2 {
                for i in 0..3 {
                    let g = 2.0 * expected[p][i] * 0.5 / (exact + 1e-6);
                    m[p][i] = 0.9 * m[p][i] + 0.1 * g;
                    v[p][i] = 0.95 * v[p][i] + 0.05 * g * g;
                    let corrected = m[p][i] / (1.0 - 0.9f64.powi(step));
                    let root = (v[p][i] / (1.0 - 0.95f64.powi(step))).sqrt() + 1e-8;
                    let decay = if p == 0 { 0.01 * 0.1 } else { 0.0 };
                    expected[p][i] = expected[p][i] * (1.0 - decay) - 0.01 * corrected / root;
                }
                let got = parameters[p].var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for i in 0..3 {
                    assert!((f64::from(got[i]) - expected[p][i]).abs() < 1e-6);
                }
            }
        }
        assert_eq!(optimiser.steps(), 4);
    }

    #[test]
    fn a_nan_changes_nothing_and_foreign_gradients_are_refused() {
        let options =
            AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 0.5 };
        let parameters = [parameter("a", &[1.0], &[1]), parameter("b", &[f32::NAN], &[1])];
        let mut optimiser = AdamW::new(&parameters, options);
        assert!(optimiser.step(&parameters, &gradients(&parameters), 0.1).unwrap().is_nan());
        assert_eq!(parameters[0].var.to_vec1::<f32>().unwrap(), [1.0]);
        assert_eq!(optimiser.steps(), 0);
        let other = gradients(&[parameter("c", &[1.0, 2.0], &[2])]);
        assert!(optimiser.step(&parameters, &other, 0.1).is_err());
    }
}
