//! Gradient checks: an operation against central differences of a plain f64 reference.

use candle_core::{Device, Result, Tensor, Var};

/// A deterministic spread of numbers in [-1, 1).
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Runs `work` on a pool of its own.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// One operand of a checked operation.
pub(crate) struct Operand {
    pub(crate) values: Vec<f32>,
    pub(crate) shape: Vec<usize>,
}

impl Operand {
    pub(crate) fn new(shape: &[usize], seed: u64) -> Self {
        Self { values: numbers(shape.iter().product(), seed), shape: shape.to_vec() }
    }
}

/// Result and gradients of `Σ w·operation(operands)` with fixed random weights w.
fn through_candle(
    operands: &[Operand],
    operation: &(dyn Fn(&[Tensor]) -> Result<Tensor> + Sync),
) -> (Vec<f32>, Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Var> = operands
        .iter()
        .map(|o| Var::from_vec(o.values.clone(), o.shape.as_slice(), &Device::Cpu).unwrap())
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let result = operation(&tensors).unwrap();
    let weights = numbers(result.elem_count(), 99);
    let weights_tensor = Tensor::from_vec(weights.clone(), result.shape(), &Device::Cpu).unwrap();
    let grads = (&result * &weights_tensor).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gradients = vars.iter().map(|v| flat(grads.get(v).unwrap())).collect();
    (flat(&result), weights, gradients)
}

/// Asserts that forward and backward agree with `reference`, a plain f64 function of the operands,
/// and that 1 and 3 threads give the same bits. `tolerance` is relative to the largest value.
pub(crate) fn check(
    operands: &[Operand],
    tolerance: f64,
    operation: &(dyn Fn(&[Tensor]) -> Result<Tensor> + Sync),
    reference: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let (result, weights, gradients) = on_threads(1, || through_candle(operands, operation));
    let again = on_threads(3, || through_candle(operands, operation));
    assert_eq!((&result, &gradients), (&again.0, &again.2), "the thread count changed a bit");

    let mut wide: Vec<Vec<f64>> =
        operands.iter().map(|o| o.values.iter().map(|&v| f64::from(v)).collect()).collect();
    close(&result, &reference(&wide), tolerance, "result");
    let loss = |at: &[Vec<f64>]| -> f64 {
        reference(at).iter().zip(&weights).map(|(r, &w)| r * f64::from(w)).sum()
    };
    for operand in 0..operands.len() {
        let mut expected = Vec::new();
        for index in 0..wide[operand].len() {
            let value = wide[operand][index];
            let step = 1e-5;
            wide[operand][index] = value + step;
            let above = loss(&wide);
            wide[operand][index] = value - step;
            let below = loss(&wide);
            wide[operand][index] = value;
            expected.push((above - below) / (2.0 * step));
        }
        close(&gradients[operand], &expected, tolerance, &format!("gradient {operand}"));
    }
}

fn close(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let difference = (f64::from(got) - expected).abs() / scale;
        assert!(difference < tolerance, "{what}[{index}]: expected {expected}, got {got}");
    }
}
