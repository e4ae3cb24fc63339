//! The laws that a planned grid of runs is simulated from: those of a fit, or expected coefficients.

use mixdown_scaling::{DomainFit, FinetuningPlan, ForgettingLaw, Simulation, TargetLaw};

use crate::error::Error;

/// The noise of a loss between seeds, if it is not given.
const NOISE: f64 = 0.003;
/// A target law, which does not affect p*; it only fills the column.
const ANY_TARGET: TargetLaw = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };

/// The law of forgetting that is expected before any run is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedLaw {
    /// Forgetting at p = 0 with the planned model and data, in nats per token.
    pub forgetting: f64,
    /// The efficiency B of pretraining data: about 800 near to it, 10,000 far from it.
    pub b: f64,
    /// The exponent α of the model size.
    pub alpha: f64,
    /// The exponent β of the target tokens.
    pub beta: f64,
}

impl ExpectedLaw {
    /// Returns the simulation of runs by this law, with a factor A that gives the expected forgetting for `plan`.
    /// `noise` is the standard deviation of a measured loss as a share of the loss; `None` means 0.3 %.
    ///
    /// ```
    /// use mixdown_experiments::ExpectedLaw;
    /// use mixdown_scaling::FinetuningPlan;
    ///
    /// let plan = FinetuningPlan {
    ///     model_size: 1e9,
    ///     target_tokens: 3e7,
    ///     budget: 0.02,
    ///     pretraining_loss_before: None,
    /// };
    /// let expected = ExpectedLaw { forgetting: 0.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// let law = expected.simulation(&plan, None)?.forgetting;
    /// assert!((law.forgetting(1e9, 3e7, 0.0) - 0.2).abs() < 1e-12);
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    ///
    /// # Errors
    /// A coefficient that is not a finite number above 0.
    pub fn simulation(
        &self,
        plan: &FinetuningPlan,
        noise: Option<f64>,
    ) -> Result<Simulation, Error> {
        let numbers = [("b", self.b), ("alpha", self.alpha), ("forgetting", self.forgetting)];
        for (coefficient, got) in numbers {
            if !(got.is_finite() && got > 0.0) {
                return Err(Error::Coefficient { coefficient, got });
            }
        }
        let law = ForgettingLaw { ln_a: 0.0, b: self.b, alpha: self.alpha, beta: self.beta };
        let ln_a =
            self.forgetting.ln() - law.ln_forgetting(plan.model_size, plan.target_tokens, 0.0);
        let forgetting = ForgettingLaw { ln_a, ..law };
        Ok(Simulation { forgetting, target: ANY_TARGET, noise: noise.unwrap_or(NOISE) })
    }
}

/// Returns the simulation of runs by the laws of a fit, with `noise` or that of the fit, and a warning for the reader
/// if the law is not identified.
///
/// ```
/// # let domain = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_domain.in"));
/// use mixdown_experiments::{fit_domain, simulation_of_fit};
/// use mixdown_scaling::FitOptions;
///
/// let fit = fit_domain(&domain, &FitOptions { draws: 0, ..FitOptions::default() }, None)?;
/// let (simulation, warning) = simulation_of_fit(&fit, Some(0.01));
/// assert_eq!((simulation.forgetting, simulation.noise), (fit.fit.forgetting.law, 0.01));
/// assert_eq!(warning.is_none(), fit.fit.forgetting.identified);
/// # Ok::<(), mixdown_experiments::Error>(())
/// ```
pub fn simulation_of_fit(one: &DomainFit, noise: Option<f64>) -> (Simulation, Option<String>) {
    let forgetting = &one.fit.forgetting;
    let warning = (!forgetting.identified).then(|| {
        format!(
            "the law of {} is not identified: what is simulated from it is one of many laws that fit as well",
            one.domain
        )
    });
    let simulation = Simulation {
        forgetting: forgetting.law,
        target: ANY_TARGET,
        noise: noise.unwrap_or(forgetting.convergence.root_mean_square),
    };
    (simulation, warning)
}

#[cfg(test)]
mod tests {
    use mixdown_scaling::FinetuningPlan;

    use super::ExpectedLaw;

    const LAW: ExpectedLaw = ExpectedLaw { forgetting: 0.15, b: 3000.0, alpha: 0.5, beta: 0.3 };
    const PLAN: FinetuningPlan = FinetuningPlan {
        model_size: 1.27e9,
        target_tokens: 30e6,
        budget: 0.05,
        pretraining_loss_before: None,
    };

    #[test]
    fn the_law_gives_the_forgetting_that_is_expected() {
        let simulation = LAW.simulation(&PLAN, None).unwrap();
        let law = simulation.forgetting;
        let got = law.ln_forgetting(PLAN.model_size, PLAN.target_tokens, 0.0).exp();
        assert!((got - 0.15).abs() < 1e-12 && (simulation.noise - 0.003).abs() < 1e-12, "{got}");
    }

    #[test]
    fn coefficients_are_finite_and_above_0() {
        for law in [
            ExpectedLaw { b: 0.0, ..LAW },
            ExpectedLaw { alpha: f64::NAN, ..LAW },
            ExpectedLaw { forgetting: f64::INFINITY, ..LAW },
        ] {
            let error = law.simulation(&PLAN, None).unwrap_err().to_string();
            assert!(error.contains(": expected a finite number above 0, got "), "{error}");
        }
    }
}
