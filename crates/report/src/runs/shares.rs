//! The logarithmic axis of shares, which has p = 0 apart on its left.

use crate::parts::chart::{Axis, HoverMode, Layout, RangeMode, Ticks};
use crate::parts::plot::{axis, layout};
use crate::parts::text::per_cent;

/// The number of points of a law's curve: 13 pixels apart in the widest figure, 7 in two figures side by side.
const CURVE_POINTS: u32 = 80;
/// Labels that are closer than this fraction of the axis would overlap.
const LEAST_GAP: f64 = 0.045;

/// Decades of p, and p = 0 one step left of the least share.
pub(crate) struct ShareScale {
    pub zero: f64,
    pub right: f64,
    pub ticks: Vec<(f64, String)>,
    low: f64,
}

impl ShareScale {
    /// Returns the scale of shares that are given as (requested, realized).
    pub fn of(shares: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut shares: Vec<(f64, f64)> = shares.collect();
        shares.sort_by(|left, right| left.0.total_cmp(&right.0));
        let injected = shares.iter().map(|share| share.1).filter(|p| *p > 0.0);
        let (low, high) = injected
            .fold((f64::INFINITY, 0.0_f64), |(low, high), p| (low.min(p.log10()), high.max(p)));
        let (low, high) = if low.is_finite() { (low, high.log10()) } else { (-2.0, -2.0) };
        let zero = low - ((high - low) * 0.3).max(0.6);
        let right = high + ((high - low) * 0.1).max(0.2);
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for (p, _) in shares {
            let place = if p > 0.0 { p.log10() } else { zero };
            let gap = (right - zero) * LEAST_GAP;
            if ticks.last().is_none_or(|(last, _)| place - last > gap) {
                ticks.push((place, per_cent(p)));
            }
        }
        Self { zero, low, right, ticks }
    }

    pub fn position(&self, p: f64) -> f64 {
        if p > 0.0 { p.log10().max(self.zero) } else { self.zero }
    }

    /// Returns the shares from the middle of the gap to the right end, with their positions.
    pub fn curve(&self) -> impl Iterator<Item = (f64, f64)> + use<> {
        let left = self.gap_middle();
        let step = (self.right - left) / f64::from(CURVE_POINTS);
        (0..=CURVE_POINTS).map(move |k| {
            let place = left + step * f64::from(k);
            (place, 10.0_f64.powf(place))
        })
    }

    /// Returns the ends of the dotted line from p = 0 to where the curve begins, as (position, share). On a true
    /// logarithmic axis they would be infinitely far apart.
    pub fn bridge(&self) -> [(f64, f64); 2] {
        let left = self.gap_middle();
        [(self.zero, 0.0), (left, 10.0_f64.powf(left))]
    }

    fn gap_middle(&self) -> f64 {
        f64::midpoint(self.zero, self.low)
    }

    pub fn layout(&self, y_title: &str) -> Layout {
        let (tickvals, ticktext) = self.ticks.iter().cloned().unzip();
        let room = (self.right - self.zero) * 0.06;
        let x_axis = Axis {
            ticks: Some(Ticks { tickvals, ticktext }),
            range: Some([self.zero - room, self.right]),
            ..axis("share of pretraining data p (%)")
        };
        Layout { hovermode: HoverMode::Closest, ..layout(x_axis, y_axis(y_title)) }
    }
}

/// Returns a vertical axis with a line at 0.
pub(crate) fn y_axis(title: &str) -> Axis {
    Axis {
        rangemode: Some(RangeMode::ToZero),
        zeroline: Some(true),
        zerolinecolor: Some("var(--rule)"),
        ..axis(title)
    }
}

#[cfg(test)]
mod tests {
    use super::ShareScale;

    #[test]
    fn p_zero_stands_left_of_every_share() {
        let scale = ShareScale::of([0.2, 0.0, 0.001].map(|p| (p, p)).into_iter());
        assert!(scale.position(0.0) < scale.position(0.001) - 0.5);
        assert!(scale.position(0.2) < scale.right);
        let names: Vec<&str> = scale.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(names, ["0", "0.1", "20"]);
        let places: Vec<f64> = scale.curve().map(|point| point.0).collect();
        assert!(places[0] > scale.zero && places.is_sorted());
    }
}
