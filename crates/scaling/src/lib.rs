//! Scaling laws of forgetting: pure mathematics on plain observations.
//!
//! Finetuning with a share p of pretraining data in the stream raises the pretraining loss by
//! `A · D^β / ((1 + B·p) · N)^α` nats per token, for N parameters and D unique target tokens. The
//! form is that of Bethune et al., "Scaling Laws for Forgetting during Finetuning with Pretraining
//! Data Injection" (2025).
//!
//! At one N and D that is a curve in p alone, `F0 · (1 + B·p)^(−α)` ([`InjectionLaw`]);
//! [`fit_injection`] finds it from measured points and says whether they identify it.
//!
//! ```
//! use mixdown_scaling::{InjectionLaw, fit_injection};
//!
//! let law = InjectionLaw::new(0.83, 829.0, 0.3)?;
//! let points = [0.0, 0.001, 0.005, 0.01, 0.05].map(|p| (p, law.excess(p)));
//! let fit = fit_injection(&points)?;
//! assert!(fit.identified());
//! assert!((fit.law().b() / 829.0 - 1.0).abs() < 1e-3);
//! # Ok::<(), mixdown_scaling::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod fit;
mod forgetting_law;
mod injection;
mod interval;
mod observation;
mod predict;
mod scaling_fit;
mod search;
mod student;
mod target_law;
mod warning;

pub use crate::error::Error;
pub use crate::fit::{Advice, InjectionFit, fit_injection};
pub use crate::forgetting_law::ForgettingLaw;
pub use crate::injection::{InjectionLaw, forgetting_removed};
pub use crate::interval::{Coefficient, Estimate, Interval};
pub use crate::observation::Observation;
pub use crate::scaling_fit::{
    Comparison, Convergence, DomainFit, FitRecord, ForgettingFit, Grid, HoldOut, HoldOutErrors,
    HoldOutRow, Method, Prediction, Quantity, Residual, ScalingFit, ShareAdvice, Split, TargetFit,
};
pub use crate::target_law::TargetLaw;
pub use crate::warning::Warning;
