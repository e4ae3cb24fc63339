//! Runs, sweeps and fits to one self-contained HTML page with plots.
//!
//! [`render`] takes the records of runs (`summary.json`, `metrics.jsonl`, `run.toml`), [`render_scaling`] a grid of
//! runs with the laws fitted to it. Each makes one page that needs no network: plotly.js is embedded, the colors follow
//! the reader's light or dark setting or the page's own button, and every figure has a table of its numbers that can be
//! saved as CSV. The pages are written with maud, which escapes every text from outside (names, settings, notes).
#![forbid(unsafe_code)]

mod error;
mod laws;
mod parts;
mod runs;
#[cfg(test)]
mod testing;

pub use crate::error::Error;
pub use crate::laws::{BaseCurve, DomainPage, Laws, ScalingReport, render_scaling, write_scaling};
pub use crate::runs::{Report, RunPage, render, write};
