//! Loops over numbers that the compiler turns into vector instructions.

/// Lanes of the running sums: fixed, so that a sum has the same bits on every machine.
const LANES: usize = 16;

/// The exponential function, within 2 units in the last place on [-87, 88].
///
/// `2^n · e^r` with |r| ≤ ln 2 / 2 and the series of `e^r` to the seventh power. Branch-free, so
/// that loops over it vectorise: `f32::exp` is a call per number and 4 to 8 times slower.
#[inline(always)]
pub(crate) fn exponential(x: f32) -> f32 {
    // Adding 1.5 · 2^23 rounds to the nearest integer and leaves it in the low mantissa bits.
    const ROUNDING: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut series = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + factor;
    }
    series * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// `Σ a·b` in a fixed order.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `Σ a·b·c` in a fixed order.
#[inline(always)]
pub(crate) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane] * c[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).zip(c_rest).map(|((a, b), c)| a * b * c).sum();
    sums.iter().sum::<f32>() + rest
}

/// The greatest number, negative infinity of none; a NaN among them may be passed over.
#[inline(always)]
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let mut greatest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            greatest[lane] =
                if chunk[lane] > greatest[lane] { chunk[lane] } else { greatest[lane] };
        }
    }
    greatest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Replaces every `x` by `exp(x − shift)` and gives the sum of the results, in a fixed order.
#[inline(always)]
pub(crate) fn exponentials(values: &mut [f32], shift: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exponential(chunk[lane] - shift);
            sums[lane] += chunk[lane];
        }
    }
    let mut total = sums.iter().sum::<f32>();
    for value in rest {
        *value = exponential(*value - shift);
        total += *value;
    }
    total
}

/// The sum of squares, accumulated in f64 in a fixed order.
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
    use super::{dot, dot3, exponential, exponentials, maximum, square_sum};
    use crate::ops::check::numbers;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let mut worst: f64 = 0.0;
        for step in -86_000..88_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exponential(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2.0 * 2f64.powi(-23), "{worst:e}");
        assert_eq!(exponential(0.0).to_bits(), 1f32.to_bits());
        assert!(exponential(f32::NEG_INFINITY) < 1e-37);
        assert!(exponential(f32::NAN).is_nan());
    }

    #[test]
    fn sums_equal_naive_ones_at_every_length() {
        for len in [0, 1, 15, 16, 17, 40, 333] {
            let (a, b, c) = (numbers(len, 1), numbers(len, 2), numbers(len, 3));
            let wide = |v: f32| f64::from(v);
            let two: f64 = (0..len).map(|i| wide(a[i]) * wide(b[i])).sum();
            let three: f64 = (0..len).map(|i| wide(a[i]) * wide(b[i]) * wide(c[i])).sum();
            let squares: f64 = (0..len).map(|i| wide(a[i]).powi(2)).sum();
            assert!((wide(dot(&a, &b)) - two).abs() < 1e-4);
            assert!((wide(dot3(&a, &b, &c)) - three).abs() < 1e-4);
            assert!((square_sum(&a) - squares).abs() < 1e-9);
            let greatest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(maximum(&a).to_bits(), greatest.to_bits());
            let mut powers = a.clone();
            let sum = exponentials(&mut powers, 0.5);
            let expected: f64 = a.iter().map(|&x| (wide(x) - 0.5).exp()).sum();
            assert!((wide(sum) - expected).abs() < 1e-3);
        }
    }
}
