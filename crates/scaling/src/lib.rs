//! Scaling laws of forgetting: pure mathematics on plain observations.
//!
//! Finetuning on a mixture with a share p of pretraining data raises the pretraining loss by
//! `A · D^β / ((1 + B·p) · N)^α` nats per token, for N parameters and D unique target tokens, and
//! brings the target loss to `A / (N^α · D^β) + E`. The forms are those of Bethune et al., "Scaling
//! Laws for Forgetting during Finetuning with Pretraining Data Injection" (2025).
//!
//! [`fit_scaling`] fits both laws to runs ([`Observation`]) with intervals, hold-outs and other laws
//! to compare. [`ScalingFit::advise`] turns a forgetting budget into a share. [`plan_grid`] predicts how well a planned
//! grid of runs would determine that share.
//!
//! ```
//! use mixdown_scaling::{FitOptions, ForgettingLaw, FinetuningPlan, Simulation, TargetLaw};
//! use mixdown_scaling::{fit_scaling, full_grid};
//!
//! let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
//! let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
//! let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 1e6, 3e6], &[0.0, 0.01]);
//! let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&grid, 7);
//! let options = FitOptions { draws: 50, ..FitOptions::default() };
//! let fit = fit_scaling(&runs, &options)?;
//! assert!((fit.forgetting.law.b / 1500.0 - 1.0).abs() < 1e-6);
//! let plan = FinetuningPlan {
//!     model_size: 1.27e9,
//!     target_tokens: 30e6,
//!     budget: 0.1,
//!     pretraining_loss_before: None,
//! };
//! assert!(fit.advise(&plan)?.p.is_some());
//! # Ok::<(), mixdown_scaling::Error>(())
//! ```
//!
//! At one N and D the law is a curve in p alone, `F0 · (1 + B·p)^(−α)` ([`InjectionLaw`]);
//! [`fit_injection`] fits it to measured points and finds whether they identify it.
#![forbid(unsafe_code)]

mod error;
mod fit;
mod intervals;
mod laws;
mod observation;
mod plan;
mod solver;

pub use crate::error::Error;
pub use crate::fit::injection_fit::{InjectionFit, ShareRange, fit_injection};
pub use crate::fit::records::{
    AdviceStatus, Comparison, Convergence, DomainFit, FitRecord, ForgettingFit, Grid, HoldOut,
    HoldOutErrors, HoldOutRow, HoldOutSplit, IntervalMethod, Prediction, Quantity, RefusedDomain,
    Residual, ScalingFit, ShareAdvice, TargetFit,
};
pub use crate::fit::warning::Warning;
pub use crate::fit::{FitOptions, fit_scaling};
pub use crate::intervals::{Coefficient, Estimate, Interval};
pub use crate::laws::ForgettingLaw;
pub use crate::laws::TargetLaw;
pub use crate::laws::injection::{InjectionLaw, forgetting_removed};
pub use crate::observation::Observation;
pub use crate::plan::advise::FinetuningPlan;
pub use crate::plan::simulate::{Simulation, full_grid};
pub use crate::plan::{CandidateRun, GridPlan, GridReport, ShareSpread, plan_grid};
