//! The law of the target loss in N and D.

use serde::{Deserialize, Serialize};

/// `L_ft = A / (N^α · D^β) + E`, in nats per token (Bethune et al. 2025).
///
/// N in parameters, D in unique target tokens; the share of pretraining data drops out to first order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TargetLaw {
    /// ln A.
    pub ln_a: f64,
    /// E: the loss that no model and no amount of data gets below.
    pub e: f64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

impl TargetLaw {
    /// Target loss in nats per token.
    pub fn loss(&self, model_size: f64, target_tokens: f64) -> f64 {
        let ln_reducible =
            self.ln_a - self.alpha * model_size.ln() - self.beta * target_tokens.ln();
        self.e + ln_reducible.exp()
    }
}
