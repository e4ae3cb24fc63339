//! The forgetting law fitted to observations: coefficients, draws, profiles.

use crate::error::Error;
use crate::fit::predict::stretched;
use crate::fit::records::ForgettingFit;
use crate::intervals::{Coefficient, Interval};
use crate::intervals::{Draws, configurations, resample, stretch};
use crate::laws::forms::ForgettingForm;
use crate::laws::forms::{Form, NormalizedRow, searched};
use crate::observation::Observation;
use crate::plan::requirements::require_forgetting;
use crate::solver::profile::{Profile, threshold};
use crate::solver::scale::Scale;
use crate::solver::{Solution, solve};

/// An interval of forgetting that reaches farther than this factor on one side counts as open there.
const WIDEST_FACTOR: f64 = 1e6;
/// The least share that a profile of p* distinguishes from 0.
const LEAST_SHARE: f64 = 1e-8;

/// The fitted law with everything that its intervals are computed from.
pub(crate) struct FittedForgetting {
    pub form: ForgettingForm,
    pub scale: Scale,
    pub rows: Vec<NormalizedRow>,
    pub solution: Solution,
    weights: Vec<f64>,
    threshold: f64,
}

/// Returns the form of the law that these observations allow.
pub(crate) fn forgetting_form(observations: &[Observation]) -> ForgettingForm {
    let shares = observations.iter().map(Observation::share).filter(|share| *share > 0.0);
    let (least, largest) = shares
        .fold((f64::INFINITY, 0.0_f64), |(low, high), share| (low.min(share), high.max(share)));
    let tokens = crate::observation::distinct(observations, |one| one.target_tokens);
    ForgettingForm::new(tokens.len() > 1, least, largest)
}

impl FittedForgetting {
    /// Fits the law without intervals.
    pub fn new(observations: &[Observation], delta: Option<f64>) -> Result<Self, Error> {
        require_forgetting(observations)?;
        let largest = observations.iter().map(Observation::forgetting).fold(f64::MIN, f64::max);
        if largest <= 0.0 {
            return Err(Error::NothingForgotten { got: largest });
        }
        let form = forgetting_form(observations);
        let scale = Scale::of(observations);
        let rows = scale.forgetting_rows(observations);
        let solution = solve(&form, &rows, delta)?;
        let threshold = threshold(&rows, &solution, searched(&form));
        let weights = vec![1.0; rows.len()];
        Ok(Self { form, scale, rows, solution, weights, threshold })
    }

    /// Computes the bootstrap intervals.
    pub fn with_intervals(&self, draws: Draws) -> ForgettingFit {
        let points = resample(&self.form, &self.rows, &self.solution, draws);
        let stretch = stretch(configurations(&self.rows), searched(&self.form));
        let law = self.scale.forgetting_law(&self.solution.at);
        let laws: Vec<_> = points.iter().map(|point| self.scale.forgetting_law(point)).collect();
        let at_bound = [0, 1, 2].map(|index| self.solution.is_at_bound(&self.form, index));
        let of = |read: fn(&crate::laws::ForgettingLaw) -> f64| {
            stretched(read(&law), laws.iter().map(read).collect(), stretch)
        };
        let ln_b = of(|law| law.b.ln());
        let coefficients = vec![
            coefficient("A", law.ln_a.exp(), of(|law| law.ln_a).map(f64::exp), false),
            coefficient("B", law.b, self.within(ln_b, 2).map(f64::exp), at_bound[2]),
            coefficient("alpha", law.alpha, self.within(of(|law| law.alpha), 0), at_bound[0]),
            coefficient("beta", law.beta, self.within(of(|law| law.beta), 1), at_bound[1]),
        ];
        let frozen: Vec<bool> = self.form.nonlinear().iter().map(|one| one.is_frozen()).collect();
        let identified = coefficients
            .iter()
            .zip([false, false, false, frozen[1]])
            .all(|(one, frozen)| frozen || (one.interval.is_bounded() && !one.at_bound));
        ForgettingFit {
            law,
            coefficients,
            correlation_alpha_ln_b: correlation(
                laws.iter().map(|law| law.alpha),
                laws.iter().map(|law| law.b.ln()),
            ),
            identified,
            convergence: self.solution.convergence(),
            residuals: self.solution.pairs(&self.rows),
            draws: laws,
            stretch,
        }
    }

    /// Opens the end of an interval that reaches the bound of its coordinate.
    fn within(&self, interval: Interval, coordinate: usize) -> Interval {
        let Some(range) = self.form.nonlinear().get(coordinate).copied() else { return interval };
        if range.is_frozen() {
            return interval;
        }
        let slack = 1e-3 * (range.high - range.low);
        Interval {
            low: interval.low.filter(|low| *low > range.low + 1e-6),
            high: interval.high.filter(|high| *high < range.high - slack),
        }
    }

    /// Computes the 95 % profile interval of the forgetting at N, D and p in nats per token. It starts at 0 if the data
    /// do not bound it below and is open if they do not bound it above.
    pub fn forgetting_interval(&self, model_size: f64, target_tokens: f64, p: f64) -> Interval {
        let place = self.scale.row_at(model_size, target_tokens, p);
        let law = self.scale.forgetting_law(&self.solution.at);
        let best = law.ln_forgetting(model_size, target_tokens, p);
        let profile = self.profile(|ln_value| (place, ln_value));
        let reach = WIDEST_FACTOR.ln();
        let low = profile.end(best, best - reach, self.solution.at, 0.02);
        let high = profile.end(best, best + reach, self.solution.at, 0.02);
        Interval { low: Some(low.map_or(0.0, f64::exp)), high: high.map(f64::exp) }
    }

    /// Computes the 95 % profile interval of p* for a budget of τ nats. It is open above if the data allow that no
    /// share below 1 keeps the budget.
    pub fn share_interval(&self, model_size: f64, target_tokens: f64, budget: f64) -> Interval {
        let law = self.scale.forgetting_law(&self.solution.at);
        let excess = law.ln_forgetting(model_size, target_tokens, 0.0) - budget.ln();
        let best = (excess / law.alpha).exp_m1() / law.b;
        let best = best.clamp(LEAST_SHARE, 1.0).ln();
        let profile = self.profile(|ln_share: f64| {
            (self.scale.row_at(model_size, target_tokens, ln_share.exp()), budget.ln())
        });
        let (least, most) = (LEAST_SHARE.ln(), 0.0);
        let plausible = |at: f64| profile.fitted(at, self.solution.at).is_some();
        if excess <= 0.0 {
            // The best law keeps the budget without injection; find whether a plausible one does not.
            let high = if plausible(least) {
                profile.end(least, most, self.solution.at, 0.05)
            } else {
                Some(f64::NEG_INFINITY)
            };
            return Interval { low: Some(0.0), high: high.map(f64::exp) };
        }
        if best >= most {
            // The best law keeps the budget at no share below 1; find whether a plausible one does.
            let low = if plausible(most) {
                profile.end(most, least, self.solution.at, 0.05)
            } else {
                Some(0.0)
            };
            return Interval { low: Some(low.map_or(0.0, f64::exp)), high: None };
        }
        let low = profile.end(best, least, self.solution.at, 0.05);
        let high = profile.end(best, most, self.solution.at, 0.05);
        Interval { low: Some(low.map_or(0.0, f64::exp)), high: high.map(f64::exp) }
    }

    fn profile(
        &self,
        through: impl Fn(f64) -> (NormalizedRow, f64),
    ) -> Profile<'_, impl Fn(f64) -> ForgettingForm> {
        Profile {
            rows: &self.rows,
            weights: &self.weights,
            delta: self.solution.delta,
            threshold: self.threshold,
            through: move |value| ForgettingForm {
                through: Some(through(value)),
                ..self.form.clone()
            },
        }
    }
}

pub(crate) fn coefficient(
    name: &str,
    value: f64,
    interval: Interval,
    at_bound: bool,
) -> Coefficient {
    Coefficient { name: name.to_owned(), value, interval, at_bound }
}

/// Pearson's correlation; `None` for fewer than three pairs or without spread.
fn correlation(left: impl Iterator<Item = f64>, right: impl Iterator<Item = f64>) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = left.zip(right).collect();
    if pairs.len() < 3 {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let mean = (mean.0 / count, mean.1 / count);
    let (mut cross, mut squares) = (0.0, (0.0, 0.0));
    for (x, y) in &pairs {
        let (x, y) = (x - mean.0, y - mean.1);
        cross += x * y;
        squares = (squares.0 + x * x, squares.1 + y * y);
    }
    let scale = (squares.0 * squares.1).sqrt();
    (scale > 1e-12 * count).then(|| cross / scale)
}
