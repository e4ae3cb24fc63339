//! The law of forgetting as a curve in p, at one model size and number of target tokens.

use serde::Serialize;

use crate::error::Error;

/// `excess(p) = F0 · (1 + B·p)^(−α)`, in nats per token over the pretraining loss before finetuning.
///
/// With N parameters and D unique target tokens the law's `A · D^β / ((1 + B·p) · N)^α` has
/// `F0 = A · D^β / N^α`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InjectionLaw {
    f0: f64,
    b: f64,
    alpha: f64,
}

impl InjectionLaw {
    /// Returns the curve with these coefficients.
    ///
    /// ```
    /// use mixdown_scaling::InjectionLaw;
    ///
    /// let law = InjectionLaw::new(0.83, 829.0, 0.3)?;
    /// assert_eq!(law.excess(0.0), 0.83);
    /// assert!((law.relative_forgetting(0.01) - 0.51).abs() < 0.01, "1 % removes half of the forgetting");
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadCoefficient`] unless all are finite, `f0` and `alpha` above 0 and `b` at least 0.
    pub fn new(f0: f64, b: f64, alpha: f64) -> Result<Self, Error> {
        check_positive("F0", f0)?;
        check_not_negative("B", b)?;
        check_positive("alpha", alpha)?;
        Ok(Self { f0, b, alpha })
    }

    pub(crate) fn from_checked(f0: f64, b: f64, alpha: f64) -> Self {
        Self { f0, b, alpha }
    }

    /// Returns the forgetting at p = 0 in nats per token.
    pub fn f0(&self) -> f64 {
        self.f0
    }

    /// Returns the relative efficiency B of injected data.
    pub fn b(&self) -> f64 {
        self.b
    }

    /// Returns the exponent α.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Returns the forgetting in nats per token at share p.
    pub fn excess(&self, p: f64) -> f64 {
        self.f0 * self.relative_forgetting(p)
    }

    /// Returns the forgetting at p relative to that at p = 0.
    pub fn relative_forgetting(&self, p: f64) -> f64 {
        relative(self.b, self.alpha, p)
    }

    /// Returns the least share that keeps forgetting within a budget; `None` if the forgetting exceeds the budget at
    /// every share below 1.
    ///
    /// `p* = max(0, ((F0/τ)^(1/α) − 1) / B)`.
    ///
    /// ```
    /// # use mixdown_scaling::InjectionLaw;
    /// let law = InjectionLaw::new(0.83, 829.0, 0.3)?;
    /// let p = law.p_star(0.4)?.unwrap();
    /// assert!((law.excess(p) - 0.4).abs() < 1e-12);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadBudget`] unless the budget is finite and above 0.
    pub fn p_star(&self, budget_nats: f64) -> Result<Option<f64>, Error> {
        if !(budget_nats.is_finite() && budget_nats > 0.0) {
            return Err(Error::BadBudget { got: budget_nats });
        }
        if self.f0 <= budget_nats {
            return Ok(Some(0.0));
        }
        // expm1 keeps the digits of a budget just below F0.
        let p = ((self.f0 / budget_nats).ln() / self.alpha).exp_m1() / self.b;
        Ok(Some(p).filter(|p| *p < 1.0))
    }
}

/// Returns the share of a baseline's forgetting (p = 0) that was removed: 1 means all of it, a value below 0 means that
/// forgetting grew.
///
/// It is `None` if the baseline forgot nothing, because then there is nothing to remove.
///
/// ```
/// use mixdown_scaling::forgetting_removed;
///
/// assert_eq!(forgetting_removed(0.8, 0.2), Some(0.75));
/// assert_eq!(forgetting_removed(-0.1, 0.2), None);
/// ```
pub fn forgetting_removed(baseline_nats: f64, value_nats: f64) -> Option<f64> {
    let defined = baseline_nats.is_finite() && baseline_nats > 0.0 && value_nats.is_finite();
    defined.then(|| 1.0 - value_nats / baseline_nats)
}

/// The closed factor `(1 + B·p)^(−α)`.
pub(crate) fn relative(b: f64, alpha: f64, p: f64) -> f64 {
    (-alpha * (b * p).ln_1p()).exp()
}

fn check_positive(coefficient: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got > 0.0 {
        return Ok(());
    }
    Err(Error::BadCoefficient { coefficient, expected: "a finite number above 0", got })
}

fn check_not_negative(coefficient: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got >= 0.0 {
        return Ok(());
    }
    Err(Error::BadCoefficient { coefficient, expected: "a finite number of at least 0", got })
}

#[cfg(test)]
mod tests {
    use super::{InjectionLaw, forgetting_removed};
    use crate::error::Error;

    #[test]
    fn the_closed_factors_of_near_and_far_domains() {
        let near = InjectionLaw::new(1.0, 829.0, 0.3).unwrap();
        let far = InjectionLaw::new(1.0, 1e4, 0.7).unwrap();
        assert_eq!(format!("{:.2}", near.relative_forgetting(0.01)), "0.51");
        assert_eq!(format!("{:.2}", far.relative_forgetting(0.01)), "0.04");
        assert!((near.relative_forgetting(0.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn p_star_spends_the_budget_exactly() {
        let law = InjectionLaw::new(0.83, 829.0, 0.3).unwrap();
        for share in [0.9, 0.5, 0.2] {
            let budget = share * 0.83;
            let p = law.p_star(budget).unwrap().unwrap();
            assert!((law.excess(p) / budget - 1.0).abs() < 1e-12);
            let written_out = ((0.83 / budget).powf(1.0 / 0.3) - 1.0) / 829.0;
            assert!((p / written_out - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn coefficients_out_of_range_are_named() {
        for (f0, b, alpha) in
            [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, f64::NAN), (f64::INFINITY, 1.0, 1.0)]
        {
            assert!(InjectionLaw::new(f0, b, alpha).is_err());
        }
        let error = InjectionLaw::new(1.0, 1.0, 0.0).unwrap_err();
        assert_eq!(error.to_string(), "coefficient alpha: expected a finite number above 0, got 0");
    }

    #[test]
    fn a_budget_no_share_meets_has_no_p_star() {
        let law = InjectionLaw::new(0.8, 10.0, 0.3).unwrap();
        assert_eq!(law.p_star(0.8), Ok(Some(0.0)));
        assert_eq!(law.p_star(1.5), Ok(Some(0.0)));
        assert_eq!(law.p_star(0.01), Ok(None));
        let flat = InjectionLaw::new(0.8, 0.0, 0.3).unwrap();
        assert_eq!(flat.p_star(0.7), Ok(None));
        for budget in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(law.p_star(budget), Err(Error::BadBudget { .. })));
        }
    }

    #[test]
    fn removed_is_a_share_of_the_baseline() {
        assert!((forgetting_removed(0.8, 0.4).unwrap() - 0.5).abs() < 1e-12);
        assert!((forgetting_removed(0.8, -0.08).unwrap() - 1.1).abs() < 1e-12);
        assert!(forgetting_removed(0.8, 1.0).unwrap() < 0.0);
        assert_eq!(forgetting_removed(0.0, 0.1), None);
        assert_eq!(forgetting_removed(-0.1, 0.1), None);
        assert_eq!(forgetting_removed(f64::NAN, 0.1), None);
    }
}
