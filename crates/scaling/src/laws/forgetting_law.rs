//! The law of forgetting in N, D and p.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// `L_pt = L0 + A · D^β / ((1 + B·p) · N)^α`, in nats per token (Bethune et al. 2025).
///
/// N in parameters, D in unique target tokens, p a share, L0 the pretraining loss of the same
/// checkpoint before finetuning. A is kept as its logarithm: in plain units it spans hundreds of
/// decades.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForgettingLaw {
    /// ln A.
    pub ln_a: f64,
    /// B: how many times as efficient a share of injected data is as the same share of N.
    pub b: f64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

impl ForgettingLaw {
    /// Forgetting in nats per token.
    pub fn forgetting(&self, model_size: f64, target_tokens: f64, p: f64) -> f64 {
        self.ln_forgetting(model_size, target_tokens, p).exp()
    }

    /// Its natural logarithm.
    pub fn ln_forgetting(&self, model_size: f64, target_tokens: f64, p: f64) -> f64 {
        let ln_size = model_size.ln() + (self.b * p).ln_1p();
        self.ln_a + self.beta * target_tokens.ln() - self.alpha * ln_size
    }

    /// The least share that keeps forgetting within a budget of τ nats per token; none when every
    /// share below 1 exceeds it.
    ///
    /// `p* = max(0, ((A·D^β/τ)^(1/α)/N − 1)/B)`, the law solved for p.
    ///
    /// # Errors
    /// [`Error::BadBudget`] unless the budget is finite and above 0.
    pub fn p_star(
        &self,
        model_size: f64,
        target_tokens: f64,
        budget: f64,
    ) -> Result<Option<f64>, Error> {
        if !(budget.is_finite() && budget > 0.0) {
            return Err(Error::BadBudget { got: budget });
        }
        let excess = self.ln_forgetting(model_size, target_tokens, 0.0) - budget.ln();
        if excess <= 0.0 {
            return Ok(Some(0.0));
        }
        // expm1 keeps the digits of a budget just below the forgetting at p = 0.
        let p = (excess / self.alpha).exp_m1() / self.b;
        Ok(Some(p).filter(|p| *p < 1.0))
    }
}
