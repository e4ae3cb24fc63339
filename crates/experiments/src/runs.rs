//! Runs: how they are described, and what they start from.

pub(crate) mod configuration;
pub(crate) mod injection;
pub(crate) mod models;
pub(crate) mod overrides;
pub(crate) mod recipe;
pub(crate) mod run_template;
pub(crate) mod text;
pub(crate) mod training;
