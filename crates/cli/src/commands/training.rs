//! Training, sweeps, and what became of them.

pub mod compute_args;
pub mod demo;
pub mod eval;
pub mod generate;
pub mod preview;
pub mod sweep;
pub mod sweep_preview;
pub mod train;
pub mod watch;
