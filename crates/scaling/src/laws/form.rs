//! A law as a sum of terms, each linear in one coefficient: what the search needs to know of it.

/// No law here has more coefficients inside its terms.
pub(crate) const NONLINEAR: usize = 5;
/// No law here has more coefficients in all.
pub(crate) const COORDINATES: usize = 10;

/// Coordinates of the search: the coefficients inside the terms, then those before them (the
/// logarithm where they are positive). Unused places are 0.
pub(crate) type Point = [f64; COORDINATES];

/// One observation on normalized inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What the law adds to: the loss before finetuning, or 0.
    pub base: f64,
    /// ln(N/N₀).
    pub ln_size: f64,
    /// ln(D/D₀).
    pub ln_tokens: f64,
    /// p.
    pub share: f64,
    /// Repetitions of the target data beyond the first pass.
    pub repetitions: f64,
    /// The measured loss.
    pub measured: f64,
    /// Its logarithm.
    pub ln_measured: f64,
    /// Configuration, counted from 0.
    pub configuration: usize,
}

/// Where a coefficient inside a term is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// Bounds; equal ones freeze it.
    pub low: f64,
    pub high: f64,
    /// First and last point of the coarse grid, and how many there are.
    pub grid: (f64, f64, u32),
    /// Whether the grid is even in the logarithm.
    pub logarithmic: bool,
}

impl Range {
    /// A coefficient that is not searched.
    pub fn frozen(at: f64) -> Self {
        Self { low: at, high: at, grid: (at, at, 1), logarithmic: false }
    }

    pub fn is_frozen(&self) -> bool {
        self.low >= self.high
    }

    /// The points of the coarse grid.
    pub fn points(&self) -> Vec<f64> {
        let (first, last, count) = self.grid;
        let step = 1.0 / f64::from(count.saturating_sub(1).max(1));
        let at = |k: u32| {
            let share = step * f64::from(k);
            if self.logarithmic {
                first * (last / first).powf(share)
            } else {
                first + (last - first) * share
            }
        };
        (0..count).map(at).collect()
    }
}

/// What a coefficient before a term may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linear {
    /// Above 0: its coordinate is its logarithm.
    Positive,
    /// Any number.
    Free,
    /// 1, not searched.
    One,
}

/// A term without its coefficient, and its derivatives by the coefficients inside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Term {
    pub value: f64,
    pub gradient: [f64; NONLINEAR],
}

/// A law: `loss = base + Σ coefficient · term(inside; row)`.
pub(crate) trait Form: Sync {
    /// The coefficients inside the terms.
    fn nonlinear(&self) -> Vec<Range>;
    /// The coefficients before the terms.
    fn linear(&self) -> Vec<Linear>;
    /// The terms for one row, as many as [`Self::linear`] has.
    fn terms(&self, inside: &[f64], row: &Row, terms: &mut [Term]);
}

/// How many coefficients of a law are searched.
pub(crate) fn searched(form: &dyn Form) -> usize {
    let inside = form.nonlinear().iter().filter(|range| !range.is_frozen()).count();
    inside + form.linear().iter().filter(|kind| **kind != Linear::One).count()
}
