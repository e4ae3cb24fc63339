//! The target law fitted to observations.

use crate::error::Error;
use crate::fit::fitted_forgetting::coefficient;
use crate::fit::predict::stretched;
use crate::fit::records::TargetFit;
use crate::intervals::Interval;
use crate::intervals::{Draws, configurations, resample, stretch};
use crate::laws::TargetLaw;
use crate::laws::forms::TargetForm;
use crate::laws::forms::{NormalizedRow, searched};
use crate::observation::{Observation, distinct};
use crate::plan::requirements::require_target;
use crate::solver::profile::{Profile, threshold};
use crate::solver::scale::Scale;
use crate::solver::{Solution, solve};

/// An interval of the loss that reaches farther than this factor on one side counts as open there.
const WIDEST_FACTOR: f64 = 1e3;

/// The fitted law with everything that its intervals are computed from.
pub(crate) struct FittedTarget {
    pub form: TargetForm,
    pub scale: Scale,
    pub rows: Vec<NormalizedRow>,
    pub solution: Solution,
    weights: Vec<f64>,
    threshold: f64,
}

/// Returns the form of the law that these observations allow.
pub(crate) fn target_form(observations: &[Observation]) -> TargetForm {
    TargetForm {
        several_sizes: distinct(observations, |one| one.model_size).len() > 1,
        several_tokens: distinct(observations, |one| one.target_tokens).len() > 1,
        with_share: false,
        through: None,
    }
}

impl FittedTarget {
    /// Fits the law without intervals.
    pub fn new(observations: &[Observation], delta: Option<f64>) -> Result<Self, Error> {
        require_target(observations)?;
        let form = target_form(observations);
        let scale = Scale::of(observations);
        let rows = scale.target_rows(observations);
        let solution = solve(&form, &rows, delta)?;
        let threshold = threshold(&rows, &solution, searched(&form));
        let weights = vec![1.0; rows.len()];
        Ok(Self { form, scale, rows, solution, weights, threshold })
    }

    /// Computes the bootstrap intervals.
    pub fn with_intervals(&self, draws: Draws) -> TargetFit {
        let points = resample(&self.form, &self.rows, &self.solution, draws);
        let stretch = stretch(configurations(&self.rows), searched(&self.form));
        let law = self.scale.target_law(&self.solution.at);
        let laws: Vec<TargetLaw> =
            points.iter().map(|point| self.scale.target_law(point)).collect();
        let of = |read: fn(&TargetLaw) -> f64| {
            stretched(read(&law), laws.iter().map(read).collect(), stretch)
        };
        let bound = |index| self.solution.is_at_bound(&self.form, index);
        let not_negative = |low: f64| low.max(0.0);
        let coefficients = vec![
            coefficient("A", law.ln_a.exp(), of(|law| law.ln_a).map(f64::exp), bound(2)),
            coefficient("E", law.e, of(|law| law.e).map(not_negative), bound(3)),
            coefficient("alpha", law.alpha, of(|law| law.alpha).map(not_negative), bound(0)),
            coefficient("beta", law.beta, of(|law| law.beta).map(not_negative), bound(1)),
        ];
        TargetFit {
            law,
            coefficients,
            convergence: self.solution.convergence(),
            residuals: self.solution.pairs(&self.rows),
            draws: laws,
            stretch,
        }
    }

    /// Computes the 95 % profile interval of the target loss at N and D, in nats per token.
    pub fn loss_interval(&self, model_size: f64, target_tokens: f64) -> Interval {
        let place = self.scale.row_at(model_size, target_tokens, 0.0);
        let law = self.scale.target_law(&self.solution.at);
        let best = law.loss(model_size, target_tokens).ln();
        let profile = Profile {
            rows: &self.rows,
            weights: &self.weights,
            delta: self.solution.delta,
            threshold: self.threshold,
            through: |ln_loss: f64| TargetForm {
                through: Some((place, ln_loss.exp())),
                ..self.form.clone()
            },
        };
        let reach = WIDEST_FACTOR.ln();
        let low = profile.end(best, best - reach, self.solution.at, 0.005);
        let high = profile.end(best, best + reach, self.solution.at, 0.005);
        Interval { low: Some(low.map_or(0.0, f64::exp)), high: high.map(f64::exp) }
    }
}
