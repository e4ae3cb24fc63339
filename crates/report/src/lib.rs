//! Runs, sweeps and fits to one self-contained HTML page with plots.
//!
//! [`render`] takes what runs left (`summary.json`, `metrics.jsonl`, `run.toml`), [`render_scaling`] a grid
//! of runs with the laws fitted to it. Either makes one page that needs no network: plotly.js is embedded,
//! colors and type follow the reader's light or dark setting or the page's own button, and every figure
//! stands beside a table of its numbers, which is handed out as CSV. Every text from outside (names,
//! settings, notes) is escaped.
#![forbid(unsafe_code)]

mod error;
mod laws;
mod parts;
mod runs;
#[cfg(test)]
mod testing;

pub use crate::error::Error;
pub use crate::laws::page::{
    BaseCurve, DomainPage, Laws, ScalingReport, render_scaling, write_scaling,
};
pub use crate::runs::page::{Report, RunPage, render, write};
