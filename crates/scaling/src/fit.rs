//! Fits of observations, their checks on runs left out, and what to be warned of.

pub(crate) mod comparison;
pub(crate) mod fit_scaling;
pub(crate) mod fitted_forgetting;
pub(crate) mod fitted_target;
pub(crate) mod hold_out;
pub(crate) mod injection_fit;
pub(crate) mod predict;
pub(crate) mod scaling_fit;
pub(crate) mod warning;
