//! Scaling laws of forgetting: pure mathematics on plain observations.
//!
//! Finetuning with a share p of pretraining data in the stream raises the pretraining loss by
//! `A · D^β / ((1 + B·p) · N)^α` nats per token ([`ForgettingLaw`]) and brings the target loss to
//! `E + A / (N^α · D^β)` ([`TargetLaw`]), for N parameters and D unique target tokens. The form of
//! both is that of Bethune et al., "Scaling Laws for Forgetting during Finetuning with Pretraining
//! Data Injection" (2025).
//!
//! At one N and D the first law is a curve in p alone ([`InjectionLaw`]); [`fit_injection`] finds it
//! from measured points and says whether they identify it.
//!
//! ```
//! use mixdown_scaling::{ForgettingLaw, fit_injection};
//!
//! let law = ForgettingLaw::new(1.0, 829.0, 0.3, 0.4)?.at(10_000_000, 3_000_000);
//! let points = [0.0, 0.001, 0.005, 0.01, 0.05].map(|p| (p, law.excess(p)));
//! let fit = fit_injection(&points)?;
//! assert!(fit.identified());
//! assert!((fit.law().b() / 829.0 - 1.0).abs() < 1e-3);
//! # Ok::<(), mixdown_scaling::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod fit;
mod forgetting;
mod injection;
mod search;
mod student;
mod target;

pub use crate::error::Error;
pub use crate::fit::{Advice, InjectionFit, fit_injection};
pub use crate::forgetting::ForgettingLaw;
pub use crate::injection::{InjectionLaw, forgetting_removed};
pub use crate::target::TargetLaw;
