//! The debt to a source: the exact fraction of a sequence that a stage passes on to the next one.

/// W − c of one source at some slot: its expected minus its given sequences, as an integer multiple of 2⁻⁹⁶.
///
/// A stage's weights have a denominator below 2⁶³, but the stages of a run may have no common one, so their sum is cut
/// off after 96 binary places: 2⁻⁹⁶ per stage, which even after a million stages is less than 2⁻⁷⁶ of a sequence. Only
/// integers decide, so every machine decides alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Residual(i128);

/// The binary places of a residual, as two limbs whose products with 63 bits fit in 128.
const LIMB_BITS: u32 = 48;
const BITS: u32 = 2 * LIMB_BITS;
const LIMB_MASK: i128 = (1 << LIMB_BITS) - 1;

impl Residual {
    /// Returns the residual after slots in which `expected / total` sequences were due and `given` were given.
    pub(crate) fn after(self, expected: u128, total: u64, given: u64) -> Self {
        let total = u128::from(total);
        let (whole, rest) = (expected / total, expected % total);
        let (first, rest) = ((rest << LIMB_BITS) / total, (rest << LIMB_BITS) % total);
        let fraction = (first << LIMB_BITS) | ((rest << LIMB_BITS) / total);
        let signed = |number: u128| i128::try_from(number).unwrap_or(i128::MAX);
        // Intermediate sums may wrap; the residual itself is bounded, and the arithmetic is exact modulo 2¹²⁸.
        let sequences = signed(whole).wrapping_sub(i128::from(given)) << BITS;
        Self(self.0.wrapping_add(sequences).wrapping_add(signed(fraction)))
    }

    /// Returns the residual in sequences, for a report.
    pub(crate) fn sequences(self) -> f64 {
        self.0 as f64 / (1_u128 << BITS) as f64
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Returns ⌊total·self − part·node + total/2⌋, the initial offset of a fork of `total` parts: `self` is the
    /// residual of its first side, which has `part` of them, and `node` that of both sides.
    pub(crate) fn fork_offset(self, part: u64, total: u64, node: Self) -> i128 {
        let (part, total) = (i128::from(part), i128::from(total));
        let limb = |residual: Self, place: u32| (residual.0 >> (place * LIMB_BITS)) & LIMB_MASK;
        let low = total * limb(self, 0) - part * limb(node, 0);
        let half = total << (LIMB_BITS - 1);
        let high = total * limb(self, 1) - part * limb(node, 1) + (low >> LIMB_BITS) + half;
        total * (self.0 >> BITS) - part * (node.0 >> BITS) + (high >> LIMB_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_adds_up_over_stages_without_a_common_denominator() {
        let mut residual = Residual::default();
        for total in [3_u64, 7, 100, 1 << 62, (1 << 63) - 1] {
            residual = residual.after(u128::from(total) * 5 + 1, total, 5);
        }
        let expected = 1.0 / 3.0 + 1.0 / 7.0 + 0.01;
        assert!((residual.sequences() - expected).abs() < 1e-12);
        assert!(Residual::default().after(1, 2, 1).sequences() + 0.5 == 0.0);
    }

    #[test]
    fn the_offset_of_a_fork_is_the_floor_of_what_it_says() {
        let residual =
            |numerator: u128, given| Residual::default().after(numerator, 1 << 20, given);
        for (own, node) in [(0, 0), (1 << 19, 0), (3, 77), ((1 << 20) + 9, 5)] {
            for given in [0, 1, 3] {
                for (part, total) in [(1, 2), (2, 3), (0, 5), ((1 << 61) + 1, (1 << 62) + 3)] {
                    // The unit is 2⁻²¹, which represents every number here.
                    let units = |numerator: i128, given: i128| 2 * numerator - (given << 21);
                    let exact = i128::from(total) * units(own, given.into())
                        - i128::from(part) * units(node, 1)
                        + (i128::from(total) << 20);
                    let own = residual(u128::try_from(own).unwrap(), given);
                    let node = residual(u128::try_from(node).unwrap(), 1);
                    assert_eq!(own.fork_offset(part, total, node), exact >> 21);
                }
            }
        }
    }
}
