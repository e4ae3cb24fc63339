//! Gradient checks: an operation's backward pass against central differences of its forward pass.

use super::number::Number;

/// Returns deterministic numbers spread over [-1, 1).
pub(crate) fn numbers<F: Number>(len: usize, seed: u64) -> Vec<F> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            F::of((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
        })
        .collect()
}

/// Runs `work` on a separate thread pool.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// An operation with a backward pass.
pub(crate) trait Operation: Sync {
    /// Returns the result of the operation.
    fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F>;
    /// Returns the gradients of all operands for a given gradient of the result.
    fn backward<F: Number>(&self, operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>>;
}

/// Asserts that, in f64, the backward pass agrees with central differences of the forward pass to a millionth; that f32
/// agrees with f64 to `tolerance`, relative to the largest number; and that 1 and 3 threads give the same bits.
pub(crate) fn check(operation: &impl Operation, operands: &[Vec<f64>], tolerance: f64) {
    let result = operation.forward(operands);
    let weights = numbers::<f64>(result.len(), 99);
    let gradients = operation.backward(operands, &weights);
    let loss = |operands: &[Vec<f64>]| -> f64 {
        operation.forward(operands).iter().zip(&weights).map(|(r, w)| r * w).sum()
    };
    let mut at = operands.to_vec();
    assert_eq!(gradients.len(), operands.len());
    for operand in 0..operands.len() {
        let mut expected = Vec::new();
        for index in 0..at[operand].len() {
            let (value, step) = (at[operand][index], 1e-5);
            at[operand][index] = value + step;
            let above = loss(&at);
            at[operand][index] = value - step;
            let below = loss(&at);
            at[operand][index] = value;
            expected.push((above - below) / (2.0 * step));
        }
        close(&gradients[operand], &expected, 1e-6, &format!("gradient {operand}"));
    }

    let narrow = |v: &[f64]| v.iter().map(|&v| f32::of(v)).collect::<Vec<f32>>();
    let operands: Vec<Vec<f32>> = operands.iter().map(|v| narrow(v)).collect();
    let weights = narrow(&weights);
    let run = || (operation.forward(&operands), operation.backward(&operands, &weights));
    let (one, three) = (on_threads(1, run), on_threads(3, run));
    assert_eq!(one, three, "the thread count changed a bit");
    close(&one.0, &result, tolerance, "f32 result");
    for (index, (got, expected)) in one.1.iter().zip(&gradients).enumerate() {
        close(got, expected, tolerance, &format!("f32 gradient {index}"));
    }
}

/// Asserts equality up to `tolerance` times the largest number.
pub(crate) fn close<F: Number>(got: &[F], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let difference = (got.wide() - expected).abs() / scale;
        assert!(difference < tolerance, "{what}[{index}]: expected {expected}, got {got:?}");
    }
}
