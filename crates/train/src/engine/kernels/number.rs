//! The number types that kernels compute in.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// A floating-point type: models are trained in f32, and gradient checks run the same code in f64.
pub(crate) trait Number:
    Copy
    + Default
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Sum<Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const NEGATIVE_INFINITY: Self;

    /// Returns the number of this type that is nearest to `value`.
    fn of(value: f64) -> Self;
    /// Returns the same number as f64.
    fn wide(self) -> f64;
    /// The square root.
    fn root(self) -> Self;
    /// The natural logarithm.
    fn logarithm(self) -> Self;
    /// The exponential; in f32 without a branch, so that loops over it vectorize.
    fn exponential(self) -> Self;
    /// The error function; in f32 also without a branch.
    fn error_function(self) -> Self;
}

/// Returns the number nearest to a count.
#[expect(clippy::cast_precision_loss, reason = "widths and lengths are far below 2^53")]
pub(crate) fn count<F: Number>(count: usize) -> F {
    F::of(count as f64)
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEGATIVE_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the definition")]
    fn of(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn logarithm(self) -> Self {
        self.ln()
    }

    /// Computes the exponential to 2 units in the last place on [-87, 88].
    ///
    /// The result is `2^n · e^r` with |r| ≤ ln 2 / 2, where `e^r` is its series to the seventh power. `f32::exp` is one
    /// call per number and 4 to 8 times slower.
    #[inline(always)]
    fn exponential(self) -> Self {
        // Adding 1.5 · 2^23 rounds to the nearest integer and leaves it in the low mantissa bits.
        const ROUNDING: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self < -87.0 { -87.0 } else { self };
        let x = if x > 88.0 { 88.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
        let n = shifted - ROUNDING;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        let mut series = 1.0 / 5040.0;
        for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            series = series * r + factor;
        }
        series * Self::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
    }

    /// Computes the error function to 5 · 10^-7 with Abramowitz and Stegun, Handbook of Mathematical Functions (1964),
    /// 7.1.26, whose formula has an error of 1.5 · 10^-7.
    #[inline(always)]
    fn error_function(self) -> Self {
        let x = self.abs();
        let t = 1.0 / (1.0 + 0.327_591_1 * x);
        let mut series = 1.061_405_4;
        for factor in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            series = series * t + factor;
        }
        (1.0 - series * t * (-x * x).exponential()).copysign(self)
    }
}

#[cfg(test)]
impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEGATIVE_INFINITY: Self = Self::NEG_INFINITY;

    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    fn root(self) -> Self {
        self.sqrt()
    }

    fn logarithm(self) -> Self {
        self.ln()
    }

    fn exponential(self) -> Self {
        self.exp()
    }

    fn error_function(self) -> Self {
        libm::erf(self)
    }
}

/// Runs `work`, including its loops and everything inlined into it, with the widest vectors of this processor.
///
/// Only the vector width changes: no multiplication is fused with an addition, so the bits are the same on every
/// processor.
#[inline(always)]
pub(crate) fn vectorised<T>(work: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(work)
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let mut worst: f64 = 0.0;
        for step in -86_000..88_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(x.exponential()) / exact - 1.0).abs());
        }
        assert!(worst < 2.0 * 2f64.powi(-23), "{worst:e}");
        assert_eq!(0f32.exponential().to_bits(), 1f32.to_bits());
        assert!(f32::NEG_INFINITY.exponential() < 1e-37);
        assert!(f32::NAN.exponential().is_nan());
    }

    #[test]
    fn the_error_function_is_right() {
        let mut worst: f64 = 0.0;
        for step in -6_000..6_000 {
            let x = step as f32 * 1e-3;
            worst = worst.max((f64::from(x.error_function()) - libm::erf(f64::from(x))).abs());
        }
        assert!(worst < 5e-7, "{worst:e}");
        assert!(f32::NAN.error_function().is_nan());
    }
}
