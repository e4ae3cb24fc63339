//! Runs as commands describe and start them.

pub(crate) mod configuration;
pub(crate) mod evaluations;
pub(crate) mod injection;
pub(crate) mod models;
pub(crate) mod overrides;
pub(crate) mod processes;
pub(crate) mod recipe;
pub(crate) mod run_template;
pub(crate) mod training;
