//! Runs to one self-contained HTML page with plots.
//!
//! [`render`] takes what the runs left (`summary.json`, `metrics.jsonl`, `run.toml`) and makes one
//! page that needs no network: plotly.js is embedded, colours and type follow the reader's light or
//! dark setting, and every figure stands beside a table of its numbers. Every text from outside (names,
//! settings, notes) is escaped.
#![forbid(unsafe_code)]

mod base;
mod comparison;
mod curves;
mod error;
mod figure;
mod forgetting;
mod headline;
mod html;
mod mix;
mod page;
mod plot;
mod results;
mod series;
#[cfg(test)]
mod testing;
mod text;
mod training;

pub use crate::error::Error;
pub use crate::page::{Report, RunPage, render, write};
