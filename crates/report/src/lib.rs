//! Runs, sweeps and fits to one self-contained HTML page with plots.
//!
//! [`render`] takes what runs left (`summary.json`, `metrics.jsonl`, `run.toml`), [`render_scaling`] a grid
//! of runs with the laws fitted to it. Either makes one page that needs no network: plotly.js is embedded,
//! colours and type follow the reader's light or dark setting or the page's own button, and every figure
//! stands beside a table of its numbers, which is handed out as CSV. Every text from outside (names,
//! settings, notes) is escaped.
#![forbid(unsafe_code)]

mod base;
mod comparison;
mod curves;
mod delivered;
mod error;
mod figure;
mod forgetting;
mod grouping;
mod headline;
mod html;
mod law_check;
mod law_forgetting;
mod law_headline;
mod law_tables;
mod law_target;
mod lost;
mod mix;
mod page;
mod plot;
mod results;
mod scaling_page;
mod series;
mod shares;
mod shell;
#[cfg(test)]
mod testing;
mod text;
mod training;

pub use crate::error::Error;
pub use crate::page::{Report, RunPage, render, write};
pub use crate::scaling_page::{
    BaseCurve, DomainPage, Laws, ScalingReport, render_scaling, write_scaling,
};
