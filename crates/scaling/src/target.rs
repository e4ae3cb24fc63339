//! The law of the target loss.

use serde::Serialize;

use crate::error::Error;
use crate::forgetting::{check_not_negative, check_positive, log_count};

/// `loss(N, D) = E + A / (N^α · D^β)`, in nats per token; p drops out to first order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TargetLaw {
    a: f64,
    e: f64,
    alpha: f64,
    beta: f64,
}

impl TargetLaw {
    /// The law with these coefficients, N and D in plain units (parameters, tokens).
    ///
    /// # Errors
    /// [`Error::BadCoefficient`] unless all are finite, `a` above 0 and the others at least 0.
    pub fn new(a: f64, e: f64, alpha: f64, beta: f64) -> Result<Self, Error> {
        check_positive("A", a)?;
        check_not_negative("E", e)?;
        check_not_negative("alpha", alpha)?;
        check_not_negative("beta", beta)?;
        Ok(Self { a, e, alpha, beta })
    }

    /// Scale A of the part that falls with N and D.
    pub fn a(&self) -> f64 {
        self.a
    }

    /// The loss that remains, E.
    pub fn e(&self) -> f64 {
        self.e
    }

    /// Exponent of the model size.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Exponent of the target tokens.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// Target loss in nats per token for N parameters and D unique target tokens (each taken as at
    /// least 1).
    pub fn loss(&self, model_size: u64, target_tokens: u64) -> f64 {
        let log_part =
            self.a.ln() - self.alpha * log_count(model_size) - self.beta * log_count(target_tokens);
        self.e + log_part.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::TargetLaw;

    #[test]
    fn the_loss_is_the_formula_and_ends_at_e() {
        let law = TargetLaw::new(400.0, 1.7, 0.2, 0.1).unwrap();
        let direct = 1.7 + 400.0 / (1e8_f64.powf(0.2) * 3e6_f64.powf(0.1));
        assert!((law.loss(100_000_000, 3_000_000) - direct).abs() < 1e-12);
        assert!(law.loss(u64::MAX, u64::MAX) - 1.7 < 1e-2);
        assert!(TargetLaw::new(400.0, -0.1, 0.2, 0.1).is_err());
    }
}
