//! AdamW with decoupled weight decay, in one pass over the flat buffers.

use std::ops::Range;

use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use crate::engine::kernels::elementwise::square_sum;
use crate::engine::kernels::number::vectorised;
use crate::error::Error;
use crate::model::Model;
use crate::model::layout::Layout;

/// The numbers of one parallel task.
const TASK_LEN: usize = 1 << 14;

/// The constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// β₁: the decay of the first moment.
    pub beta1: f64,
    /// β₂: the decay of the second moment.
    pub beta2: f64,
    /// ε, which is added to the root of the second moment.
    pub epsilon: f64,
    /// The share of a matrix, times the learning rate, that a step subtracts.
    pub weight_decay: f64,
    /// The largest global gradient norm; larger gradients are scaled down to it.
    pub clip: f64,
}

/// The optimizer of one model's parameters.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    /// The ranges of the buffer in order.
    ranges: Vec<(Range<usize>, Update)>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
}

/// The effect of a step on a range of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// They stay, and their gradients do not count for the norm.
    Frozen,
    /// They change without weight decay.
    Plain,
    /// They change with weight decay.
    Decayed,
}

/// The same range of all four buffers.
struct Task<'a> {
    update: Update,
    parameters: &'a mut [f32],
    gradients: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl AdamW {
    /// Makes an optimizer for the parameters of `model`, before its first step.
    ///
    /// # Errors
    /// There is not enough memory for the moments.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mixdown_mixer::Batch;
    /// use mixdown_train::{AdamW, AdamWOptions, FreshModel, Model};
    ///
    /// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
    /// let mut model = Model::new(&shape.config(8), 3)?;
    /// let options =
    ///     AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 };
    /// let mut optimizer = AdamW::new(&model, options)?;
    /// let batch =
    ///     Batch { tokens: vec![1, 2, 3, 4, 5], rows: 1, sequence_length: 4, ..Batch::default() };
    /// let mut gradients = model.zero_gradients()?;
    /// let before = model.losses_and_gradients(&batch, batch.loss_targets(), &mut gradients)?;
    /// optimizer.step(&mut model, &mut gradients, 1e-3)?;
    /// let after = model.losses(&batch)?;
    /// assert!(after.iter().sum::<f32>() < before.iter().sum::<f32>());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(model: &Model, options: AdamWOptions) -> Result<Self, Error> {
        let zeros = || model.zero_gradients();
        Ok(Self::resumed(model.layout(), options, [zeros()?, zeros()?], 0))
    }

    /// Returns an optimizer that continues after `steps` steps with these moments.
    pub(crate) fn resumed(
        layout: &Layout,
        options: AdamWOptions,
        [first, second]: [Vec<f32>; 2],
        steps: u64,
    ) -> Self {
        Self::of(ranges(layout), options, [first, second], steps)
    }

    /// Returns an optimizer over `ranges`, which are in order and cover the buffer.
    pub(crate) fn of(
        ranges: Vec<(Range<usize>, Update)>,
        options: AdamWOptions,
        [first, second]: [Vec<f32>; 2],
        steps: u64,
    ) -> Self {
        Self { options, ranges, first, second, steps }
    }

    /// Returns the same optimizer with these parts of the buffer frozen, which are in order and do not overlap.
    pub(crate) fn without(mut self, frozen: &[Range<usize>]) -> Self {
        self.ranges = self.ranges.iter().flat_map(|range| parts(range, frozen)).collect();
        self
    }

    /// Continues after `steps` steps with moments that the caller fills in.
    pub(crate) fn resume(&mut self, steps: u64) -> [&mut [f32]; 2] {
        self.steps = steps;
        [&mut self.first, &mut self.second]
    }

    /// Returns the first and second moments, in the layout of the parameters.
    pub(crate) fn moments(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn moments_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.first, &mut self.second]
    }

    /// Does what [`step`](Self::step) does with parameters, gradients and moments on a device.
    #[cfg(feature = "cuda")]
    pub(crate) fn step_on_device(
        &mut self,
        device: &mut dyn crate::engine::Resident,
        learning_rate: f64,
    ) -> Result<f64, Error> {
        let frozen = |range: &&(Range<usize>, Update)| range.1 == Update::Frozen;
        let frozen = self.ranges.iter().filter(frozen).map(|(range, _)| range.clone());
        device.zero_gradients(&frozen.collect::<Vec<_>>())?;
        let norm = device.gradient_norm()?;
        if !norm.is_finite() {
            let whole = 0..self.first.len();
            device.zero_gradients(&[whole])?;
            return Ok(norm);
        }
        self.steps += 1;
        let of =
            |decay: f64| factors(&self.options, self.steps, learning_rate, decay, norm).update();
        let (plain, decayed) = (of(0.0), of(self.options.weight_decay));
        let updates = joined(&self.ranges).into_iter();
        let updates = updates.filter_map(|(range, update)| match update {
            Update::Decayed => Some((range, decayed)),
            Update::Plain => Some((range, plain)),
            Update::Frozen => None,
        });
        device.update(&updates.collect::<Vec<_>>())?;
        Ok(norm)
    }

    /// Returns the number of steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the model's parameters by one step, sets the gradients to zero, and returns their global norm before
    /// clipping. If the norm is not finite, no parameter is changed.
    ///
    /// # Errors
    /// The model or the gradients do not have the length of this optimizer's buffers.
    pub fn step(
        &mut self,
        model: &mut Model,
        gradients: &mut [f32],
        learning_rate: f64,
    ) -> Result<f64, Error> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = model.engine_mut().resident() {
            return self.step_on_device(resident, learning_rate);
        }
        let expected = self.first.len();
        match [model.parameters().len(), gradients.len()].into_iter().find(|len| *len != expected) {
            Some(got) => Err(Error::setting("gradients", format!("{expected} numbers"), got)),
            None => Ok(self.update(model.parameters_mut(), gradients, learning_rate)),
        }
    }

    /// Does what [`step`](Self::step) does, for buffers of this optimizer's length.
    pub(crate) fn update(
        &mut self,
        parameters: &mut [f32],
        gradients: &mut [f32],
        learning_rate: f64,
    ) -> f64 {
        for (range, update) in &self.ranges {
            if *update == Update::Frozen {
                gradients[range.clone()].fill(0.0);
            }
        }
        let norm = norm(gradients);
        if !norm.is_finite() {
            gradients.fill(0.0);
            return norm;
        }
        self.steps += 1;
        let of = |decay: f64| factors(&self.options, self.steps, learning_rate, decay, norm);
        let (plain, decayed) = (of(0.0), of(self.options.weight_decay));
        let mut tasks = Vec::new();
        let mut rest = Task {
            update: Update::Frozen,
            parameters,
            gradients,
            first: &mut self.first,
            second: &mut self.second,
        };
        for (range, update) in &self.ranges {
            if *update == Update::Frozen {
                rest = rest.split(range.len()).1;
                continue;
            }
            let mut left = range.len();
            while left > 0 {
                let (mut task, after) = rest.split(left.min(TASK_LEN));
                task.update = *update;
                left -= task.parameters.len();
                tasks.push(task);
                rest = after;
            }
        }
        tasks.into_par_iter().with_min_len(4).for_each(|task| {
            vectorised(
                #[inline(always)]
                || update_task(if task.update == Update::Decayed { decayed } else { plain }, task),
            );
        });
        norm
    }
}

/// Weights decay; norms and biases do not.
fn ranges(layout: &Layout) -> Vec<(Range<usize>, Update)> {
    let mut ranges = Vec::new();
    let mut end = 0;
    for matrix in layout.matrices() {
        ranges.push((end..matrix.start, Update::Plain));
        end = matrix.end;
        ranges.push((matrix, Update::Decayed));
    }
    ranges.push((end..layout.len, Update::Plain));
    ranges
}

/// Merges neighboring ranges with the same effect, because each range is a kernel launch.
#[cfg(feature = "cuda")]
fn joined(ranges: &[(Range<usize>, Update)]) -> Vec<(Range<usize>, Update)> {
    let mut joined: Vec<(Range<usize>, Update)> = Vec::new();
    for (range, update) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
        match joined.last_mut().filter(|last| last.1 == *update) {
            Some(last) => last.0.end = range.end,
            None => joined.push((range.clone(), *update)),
        }
    }
    joined
}

/// Splits a range at its frozen parts.
fn parts(
    (range, update): &(Range<usize>, Update),
    frozen: &[Range<usize>],
) -> Vec<(Range<usize>, Update)> {
    let mut parts = Vec::new();
    let mut end = range.start;
    for frozen in frozen {
        let frozen = frozen.start.max(range.start)..frozen.end.min(range.end);
        if !frozen.is_empty() {
            parts.push((end..frozen.start, *update));
            end = frozen.end;
            parts.push((frozen, Update::Frozen));
        }
    }
    parts.push((end..range.end, *update));
    parts
}

/// Returns the root of the sum of squares, summed in a fixed order.
fn norm(gradients: &[f32]) -> f64 {
    let parts: Vec<f64> = gradients
        .par_chunks(TASK_LEN)
        .map(|part| {
            vectorised(
                #[inline(always)]
                || square_sum(part),
            )
        })
        .collect();
    parts.iter().sum::<f64>().sqrt()
}

/// The factors of the inner loop.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    decay_factor: f32,
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
        // The millionth is PyTorch's, which the committed curves follow.
        gradient: (options.clip / (norm + 1e-6)).min(1.0) as f32,
        decay_factor: (1.0 - learning_rate * decay) as f32,
        beta1: options.beta1 as f32,
        one_less_beta1: (1.0 - options.beta1) as f32,
        beta2: options.beta2 as f32,
        one_less_beta2: (1.0 - options.beta2) as f32,
        inverse_correction2: (1.0 / correction(options.beta2).sqrt()) as f32,
        epsilon: options.epsilon as f32,
        rate: (learning_rate / correction(options.beta1)) as f32,
    }
}

#[cfg(feature = "cuda")]
impl Factors {
    fn update(self) -> crate::engine::cuda::Update {
        crate::engine::cuda::Update {
            clip: self.gradient,
            beta1: self.beta1,
            one_less_beta1: self.one_less_beta1,
            beta2: self.beta2,
            one_less_beta2: self.one_less_beta2,
            rate: self.rate,
            inverse_root: self.inverse_correction2,
            epsilon: self.epsilon,
            decay_factor: self.decay_factor,
        }
    }
}

#[inline(always)]
fn update_task(f: Factors, task: Task) {
    let values = task.parameters.iter_mut().zip(task.gradients);
    for ((weight, gradient), (first, second)) in values.zip(task.first.iter_mut().zip(task.second))
    {
        let scaled = *gradient * f.gradient;
        *gradient = 0.0;
        *first = *first * f.beta1 + scaled * f.one_less_beta1;
        *second = *second * f.beta2 + scaled * scaled * f.one_less_beta2;
        let root = second.sqrt() * f.inverse_correction2 + f.epsilon;
        *weight = *weight * f.decay_factor - f.rate * *first / root;
    }
}

impl<'a> Task<'a> {
    fn split(self, at: usize) -> (Self, Self) {
        let (parameters, parameters_after) = self.parameters.split_at_mut(at);
        let (gradients, gradients_after) = self.gradients.split_at_mut(at);
        let (first, first_after) = self.first.split_at_mut(at);
        let (second, second_after) = self.second.split_at_mut(at);
        let update = self.update;
        (
            Self { update, parameters, gradients, first, second },
            Self {
                update,
                parameters: parameters_after,
                gradients: gradients_after,
                first: first_after,
                second: second_after,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamW, AdamWOptions};
    use crate::engine::kernels::check::numbers;
    use crate::model::config::tests::{all_kinds, tiny};
    use crate::model::layout::Layout;

    const OPTIONS: AdamWOptions =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 0.5 };

    fn fresh(layout: &Layout) -> AdamW {
        AdamW::resumed(layout, OPTIONS, [vec![0.0; layout.len], vec![0.0; layout.len]], 0)
    }

    /// The textbook's formula, number by number in f64, for the gradients of the sum of squares.
    #[test]
    fn steps_follow_the_formula_and_norms_and_biases_do_not_decay() {
        for config in all_kinds() {
            let layout = Layout::new(&config).unwrap();
            let mut decays = vec![false; layout.len];
            layout.matrices().into_iter().for_each(|range| decays[range].fill(true));
            let mut parameters = numbers::<f32>(layout.len, 4);
            let mut expected: Vec<f64> = parameters.iter().map(|&p| f64::from(p)).collect();
            let mut optimizer = fresh(&layout);
            let (mut m, mut v) = (vec![0.0; layout.len], vec![0.0; layout.len]);
            for step in 1..=4 {
                let mut gradients: Vec<f32> = parameters.iter().map(|p| 2.0 * p).collect();
                let norm = optimizer.update(&mut parameters, &mut gradients, 0.01);
                assert!(gradients.iter().all(|g| g.abs() == 0.0));
                let exact = expected.iter().map(|w| 4.0 * w * w).sum::<f64>().sqrt();
                assert!((norm / exact - 1.0).abs() < 1e-5);
                for i in 0..layout.len {
                    let g = 2.0 * expected[i] * 0.5 / (exact + 1e-6);
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.95 * v[i] + 0.05 * g * g;
                    let corrected = m[i] / (1.0 - 0.9f64.powi(step));
                    let root = (v[i] / (1.0 - 0.95f64.powi(step))).sqrt() + 1e-8;
                    let decay = if decays[i] { 0.01 * 0.1 } else { 0.0 };
                    expected[i] = expected[i] * (1.0 - decay) - 0.01 * corrected / root;
                    assert!((f64::from(parameters[i]) - expected[i]).abs() < 1e-5);
                }
            }
            assert_eq!(optimizer.steps(), 4);
        }
    }

    #[test]
    fn frozen_numbers_neither_move_nor_count() {
        for config in all_kinds() {
            let layout = Layout::new(&config).unwrap();
            let frozen = [5..layout.embedding.end, layout.len - 9..layout.len - 2];
            let is_frozen = |index: &usize| frozen.iter().any(|range| range.contains(index));
            let start: Vec<f32> = numbers(layout.len, 1);
            let mut parameters = start.clone();
            let mut optimizer = fresh(&layout).without(&frozen);
            let mut gradients: Vec<f32> = numbers(layout.len, 2);
            // One that is frozen may be anything.
            gradients[7] = f32::NAN;
            let free: Vec<usize> = (0..layout.len).filter(|i| !is_frozen(i)).collect();
            let squares = free.iter().map(|i| f64::from(gradients[*i]).powi(2));
            let expected = squares.sum::<f64>().sqrt();
            let norm = optimizer.update(&mut parameters, &mut gradients, 0.1);
            assert!((norm / expected - 1.0).abs() < 1e-6);
            for index in 0..layout.len {
                let stayed = parameters[index].to_bits() == start[index].to_bits();
                assert_eq!(stayed, is_frozen(&index), "{} {index}", config.family);
                let moments = optimizer.moments().map(|moments| moments[index].to_bits());
                assert_eq!(moments == [0, 0], is_frozen(&index));
            }
        }
    }

    #[test]
    fn a_nan_changes_nothing() {
        let layout = Layout::new(&tiny()).unwrap();
        let mut optimizer = fresh(&layout);
        let mut parameters = vec![1.0; layout.len];
        let mut gradients = vec![1.0; layout.len];
        gradients[5] = f32::NAN;
        assert!(optimizer.update(&mut parameters, &mut gradients, 0.1).is_nan());
        assert_eq!(parameters, vec![1.0; layout.len]);
        assert_eq!((optimizer.steps(), gradients[0].to_bits()), (0, 0));
    }
}
