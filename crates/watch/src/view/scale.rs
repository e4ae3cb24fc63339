//! Round numbers along an axis.

/// The least fraction of an axis with round ends that the range must fill. Otherwise the ends are those of the range,
/// because the few lines of a small screen are for the curve.
const LEAST_FILL: f64 = 0.7;

/// The ends of an axis and the labels of its ticks, which are evenly spaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The ends of the axis.
    pub bounds: [f64; 2],
    /// The labels of the ticks from `bounds[0]` on, at least two.
    pub labels: Vec<String>,
}

impl Scale {
    /// Returns a scale from `low` to `high`, both finite, with at most `ticks` ticks.
    pub fn linear(low: f64, high: f64, ticks: usize) -> Self {
        let (low, high) = widened(low, high);
        let intervals = u32::try_from(ticks.saturating_sub(1).clamp(1, 20)).unwrap_or(1);
        let least = (high - low) / f64::from(intervals);
        let power = 10_f64.powf(least.log10().floor());
        // From the finest round step to the first one that covers the range with that many intervals.
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0].map(|digit| digit * power);
        let taken = |step: f64| ((high / step).ceil() - (low / step).floor()).max(1.0);
        let fits = |step: &f64| *step >= least && taken(*step) <= f64::from(intervals);
        let fills = |step: &f64| high - low >= LEAST_FILL * step * taken(*step);
        let Some(step) = steps.into_iter().find(fits).filter(fills) else {
            let labels = (0..=intervals).map(|place| number(low + f64::from(place) * least, least));
            return Self { bounds: [low, high], labels: labels.collect() };
        };
        let start = (low / step).floor() * step;
        let places = (0..=intervals).map(f64::from).take_while(|place| *place <= taken(step));
        let places: Vec<f64> = places.map(|place| start + place * step).collect();
        let end = places.last().copied().unwrap_or(high);
        let labels = places.iter().map(|place| number(*place, step)).collect();
        // Rounding may put an end just inside the range.
        Self { bounds: [start.min(low), end.max(high)], labels }
    }

    /// Returns a scale of decimal logarithms that is labeled with the numbers themselves.
    pub fn logarithmic(low: f64, high: f64, ticks: usize) -> Self {
        let (low, high) = widened(low, high);
        let intervals = u32::try_from(ticks.saturating_sub(1).clamp(1, 20)).unwrap_or(1);
        let step = (high - low) / f64::from(intervals);
        let places = (0..=intervals).map(|place| low + f64::from(place) * step);
        let labels = places.map(|place| {
            let value = 10_f64.powf(place);
            number(value, value * 10_f64.powf(step) - value)
        });
        Self { bounds: [low, high], labels: labels.collect() }
    }
}

/// Widens a range that is a single point.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let least = (low.abs().max(high.abs()) * 1e-3).max(1e-12);
    if high - low >= least { (low, high) } else { (low - least, high + least) }
}

/// Formats a number with the digits that distinguish it from another one that is `step` away.
pub fn number(value: f64, step: f64) -> String {
    let size = value.abs().max(step.abs());
    if !(1e-4..1e5).contains(&size) {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") };
    }
    let digits = (0_u8..7).find(|digits| {
        let scaled = step.abs() * 10_f64.powi(i32::from(*digits));
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled >= 0.5 || scaled >= 30.0
    });
    let digits = usize::from(digits.unwrap_or(6));
    let text = format!("{value:.digits$}");
    if text.trim_start_matches('-').chars().all(|letter| "0.".contains(letter)) {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let labels = |low, high, ticks| Scale::linear(low, high, ticks).labels.join(" ");
        assert_eq!(labels(3.1, 7.6, 5), "2 4 6 8");
        assert_eq!(labels(4.05, 4.11, 5), "4.04 4.06 4.08 4.10 4.12");
        assert_eq!(labels(0.0, 0.001, 3), "0.0000 0.0005 0.0010");
        assert_eq!(labels(0.0, 3e-5, 3), "0 2.0e-5 4.0e-5");
        assert_eq!(labels(5.0, 5.0, 3), "4.995 5.000 5.005");
        assert_eq!(labels(-1e30, 1e30, 3), "-1.0e30 0 1.0e30");
    }

    #[test]
    fn any_range_has_a_scale() {
        let ends = [-1e30, -7.3, -1e-30, 0.0, 1e-30, 0.1, 3.0, 12_345.678, 1e30];
        for (place, low) in ends.into_iter().enumerate() {
            for high in &ends[place..] {
                for ticks in 0..12 {
                    let scale = Scale::linear(low, *high, ticks);
                    assert!(scale.bounds[0] <= low && *high <= scale.bounds[1], "{low} {high}");
                    assert!((2..=ticks.max(2)).contains(&scale.labels.len()), "{low} {high}");
                    assert!(scale.bounds.iter().all(|bound| bound.is_finite()));
                    if low > 0.0 {
                        let scale = Scale::logarithmic(low.log10(), high.log10(), ticks);
                        assert!(scale.labels.len() >= 2);
                    }
                }
            }
        }
    }

    #[test]
    fn logarithms_are_labeled_with_their_numbers() {
        assert_eq!(Scale::logarithmic(0.0, 2.0, 3).labels, ["1", "10", "100"]);
    }
}
