//! Why a law or a fit cannot be had.

/// Everything that can go wrong in this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A coefficient is outside its range.
    #[error("coefficient {coefficient}: expected {expected}, got {got}")]
    BadCoefficient {
        /// Its name in the law.
        coefficient: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// An observation is outside its range.
    #[error("observation {observation}: expected {expected}, got {got}")]
    BadObservation {
        /// Which one, counted from 1.
        observation: u64,
        /// The range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// The curve in p has three coefficients, and a fit needs a point beyond them.
    #[error(
        "expected forgetting at {needed} different shares p or more (the curve has three \
         coefficients), got {got}; add runs at other p"
    )]
    TooFewShares {
        /// Distinct shares needed.
        needed: u64,
        /// Distinct shares given.
        got: u64,
    },
    /// No curve fits because nothing was forgotten.
    #[error(
        "expected forgetting above 0 at small p, got at most {got} nats; there is no curve to fit"
    )]
    NothingForgotten {
        /// The largest observation in nats.
        got: f64,
    },
    /// A budget that asks for nothing.
    #[error("forgetting budget: expected a finite number of nats above 0, got {got}")]
    BadBudget {
        /// The budget in nats.
        got: f64,
    },
}

impl Error {
    /// Whether the user's options are wrong, not the observations.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::BadBudget { .. })
    }
}
