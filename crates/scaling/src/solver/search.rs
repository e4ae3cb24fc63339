//! The minimum of a function of one variable, bracketed by a grid.

/// A point and the function's value there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minimum {
    pub at: f64,
    pub value: f64,
}

/// Returns `count` points from `low` to `high`, both included.
pub(crate) fn grid(low: f64, high: f64, count: u32) -> impl Iterator<Item = f64> {
    let step = (high - low) / f64::from(count.saturating_sub(1).max(1));
    (0..count).map(move |k| low + step * f64::from(k))
}

/// Returns the least value on a grid of `count` points, refined by golden section between its neighbors.
pub(crate) fn minimize(low: f64, high: f64, count: u32, function: impl Fn(f64) -> f64) -> Minimum {
    let step = (high - low) / f64::from(count.saturating_sub(1).max(1));
    let mut best = Minimum { at: low, value: function(low) };
    for at in grid(low, high, count).skip(1) {
        let value = function(at);
        if value < best.value {
            best = Minimum { at, value };
        }
    }
    let refined = golden_section((best.at - step).max(low), (best.at + step).min(high), &function);
    if refined.value < best.value { refined } else { best }
}

/// 60 rounds shrink the bracket by 3e-13: below what doubles resolve of a minimum.
fn golden_section(mut low: f64, mut high: f64, function: &impl Fn(f64) -> f64) -> Minimum {
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (function(left), function(right));
    for _ in 0..60 {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = function(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = function(right);
        }
    }
    if at_left <= at_right {
        Minimum { at: left, value: at_left }
    } else {
        Minimum { at: right, value: at_right }
    }
}

#[cfg(test)]
mod tests {
    use super::minimize;

    #[test]
    fn the_lower_of_two_valleys_is_found() {
        let valleys = |x: f64| ((x - 1.0).powi(2)).min((x - 4.3).powi(2) - 0.5);
        let found = minimize(0.0, 6.0, 25, valleys);
        assert!((found.at - 4.3).abs() < 1e-6);
        assert!((found.value + 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_minimum_at_the_end_stays_there() {
        assert!(minimize(2.0, 5.0, 10, |x| x).at - 2.0 < 1e-9);
    }
}
