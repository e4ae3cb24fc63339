//! The fitted laws at any N, D and p, with bands from the bootstrap draws.

use crate::fit::records::{ForgettingFit, Prediction, ScalingFit, TargetFit};
use crate::intervals::{Estimate, Interval};

impl ScalingFit {
    /// Predicts the losses at N, D and p, with 95 % bands of the laws (not of one new run).
    ///
    /// The pretraining loss needs its value before finetuning: `pretraining_loss_before`, or that of the runs with this
    /// N if it is `None`.
    ///
    /// ```
    /// # use mixdown_scaling::{FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid};
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// let prediction = fit.predict(334e6, 1e6, 0.02, None);
    /// let truth = forgetting.forgetting(334e6, 1e6, 0.02);
    /// assert!((prediction.forgetting.value - truth).abs() < 1e-6);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    pub fn predict(
        &self,
        model_size: f64,
        target_tokens: f64,
        p: f64,
        pretraining_loss_before: Option<f64>,
    ) -> Prediction {
        let forgetting = self.forgetting.forgetting(model_size, target_tokens, p);
        let before = pretraining_loss_before.or_else(|| self.pretraining_loss_before(model_size));
        let after = |before: f64| Estimate {
            value: forgetting.value + before,
            interval: forgetting.interval.map(|nats| nats + before),
        };
        let target_loss = self.target.as_ref().map(|target| target.loss(model_size, target_tokens));
        Prediction {
            model_size,
            target_tokens,
            p,
            forgetting,
            pretraining_loss: before.map(after),
            target_loss,
        }
    }

    /// Returns the mean pretraining loss before finetuning over the runs of this N, in nats per token; `None` if no run
    /// has this N.
    ///
    /// ```
    /// # use mixdown_scaling::{FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid};
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// assert!(fit.pretraining_loss_before(41e6).is_some());
    /// assert!(fit.pretraining_loss_before(1e9).is_none());
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    pub fn pretraining_loss_before(&self, model_size: f64) -> Option<f64> {
        let of_size = |size: f64| (size / model_size - 1.0).abs() < 1e-9;
        let same = self.observations.iter().filter(|one| of_size(one.model_size));
        let losses: Vec<f64> = same.map(|one| one.pretraining_loss_before).collect();
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }
}

impl ForgettingFit {
    /// Predicts the forgetting in nats per token at N, D and p, with its 95 % band.
    ///
    /// ```
    /// # use mixdown_scaling::{FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid};
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// let predicted = fit.forgetting.forgetting(334e6, 1e6, 0.02);
    /// assert!((predicted.value - forgetting.forgetting(334e6, 1e6, 0.02)).abs() < 1e-6);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    pub fn forgetting(&self, model_size: f64, target_tokens: f64, p: f64) -> Estimate {
        let best = self.law.ln_forgetting(model_size, target_tokens, p);
        let draws = self.draws.iter().map(|law| law.ln_forgetting(model_size, target_tokens, p));
        let interval = stretched(best, draws.collect(), self.stretch).map(f64::exp);
        Estimate { value: best.exp(), interval }
    }
}

impl TargetFit {
    /// Predicts the target loss in nats per token at N and D, with its 95 % band.
    ///
    /// ```
    /// # use mixdown_scaling::{FitOptions, ForgettingLaw, Simulation, TargetLaw, fit_scaling, full_grid};
    /// # let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// # let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// # let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
    /// # let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
    /// # let fit = fit_scaling(&runs, &FitOptions { draws: 0, ..FitOptions::default() })?;
    /// let predicted = fit.target.as_ref().unwrap().loss(334e6, 1e6);
    /// assert!((predicted.value - target.loss(334e6, 1e6)).abs() < 1e-6);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    pub fn loss(&self, model_size: f64, target_tokens: f64) -> Estimate {
        let best = self.law.loss(model_size, target_tokens).ln();
        let draws = self.draws.iter().map(|law| law.loss(model_size, target_tokens).ln());
        let interval = stretched(best, draws.collect(), self.stretch).map(f64::exp);
        Estimate { value: best.exp(), interval }
    }
}

/// The central 95 % of the draws, with their distance from the best value stretched; open without draws.
pub(crate) fn stretched(best: f64, mut draws: Vec<f64>, stretch: f64) -> Interval {
    draws.retain(|draw| !draw.is_nan());
    if draws.is_empty() {
        return Interval::OPEN;
    }
    draws.sort_unstable_by(f64::total_cmp);
    let end = |share: f64| best + stretch * (quantile(&draws, share) - best);
    Interval::new(end(0.025).min(best), end(0.975).max(best))
}

/// Quantile of sorted values, linear between neighbors.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floor of a number between 0 and a slice's length"
    )]
    let below = place.floor() as usize;
    let last = sorted.last().copied().unwrap_or(f64::NAN);
    let low = sorted.get(below).copied().unwrap_or(last);
    let high = sorted.get(below + 1).copied().unwrap_or(last);
    low + (high - low) * (place - place.floor())
}
