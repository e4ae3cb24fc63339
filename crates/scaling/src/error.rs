//! The reasons why a law cannot be made or fitted.

use mixdown_base::display::plural;
use mixdown_base::error_kind::ErrorKind;

/// Everything that can go wrong in this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A coefficient is outside its range.
    #[error("coefficient {coefficient}: expected {expected}, got {got}")]
    BadCoefficient {
        /// The name of the coefficient in the law.
        coefficient: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// An observation is outside its range.
    #[error("observation {observation}: expected {expected}, got {got}")]
    BadObservation {
        /// The number of the observation, counted from 1.
        observation: u64,
        /// The range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// Too few shares for the curve in p: it has three coefficients, and a fit needs a fourth share.
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
    /// Nothing was forgotten, so that there is no curve to fit.
    #[error(
        "expected forgetting above 0 at small p, got at most {got} nats; there is no curve to fit"
    )]
    NothingForgotten {
        /// The largest observation in nats.
        got: f64,
    },
    /// The runs have too few values of N, D or p to determine a law.
    #[error(
        "{law}: expected {expected}, got {} with {}: {got}",
        plural(*.rows, "row"),
        plural(*.configurations, "configuration")
    )]
    TooFewRows {
        /// The law.
        law: &'static str,
        /// What the law needs.
        expected: String,
        /// Rows given.
        rows: u64,
        /// Distinct (N, D, p) among them.
        configurations: u64,
        /// Their distinct N, D and shares.
        got: String,
    },
    /// None of the starting points of the search ended at an optimum.
    #[error(
        "the fit did not converge: expected a gradient of at most {tolerance:.0e}, got \
         {gradient_norm:.1e} at the best of {starts} starts; check the losses for outliers"
    )]
    Unconverged {
        /// How many starting points were tried.
        starts: u64,
        /// The largest gradient (without units) that counts as an optimum.
        tolerance: f64,
        /// The gradient found.
        gradient_norm: f64,
    },
    /// Advice was asked for a value of N or D other than the only one that was run.
    #[error(
        "{what}: expected {only:e}, the only one that was run, got {got:e}; a law fitted at one value \
         says nothing about others: add runs at a second one"
    )]
    NoExtrapolation {
        /// Model size or target tokens.
        what: &'static str,
        /// The value of all runs.
        only: f64,
        /// The value asked for.
        got: f64,
    },
    /// An option of a fit is out of its range.
    #[error("{option}: expected {expected}, got {got}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// A forgetting budget that is not a finite number above 0.
    #[error("forgetting budget: expected a finite number of nats above 0, got {got}")]
    BadBudget {
        /// The budget in nats.
        got: f64,
    },
}

impl Error {
    /// Returns the kind: whether the options, the observations or the search is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadBudget { .. } | Self::BadOption { .. } | Self::NoExtrapolation { .. } => {
                ErrorKind::Configuration
            }
            Self::Unconverged { .. } => ErrorKind::Numerical,
            _ => ErrorKind::Data,
        }
    }
}
