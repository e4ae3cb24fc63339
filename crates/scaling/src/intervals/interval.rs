//! Numbers with their uncertainty.

use serde::{Deserialize, Serialize};

/// A 95 % interval. An end that the observations do not bound is open (`None`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Interval {
    /// Nothing is known.
    pub const OPEN: Self = Self { low: None, high: None };

    /// An interval with two ends; an end that is not finite is open.
    pub fn new(low: f64, high: f64) -> Self {
        Self {
            low: Some(low).filter(|low| low.is_finite()),
            high: Some(high).filter(|high| high.is_finite()),
        }
    }

    /// Whether both ends are there.
    pub fn is_bounded(&self) -> bool {
        self.low.is_some() && self.high.is_some()
    }

    /// Whether a value lies within; an open end holds everything on its side.
    pub fn contains(&self, value: f64) -> bool {
        self.low.is_none_or(|low| low <= value) && self.high.is_none_or(|high| value <= high)
    }

    /// Both ends moved by a function that rises.
    pub fn map(self, rising: impl Fn(f64) -> f64) -> Self {
        Self { low: self.low.map(&rising), high: self.high.map(&rising) }
    }
}

/// A value and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best value.
    pub value: f64,
    /// 95 % interval.
    pub interval: Interval,
}

/// A coefficient of a law in plain units of N (parameters), D (tokens) and p (a share).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// Its name in the formula: `A`, `B`, `alpha`, `beta`, `E`, …
    pub name: String,
    /// Best value.
    pub value: f64,
    /// 95 % interval; open where none was computed or none exists.
    pub interval: Interval,
    /// Whether the search stopped at the edge of its range: the observations do not determine it.
    pub at_bound: bool,
}
