//! The law of forgetting over model size, target tokens and p.

use serde::Serialize;

use crate::error::Error;
use crate::injection::InjectionLaw;

/// `excess(N, D, p) = A · D^β / ((1 + B·p) · N)^α`, in nats per token over the pretraining loss
/// before finetuning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ForgettingLaw {
    a: f64,
    b: f64,
    alpha: f64,
    beta: f64,
}

impl ForgettingLaw {
    /// The law with these coefficients, N and D in plain units (parameters, tokens).
    ///
    /// # Errors
    /// [`Error::BadCoefficient`] unless all are finite, `a` and `alpha` above 0, `b` and `beta` at
    /// least 0.
    pub fn new(a: f64, b: f64, alpha: f64, beta: f64) -> Result<Self, Error> {
        check_positive("A", a)?;
        check_positive("alpha", alpha)?;
        check_not_negative("B", b)?;
        check_not_negative("beta", beta)?;
        Ok(Self { a, b, alpha, beta })
    }

    /// Scale A of the excess.
    pub fn a(&self) -> f64 {
        self.a
    }

    /// Relative efficiency B of injected data.
    pub fn b(&self) -> f64 {
        self.b
    }

    /// Exponent of model size and injection.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Exponent of the target tokens.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// Forgetting in nats per token for N parameters, D unique target tokens and share p.
    pub fn excess(&self, model_size: u64, target_tokens: u64, p: f64) -> f64 {
        self.at(model_size, target_tokens).excess(p)
    }

    /// Forgetting at p relative to p = 0: `(1 + B·p)^(−α)`, whatever N and D are.
    pub fn relative_forgetting(&self, p: f64) -> f64 {
        relative(self.b, self.alpha, p)
    }

    /// The least share that keeps forgetting within a budget; none when every share below 1
    /// exceeds it.
    ///
    /// `p* = max(0, ((A·D^β/τ)^(1/α) / N − 1) / B)`.
    ///
    /// # Errors
    /// [`Error::BadBudget`] unless the budget is finite and above 0.
    pub fn p_star(
        &self,
        budget_nats: f64,
        model_size: u64,
        target_tokens: u64,
    ) -> Result<Option<f64>, Error> {
        self.at(model_size, target_tokens).p_star(budget_nats)
    }

    /// The curve in p at one model size and number of target tokens.
    ///
    /// In logarithms, so that no power overflows on the way. Both counts are taken as at least 1.
    pub fn at(&self, model_size: u64, target_tokens: u64) -> InjectionLaw {
        let log_excess =
            self.a.ln() + self.beta * log_count(target_tokens) - self.alpha * log_count(model_size);
        InjectionLaw::from_checked(log_excess.exp(), self.b, self.alpha)
    }
}

/// The closed factor `(1 + B·p)^(−α)`.
pub(crate) fn relative(b: f64, alpha: f64, p: f64) -> f64 {
    (-alpha * (b * p).ln_1p()).exp()
}

/// Logarithm of a count of parameters or tokens; above 2^53 rounded, which no law would notice.
pub(crate) fn log_count(count: u64) -> f64 {
    (count.max(1) as f64).ln()
}

pub(crate) fn check_positive(coefficient: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got > 0.0 {
        return Ok(());
    }
    Err(Error::BadCoefficient { coefficient, expected: "a finite number above 0", got })
}

pub(crate) fn check_not_negative(coefficient: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got >= 0.0 {
        return Ok(());
    }
    Err(Error::BadCoefficient { coefficient, expected: "a finite number of at least 0", got })
}

#[cfg(test)]
mod tests {
    use super::ForgettingLaw;

    #[test]
    fn the_closed_factors_of_near_and_far_domains() {
        let near = ForgettingLaw::new(1.0, 829.0, 0.3, 0.5).unwrap();
        let far = ForgettingLaw::new(1.0, 1e4, 0.7, 0.5).unwrap();
        assert_eq!(format!("{:.2}", near.relative_forgetting(0.01)), "0.51");
        assert_eq!(format!("{:.2}", far.relative_forgetting(0.01)), "0.04");
        assert!((near.relative_forgetting(0.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_excess_is_the_formula() {
        let law = ForgettingLaw::new(3.0, 829.0, 0.3, 0.4).unwrap();
        let direct = 3.0 * 1e6_f64.powf(0.4) / ((1.0 + 829.0 * 0.02) * 4.1e7_f64).powf(0.3);
        assert!((law.excess(41_000_000, 1_000_000, 0.02) / direct - 1.0).abs() < 1e-12);
    }

    #[test]
    fn p_star_spends_the_budget_exactly() {
        let law = ForgettingLaw::new(3.0, 829.0, 0.3, 0.4).unwrap();
        let (n, d) = (41_000_000, 1_000_000);
        for share in [0.9, 0.5, 0.2] {
            let budget = share * law.excess(n, d, 0.0);
            let p = law.p_star(budget, n, d).unwrap().unwrap();
            assert!((law.excess(n, d, p) / budget - 1.0).abs() < 1e-12);
            let written_out =
                ((3.0 * 1e6_f64.powf(0.4) / budget).powf(1.0 / 0.3) / 4.1e7 - 1.0) / 829.0;
            assert!((p / written_out - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn coefficients_out_of_range_are_named() {
        for (a, b, alpha, beta) in [
            (0.0, 1.0, 1.0, 1.0),
            (1.0, -1.0, 1.0, 1.0),
            (1.0, 1.0, f64::NAN, 1.0),
            (1.0, 1.0, 1.0, f64::INFINITY),
        ] {
            assert!(ForgettingLaw::new(a, b, alpha, beta).is_err());
        }
        let error = ForgettingLaw::new(1.0, 1.0, 0.0, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "coefficient alpha: expected a finite number above 0, got 0");
    }
}
