//! The MLP's activations: `silu(gate) · up`, GELU by erf and GELU by tanh.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::number::{Number, vectorised};
use crate::model::config::Activation;

/// Rows of one task.
const TASK_ROWS: usize = 32;

/// The number of values that SwiGLU's backward pass copies at a time.
const PIECE: usize = 16;

/// The factor √(2/π) and the cubic coefficient of GELU by tanh (Hendrycks and Gimpel, arXiv 1606.08415).
const TANH_SCALE: f64 = 0.797_884_560_802_865_4;
const TANH_CUBE: f64 = 0.044_715;

#[inline(always)]
fn sigmoid<F: Number>(x: F) -> F {
    F::ONE / (F::ONE + (-x).exponential())
}

/// `silu(gate) · up` and its two partial derivatives.
#[inline(always)]
fn swiglu<F: Number>(gate: F, up: F) -> (F, F, F) {
    let share = sigmoid(gate);
    let silu = gate * share;
    (silu * up, up * (share + silu * (F::ONE - share)), silu)
}

/// `x · Φ(x)` and its derivative.
#[inline(always)]
fn gelu<F: Number>(x: F) -> (F, F) {
    let half = F::of(0.5);
    let share = half + half * (x * F::of(std::f64::consts::FRAC_1_SQRT_2)).error_function();
    let density = F::of(0.398_942_280_401_432_7) * (-half * x * x).exponential();
    (x * share, share + x * density)
}

/// `x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` and its derivative: half of one plus the tanh of u
/// is the sigmoid of 2u.
#[inline(always)]
fn gelu_tanh<F: Number>(x: F) -> (F, F) {
    let (scale, cube) = (F::of(2.0 * TANH_SCALE), F::of(TANH_CUBE));
    let share = sigmoid(scale * (x + cube * x * x * x));
    let slope = scale * (F::ONE + F::of(3.0) * cube * x * x);
    (x * share, share + x * share * (F::ONE - share) * slope)
}

/// Computes `y` \[rows, width\] from x \[rows, width\]; for SwiGLU, x is \[rows, 2 · width\] with the gates before the
/// ups.
pub(crate) fn forward<F: Number>(activation: Activation, width: usize, x: &[F], y: &mut [F]) {
    let taken = taken(activation, width);
    let tasks = y.par_chunks_mut(TASK_ROWS * width).zip(x.par_chunks(TASK_ROWS * taken));
    tasks.for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || match activation {
                Activation::SwiGlu => {
                    for (x, y) in x.chunks_exact(taken).zip(y.chunks_exact_mut(width)) {
                        let (gate, up) = x.split_at(width);
                        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                            *y = swiglu(*gate, *up).0;
                        }
                    }
                }
                Activation::Gelu => y.iter_mut().zip(x).for_each(|(y, x)| *y = gelu(*x).0),
                Activation::GeluTanh => y.iter_mut().zip(x).for_each(|(y, x)| *y = gelu_tanh(*x).0),
            },
        );
    });
}

/// Writes the gradient of x to `dx` and overwrites the gradient of y with y: the backward pass of the next projection
/// needs y, and both come from the same exponentials.
pub(crate) fn backward<F: Number>(
    activation: Activation,
    width: usize,
    x: &[F],
    dy: &mut [F],
    dx: &mut [F],
) {
    let taken = taken(activation, width);
    let tasks = dy.par_chunks_mut(TASK_ROWS * width).zip(x.par_chunks(TASK_ROWS * taken));
    tasks.zip(dx.par_chunks_mut(TASK_ROWS * taken)).for_each(|((dy, x), dx)| {
        vectorised(
            #[inline(always)]
            || match activation {
                Activation::SwiGlu => {
                    let rows = dy.chunks_exact_mut(width).zip(x.chunks_exact(taken));
                    for ((dy, x), dx) in rows.zip(dx.chunks_exact_mut(taken)) {
                        let (gate, up) = x.split_at(width);
                        let (dgate, dup) = dx.split_at_mut(width);
                        swiglu_backward(gate, up, dy, dgate, dup);
                    }
                }
                Activation::Gelu => backward_each(gelu, x, dy, dx),
                Activation::GeluTanh => backward_each(gelu_tanh, x, dy, dx),
            },
        );
    });
}

/// Handles one row in pieces that are copied first: the compiler cannot tell that five slices do not overlap, so it
/// leaves a plain loop over them scalar, which takes seven times as long.
#[inline(always)]
fn swiglu_backward<F: Number>(gate: &[F], up: &[F], dy: &mut [F], dgate: &mut [F], dup: &mut [F]) {
    let (gates, gate) = gate.as_chunks::<PIECE>();
    let (ups, up) = up.as_chunks::<PIECE>();
    let (dys, dy) = dy.as_chunks_mut::<PIECE>();
    let (dgates, dgate) = dgate.as_chunks_mut::<PIECE>();
    let (dups, dup) = dup.as_chunks_mut::<PIECE>();
    let outputs = dgates.iter_mut().zip(dups).zip(dys);
    for ((gate, up), ((dgate, dup), dy)) in gates.iter().zip(ups).zip(outputs) {
        let (gate, up, dvalue) = (*gate, *up, *dy);
        let (mut value, mut by_gate, mut by_up) = (gate, gate, gate);
        for i in 0..PIECE {
            let (y, gate_slope, up_slope) = swiglu(gate[i], up[i]);
            value[i] = y;
            by_gate[i] = dvalue[i] * gate_slope;
            by_up[i] = dvalue[i] * up_slope;
        }
        (*dy, *dgate, *dup) = (value, by_gate, by_up);
    }
    for i in 0..dy.len() {
        let (y, by_gate, by_up) = swiglu(gate[i], up[i]);
        (dgate[i], dup[i], dy[i]) = (dy[i] * by_gate, dy[i] * by_up, y);
    }
}

#[inline(always)]
fn backward_each<F: Number>(function: impl Fn(F) -> (F, F), x: &[F], dy: &mut [F], dx: &mut [F]) {
    for ((dy, x), dx) in dy.iter_mut().zip(x).zip(dx) {
        let (y, slope) = function(*x);
        *dx = *dy * slope;
        *dy = y;
    }
}

/// Length of an activation's input row.
fn taken(activation: Activation, width: usize) -> usize {
    if activation == Activation::SwiGlu { 2 * width } else { width }
}

#[cfg(test)]
mod tests {
    use super::{backward, forward};
    use crate::engine::kernels::check::{Operation, check, close, numbers};
    use crate::engine::kernels::number::Number;
    use crate::model::config::Activation;

    const WIDTH: usize = 9;

    struct Case(Activation);

    impl Case {
        fn result<F: Number>(&self, x: &[F]) -> Vec<F> {
            let halves = if self.0 == Activation::SwiGlu { 2 } else { 1 };
            let mut y = vec![F::ZERO; x.len() / halves];
            forward(self.0, WIDTH, x, &mut y);
            y
        }
    }

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            self.result(&operands[0])
        }

        fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let mut dx = operands[0].clone();
            let mut dy = gradient.to_vec();
            backward(self.0, WIDTH, &operands[0], &mut dy, &mut dx);
            assert_eq!(dy, self.result(&operands[0]));
            vec![dx]
        }
    }

    fn operand() -> Vec<f64> {
        numbers::<f64>(37 * 2 * WIDTH, 1).into_iter().map(|x| 6.0 * x).collect()
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        for activation in [Activation::SwiGlu, Activation::Gelu, Activation::GeluTanh] {
            check(&Case(activation), &[operand()], 2e-6);
        }
    }

    #[test]
    fn values_follow_the_formulas() {
        let x = operand();
        let exact: Vec<f64> =
            x.iter().map(|x| x * 0.5 * (1.0 + libm::erf(x / 2f64.sqrt()))).collect();
        close(&Case(Activation::Gelu).result(&x), &exact, 1e-14, "gelu");
        let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        let exact: Vec<f64> = x.iter().map(|&x| x * 0.5 * (1.0 + inner(x).tanh())).collect();
        close(&Case(Activation::GeluTanh).result(&x), &exact, 1e-14, "gelu by tanh");
        let rows = x.chunks(2 * WIDTH);
        let exact: Vec<f64> = rows
            .flat_map(|x| (0..WIDTH).map(|i| x[i] / (1.0 + (-x[i]).exp()) * x[WIDTH + i]))
            .collect();
        close(&Case(Activation::SwiGlu).result(&x), &exact, 1e-14, "swiglu");
    }
}
