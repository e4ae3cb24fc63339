//! Advice from the laws: the share that a forgetting budget needs.

use crate::error::Error;
use crate::fit::fitted_forgetting::FittedForgetting;
use crate::fit::fitted_target::FittedTarget;
use crate::fit::records::{AdviceStatus, Grid, Prediction, ScalingFit, ShareAdvice};
use crate::fit::warning::Warning;
use crate::intervals::{Estimate, Interval};
use crate::observation::canonical;

/// The shares for which advice predicts the losses, besides p*.
const SHARES: [f64; 5] = [0.0, 0.001, 0.005, 0.01, 0.05];
/// A value that is outside the grid by more than this factor gives a warning.
const BEYOND: f64 = 1.01;
/// An answer for a value that is outside the grid by more than this factor is a guess.
const FARTHEST: f64 = 10.0;
/// A share that counts as all of the mixture.
const WHOLE: f64 = 1.0 - 1e-9;

/// A planned finetuning and its forgetting budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FinetuningPlan {
    /// N in parameters.
    pub model_size: f64,
    /// D in unique target tokens.
    pub target_tokens: f64,
    /// τ: forgetting allowed in nats per token.
    pub budget: f64,
    /// Pretraining loss of the model before finetuning; `None` means that of the runs with this N.
    pub pretraining_loss_before: Option<f64>,
}

impl ScalingFit {
    /// Computes the least share that keeps the budget, `p* = max(0, ((A·D^β/τ)^(1/α)/N − 1)/B)`, and what the laws
    /// predict there and at common shares. Intervals are by profile likelihood, for which the laws are fitted again
    /// (about 20 ms on 125 runs).
    ///
    /// ```
    /// # use mixdown_scaling::{AdviceStatus, FinetuningPlan, FitOptions, ForgettingLaw, Simulation, TargetLaw};
    /// # use mixdown_scaling::{fit_scaling, full_grid};
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.001 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// let advice = fit.advise(&FinetuningPlan {
    ///     model_size: 334e6,
    ///     target_tokens: 3e6,
    ///     budget: 0.2,
    ///     pretraining_loss_before: None,
    /// })?;
    /// assert_eq!(advice.status(), AdviceStatus::Identified);
    /// assert!(advice.p.is_some_and(|p| p > 0.0) && !advice.is_far());
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadBudget`]; [`Error::NoExtrapolation`] if the runs have only one N (or D) and the plan has another;
    /// the errors of [`crate::fit_scaling`].
    pub fn advise(&self, plan: &FinetuningPlan) -> Result<ShareAdvice, Error> {
        let FinetuningPlan { model_size, target_tokens, budget, .. } = *plan;
        let p = self.forgetting.law.p_star(model_size, target_tokens, budget)?;
        self.check_within_runs(model_size, target_tokens)?;
        let delta = Some(self.forgetting.convergence.huber_delta);
        // A fit that was read from a file may have its observations in another order.
        let observations = canonical(&self.observations);
        let forgetting = FittedForgetting::new(&observations, delta)?;
        let target = match &self.target {
            None => None,
            Some(target) => {
                let delta = Some(target.convergence.huber_delta);
                Some(FittedTarget::new(&observations, delta)?)
            }
        };
        let interval = forgetting.share_interval(model_size, target_tokens, budget);
        let interval = self.open_without_effect(p, interval);
        let identified = interval.high.is_some();
        // The best value of a flat profile is an accident of the noise, so it is not reported.
        let p = p.filter(|_| identified);
        let loss_interval =
            target.as_ref().map(|target| target.loss_interval(model_size, target_tokens));
        let predict = |p: f64| {
            let within = forgetting.forgetting_interval(model_size, target_tokens, p);
            self.with_profiles(plan, p, within, loss_interval)
        };
        let repeated = |p: &f64| SHARES.iter().any(|share| (share - p).abs() < 1e-12);
        let own = p.filter(|p| !repeated(p));
        Ok(ShareAdvice {
            model_size,
            target_tokens,
            budget,
            p,
            interval,
            identified,
            price: p.map(|p| 1.0 / (1.0 - p)),
            predictions: own.into_iter().chain(SHARES).map(predict).collect(),
            warnings: self.advice_warnings(plan, p, interval),
        })
    }

    /// Opens the upper end of the interval if B stopped at the least value that is searched: the runs show no effect of
    /// the share, so p* may be any larger share, and the upper end of the profile is only the end of the search.
    fn open_without_effect(&self, p: Option<f64>, interval: Interval) -> Interval {
        let at_bound =
            self.forgetting.coefficients.iter().any(|one| one.name == "B" && one.at_bound);
        let largest = self.grid.shares.last().copied().unwrap_or(0.0);
        let no_effect = at_bound && self.forgetting.law.b * largest < 1.0;
        if no_effect && p.is_some_and(|p| p > 0.0) {
            return Interval { high: None, ..interval };
        }
        interval
    }

    fn with_profiles(
        &self,
        plan: &FinetuningPlan,
        p: f64,
        within: Interval,
        loss_interval: Option<Interval>,
    ) -> Prediction {
        let FinetuningPlan { model_size, target_tokens, pretraining_loss_before, .. } = *plan;
        let value = self.forgetting.law.forgetting(model_size, target_tokens, p);
        let before = pretraining_loss_before.or_else(|| self.pretraining_loss_before(model_size));
        let target = self.target.as_ref().zip(loss_interval);
        Prediction {
            model_size,
            target_tokens,
            p,
            forgetting: Estimate { value, interval: within },
            pretraining_loss: before.map(|before| Estimate {
                value: before + value,
                interval: within.map(|nats| before + nats),
            }),
            target_loss: target.map(|(target, interval)| Estimate {
                value: target.law.loss(model_size, target_tokens),
                interval,
            }),
        }
    }

    /// Refuses a plan at another N (or D) if the runs have only one, because the law holds only there.
    fn check_within_runs(&self, model_size: f64, target_tokens: f64) -> Result<(), Error> {
        let axes = [
            ("model size", model_size, &self.grid.model_sizes),
            ("target tokens", target_tokens, &self.grid.target_tokens),
        ];
        for (what, got, values) in axes {
            if !(got.is_finite() && got > 0.0) {
                let expected = "a finite number above 0";
                return Err(Error::BadOption { option: what, expected, got });
            }
            match values.as_slice() {
                [only] if (got / only - 1.0).abs() > 1e-3 => {
                    return Err(Error::NoExtrapolation { what, only: *only, got });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn advice_warnings(
        &self,
        plan: &FinetuningPlan,
        p: Option<f64>,
        interval: Interval,
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if interval.high.is_none() {
            warnings.push(Warning::NotIdentified("p*".to_owned()));
        }
        let Grid { model_sizes, target_tokens, shares, .. } = &self.grid;
        warnings.extend(beyond((plan, p), model_sizes, target_tokens, shares));
        warnings
    }
}

/// Returns a warning for each of N, D and p* that lies outside the values of the runs, which rise.
pub(crate) fn beyond(
    (plan, p): (&FinetuningPlan, Option<f64>),
    model_sizes: &[f64],
    target_tokens: &[f64],
    shares: &[f64],
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let largest = shares.last().copied().unwrap_or(0.0);
    if let Some(p) = p.filter(|p| *p > largest) {
        warnings.push(Warning::ShareBeyondGrid { p, largest });
    }
    let size = factor_beyond(plan.model_size, model_sizes);
    if size > BEYOND {
        warnings.push(Warning::ModelSizeBeyondGrid(size));
    }
    let tokens = factor_beyond(plan.target_tokens, target_tokens);
    if tokens > BEYOND {
        warnings.push(Warning::TargetTokensBeyondGrid(tokens));
    }
    warnings
}

impl ShareAdvice {
    /// Returns whether p* is a finding of the runs.
    ///
    /// ```
    /// # use mixdown_scaling::{FinetuningPlan, FitOptions, ForgettingLaw, Simulation, TargetLaw};
    /// # use mixdown_scaling::{fit_scaling, full_grid};
    /// use mixdown_scaling::AdviceStatus;
    ///
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.001 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// # let plan = |model_size| FinetuningPlan {
    /// #     model_size,
    /// #     target_tokens: 3e6,
    /// #     budget: 0.2,
    /// #     pretraining_loss_before: None,
    /// # };
    /// assert_eq!(fit.advise(&plan(334e6))?.status(), AdviceStatus::Identified);
    /// let far = fit.advise(&plan(70e9))?;
    /// assert_eq!(far.status(), AdviceStatus::Extrapolated, "N is 200 times that of the largest run");
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    pub fn status(&self) -> AdviceStatus {
        let excluded = self.p.is_none() && excludes_all(self.interval);
        if !self.identified && !excluded {
            AdviceStatus::NotIdentified
        } else if self.is_far() {
            AdviceStatus::Extrapolated
        } else if excluded {
            AdviceStatus::NoShare
        } else {
            AdviceStatus::Identified
        }
    }

    /// Returns whether N, D or p* lies more than ten times beyond the runs.
    pub fn is_far(&self) -> bool {
        self.warnings.iter().any(is_far)
    }

    /// Returns the factor by which N, D or p* lies outside the runs, whichever is largest; 1 if all lie within.
    pub fn extrapolation(&self) -> f64 {
        self.warnings.iter().map(factor).fold(1.0, f64::max)
    }
}

/// The factor by which a plan lies outside the runs, according to one warning.
fn factor(warning: &Warning) -> f64 {
    match warning {
        Warning::ModelSizeBeyondGrid(factor) | Warning::TargetTokensBeyondGrid(factor) => *factor,
        Warning::ShareBeyondGrid { p, largest } => p / largest,
        _ => 1.0,
    }
}

/// Returns whether a warning is about a value that lies more than ten times outside the runs.
pub(crate) fn is_far(warning: &Warning) -> bool {
    factor(warning) > FARTHEST * (1.0 + 1e-9)
}

/// Returns whether an interval of p* contains no share below 1.
fn excludes_all(interval: Interval) -> bool {
    interval.high.is_none() && interval.low.is_some_and(|low| low >= WHOLE)
}

/// The factor by which a value lies outside rising values; 1 within them.
fn factor_beyond(value: f64, values: &[f64]) -> f64 {
    match (values.first(), values.last()) {
        (Some(first), Some(last)) => (value / last).max(first / value).max(1.0),
        _ => 1.0,
    }
}
