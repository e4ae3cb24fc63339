//! The pretraining progress that a finetuning lost.

/// The share of the pretraining progress that is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ProgressLost {
    /// This share; 0 if nothing is lost.
    Share(f64),
    /// At least this share: the loss is worse than the first one that was evaluated after step 0.
    AtLeast(f64),
}

impl ProgressLost {
    /// Returns the share or its lower bound.
    ///
    /// ```
    /// use mixdown_runs::ProgressLost;
    ///
    /// assert_eq!(ProgressLost::AtLeast(0.75).share(), 0.75);
    /// ```
    pub fn share(self) -> f64 {
        match self {
            Self::Share(share) | Self::AtLeast(share) => share,
        }
    }
}

/// Returns the share of a pretraining that is lost if its model now has `loss`: `1 − D_eq / D_total`, where D_eq is the
/// number of tokens at which the pretraining itself had that loss.
///
/// `curve` has the evaluations of the pretraining as (tokens, loss in nats per token) with rising tokens. Those at 0
/// tokens are ignored, because their logarithm is not finite. Between evaluations the loss is linear in the logarithm
/// of the tokens. If a noisy curve has the loss more than once, the latest position counts, so that the lost progress
/// is not overstated. The result is `None` if fewer than two evaluations are left or a number is not finite.
///
/// ```
/// use mixdown_runs::{ProgressLost, progress_lost};
///
/// let curve = [(0, 7.6), (1_000, 6.0), (4_000, 4.0)];
/// assert_eq!(progress_lost(&curve, 4.0), Some(ProgressLost::Share(0.0)));
/// let Some(ProgressLost::Share(lost)) = progress_lost(&curve, 5.0) else { panic!() };
/// assert!((lost - 0.5).abs() < 1e-12, "2,000 of 4,000 tokens");
/// assert_eq!(progress_lost(&curve, 6.5), Some(ProgressLost::AtLeast(0.75)));
/// ```
pub fn progress_lost(curve: &[(u64, f64)], loss: f64) -> Option<ProgressLost> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let curve: Vec<(f64, f64)> = curve
        .iter()
        .filter(|(tokens, _)| *tokens > 0)
        .map(|(tokens, loss)| (*tokens as f64, *loss))
        .collect();
    let (first, last) = (curve.first()?, curve.last()?);
    let rising = curve.windows(2).all(|pair| matches!(pair, [left, right] if left.0 < right.0));
    let finite = loss.is_finite() && curve.iter().all(|point| point.1.is_finite());
    if curve.len() < 2 || !rising || !finite {
        return None;
    }
    if loss <= last.1 {
        return Some(ProgressLost::Share(0.0));
    }
    for pair in curve.windows(2).rev() {
        let [left, right] = pair else { continue };
        if left.1 >= loss {
            let place = (left.1 - loss) / (left.1 - right.1);
            let tokens = (left.0.ln() + place * (right.0 / left.0).ln()).exp();
            return Some(ProgressLost::Share(1.0 - tokens / last.0));
        }
    }
    Some(ProgressLost::AtLeast(1.0 - first.0 / last.0))
}

#[cfg(test)]
mod tests {
    use super::{ProgressLost, progress_lost};

    /// ln D falls from the loss by hand: loss = 10 − ln D, so D_eq = exp(10 − loss).
    #[test]
    fn a_curve_that_is_linear_in_the_logarithm_is_met_exactly() {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let curve: Vec<(u64, f64)> =
            [0, 10, 100, 1_000, 8_000].map(|d| (d, 10.0 - (d.max(1) as f64).ln())).to_vec();
        for tokens in [10.0_f64, 17.0, 100.0, 555.5, 7_999.0, 8_000.0] {
            let lost = progress_lost(&curve, 10.0 - tokens.ln()).unwrap();
            assert!((lost.share() - (1.0 - tokens / 8_000.0)).abs() < 1e-12, "{tokens}: {lost:?}");
            assert!(matches!(lost, ProgressLost::Share(_)));
        }
    }

    #[test]
    fn both_ends_are_clamped() {
        let curve = [(0, 8.0), (100, 6.0), (400, 4.0)];
        assert_eq!(progress_lost(&curve, 3.0), Some(ProgressLost::Share(0.0)));
        assert_eq!(progress_lost(&curve, 7.0), Some(ProgressLost::AtLeast(0.75)));
        assert_eq!(progress_lost(&curve, 9.0), Some(ProgressLost::AtLeast(0.75)));
        let Some(ProgressLost::Share(lost)) = progress_lost(&curve, 6.0) else { panic!() };
        assert!((lost - 0.75).abs() < 1e-12, "{lost}");
    }

    #[test]
    fn of_several_places_the_latest_counts() {
        let curve = [(100, 6.0), (200, 4.0), (400, 5.0), (800, 3.0)];
        let lost = progress_lost(&curve, 4.5).unwrap().share();
        assert!(lost < 0.5, "between 400 and 800 tokens, not between 100 and 200: {lost}");
    }

    #[test]
    fn too_little_gives_nothing() {
        for curve in [&[][..], &[(0, 8.0), (100, 6.0)], &[(100, 6.0), (100, 4.0)]] {
            assert_eq!(progress_lost(curve, 5.0), None, "{curve:?}");
        }
        assert_eq!(progress_lost(&[(100, 6.0), (200, 4.0)], f64::NAN), None);
        assert_eq!(progress_lost(&[(100, f64::NAN), (200, 4.0)], 5.0), None);
    }
}
