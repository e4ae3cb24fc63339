//! Sums over rows that the compiler vectorizes.

use super::number::Number;

/// Lanes of the running sums; the number is fixed so that a sum has the same bits on every machine.
const LANES: usize = 16;

#[inline(always)]
fn total<F: Number>(lanes: [F; LANES], rest: F) -> F {
    lanes.iter().copied().sum::<F>() + rest
}

/// `Σ a·b` in a fixed order.
#[inline(always)]
pub(crate) fn dot<F: Number>(a: &[F], b: &[F]) -> F {
    let mut sums = [F::ZERO; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    total(sums, a_rest.iter().zip(b_rest).map(|(a, b)| *a * *b).sum())
}

/// `Σ a·b·(c − shift)` in a fixed order.
#[inline(always)]
pub(crate) fn dot3<F: Number>(a: &[F], b: &[F], c: &[F], shift: F) -> F {
    let mut sums = [F::ZERO; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane] * (c[lane] - shift);
        }
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest);
    total(sums, rest.map(|((a, b), c)| *a * *b * (*c - shift)).sum())
}

/// `Σ a` in a fixed order.
#[inline(always)]
pub(crate) fn sum<F: Number>(values: &[F]) -> F {
    let mut sums = [F::ZERO; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
    total(sums, rest.iter().copied().sum())
}

/// `Σ (a − shift)²` in a fixed order.
#[inline(always)]
pub(crate) fn square_deviation<F: Number>(values: &[F], shift: F) -> F {
    let mut sums = [F::ZERO; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let deviation = chunk[lane] - shift;
            sums[lane] += deviation * deviation;
        }
    }
    total(sums, rest.iter().map(|&value| (value - shift) * (value - shift)).sum())
}

/// The largest number, or negative infinity for an empty slice; NaNs may be ignored.
#[inline(always)]
pub(crate) fn maximum<F: Number>(values: &[F]) -> F {
    let mut greatest = [F::NEGATIVE_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            greatest[lane] =
                if chunk[lane] > greatest[lane] { chunk[lane] } else { greatest[lane] };
        }
    }
    greatest.iter().chain(rest).fold(F::NEGATIVE_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Replaces every `x` by `exp(x − shift)` and returns the sum of the results, in a fixed order.
#[inline(always)]
pub(crate) fn exponentials<F: Number>(values: &mut [F], shift: F) -> F {
    let mut sums = [F::ZERO; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = (chunk[lane] - shift).exponential();
            sums[lane] += chunk[lane];
        }
    }
    let mut after = F::ZERO;
    for value in rest {
        *value = (*value - shift).exponential();
        after += *value;
    }
    total(sums, after)
}

/// `to += from`.
#[inline(always)]
pub(crate) fn add<F: Number>(to: &mut [F], from: &[F]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
}

/// The sum of squares, accumulated in f64 in a fixed order.
#[inline(always)]
pub(crate) fn square_sum(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let value = f64::from(chunk[lane]);
            sums[lane] += value * value;
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::{dot, dot3, exponentials, maximum, square_deviation, square_sum, sum};
    use crate::engine::kernels::check::numbers;

    #[test]
    fn sums_equal_naive_ones_at_every_length() {
        for len in [0, 1, 15, 16, 17, 40, 333] {
            let [a, b, c] = [1, 2, 3].map(|seed| numbers::<f32>(len, seed));
            let wide = |v: f32| f64::from(v);
            let naive = |term: &dyn Fn(usize) -> f64| (0..len).map(term).sum::<f64>();
            let near = |got: f32, expected: f64| assert!((wide(got) - expected).abs() < 1e-4);
            near(dot(&a, &b), naive(&|i| wide(a[i]) * wide(b[i])));
            near(dot3(&a, &b, &c, 0.5), naive(&|i| wide(a[i]) * wide(b[i]) * (wide(c[i]) - 0.5)));
            near(sum(&a), naive(&|i| wide(a[i])));
            near(square_deviation(&a, 0.25), naive(&|i| (wide(a[i]) - 0.25).powi(2)));
            assert!((square_sum(&a) - naive(&|i| wide(a[i]).powi(2))).abs() < 1e-9);
            let greatest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(maximum(&a).to_bits(), greatest.to_bits());
            let mut powers = a.clone();
            let got = exponentials(&mut powers, 0.5);
            assert!((wide(got) - naive(&|i| (wide(a[i]) - 0.5).exp())).abs() < 1e-3);
        }
    }
}
