//! The two laws as formulas: forgetting in N, D and p, and the target loss in N and D.

use crate::error::Error;
use serde::{Deserialize, Serialize};

pub(crate) mod forms;
pub(crate) mod injection;

/// `L_pt = L0 + A · D^β / ((1 + B·p) · N)^α`, in nats per token (Bethune et al. 2025).
///
/// N in parameters, D in unique target tokens, p a share, L0 the pretraining loss of the same
/// checkpoint before finetuning. A is kept as its logarithm: in plain units it spans hundreds of
/// decades.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForgettingLaw {
    /// ln A.
    pub ln_a: f64,
    /// B: how many times as much a share of injected data helps as the same share of additional parameters.
    pub b: f64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

impl ForgettingLaw {
    /// Returns the forgetting in nats per token.
    ///
    /// ```
    /// use mixdown_scaling::ForgettingLaw;
    ///
    /// let law = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// // 1 % of pretraining data multiplies N by 1 + 1500 · 0.01 = 16.
    /// let (with, without) = (law.forgetting(1e8, 1e6, 0.01), law.forgetting(16e8, 1e6, 0.0));
    /// assert!((with / without - 1.0).abs() < 1e-12);
    /// ```
    pub fn forgetting(&self, model_size: f64, target_tokens: f64, p: f64) -> f64 {
        self.ln_forgetting(model_size, target_tokens, p).exp()
    }

    /// Returns the natural logarithm of the forgetting.
    pub fn ln_forgetting(&self, model_size: f64, target_tokens: f64, p: f64) -> f64 {
        let ln_size = model_size.ln() + (self.b * p).ln_1p();
        self.ln_a + self.beta * target_tokens.ln() - self.alpha * ln_size
    }

    /// Returns the least share that keeps forgetting within a budget of τ nats per token; `None` if the forgetting
    /// exceeds the budget at every share below 1.
    ///
    /// `p* = max(0, ((A·D^β/τ)^(1/α)/N − 1)/B)`, the law solved for p.
    ///
    /// ```
    /// # use mixdown_scaling::ForgettingLaw;
    /// let law = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// let p = law.p_star(1e8, 1e6, 0.1)?.unwrap();
    /// assert!((law.forgetting(1e8, 1e6, p) - 0.1).abs() < 1e-12);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
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

/// `L_ft = A / (N^α · D^β) + E`, in nats per token (Bethune et al. 2025).
///
/// N in parameters, D in unique target tokens; the share of pretraining data drops out to first order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TargetLaw {
    /// ln A.
    pub ln_a: f64,
    /// E: the loss that remains for any model size and any amount of data.
    pub e: f64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

impl TargetLaw {
    /// Returns the target loss in nats per token.
    ///
    /// ```
    /// use mixdown_scaling::TargetLaw;
    ///
    /// let law = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// assert!(law.loss(1e8, 1e6) > law.loss(1e9, 1e6));
    /// assert!(law.loss(1e30, 1e30) - 1.2 < 1e-6);
    /// ```
    pub fn loss(&self, model_size: f64, target_tokens: f64) -> f64 {
        let ln_reducible =
            self.ln_a - self.alpha * model_size.ln() - self.beta * target_tokens.ln();
        self.e + ln_reducible.exp()
    }
}
