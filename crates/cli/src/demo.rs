//! The demo: a short script over the same public functions as `tokenizer train`, `prepare`, `train`
//! and `report`, run on text that is on any machine that has just built mixdown.

mod corpora;
mod experiment;
mod registry_text;

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_runs::Summary;
use serde::{Deserialize, Serialize};

use crate::commands::Context;
use crate::error::Error;

/// Everything that decides what the demo computes; kept in its folder, so that the same command goes on
/// and another one is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoSettings {
    /// The finetuning runs' shares of pretraining data, such as `1%`.
    pub inject: Vec<String>,
    /// The user's own pretraining text; empty: prose from cargo's registry.
    pub pretraining: Vec<PathBuf>,
    /// The user's own target text; empty: code from cargo's registry.
    pub target: Vec<PathBuf>,
    /// Entries of the tokenizer.
    pub vocab_size: u32,
    /// Unique target tokens that finetuning may see.
    pub target_tokens: u64,
    /// Optimiser steps of the base model.
    pub pretraining_steps: u64,
    /// Optimiser steps of each finetuning run.
    pub finetuning_steps: u64,
    /// Seed of weights and orders.
    pub seed: u64,
}

/// What the demo leaves.
#[derive(Debug)]
pub struct DemoOutcome {
    /// Summaries of the finetuning runs, in the order of `DemoSettings::inject`.
    pub runs: Vec<Summary>,
    /// The page.
    pub report: PathBuf,
}

const SETTINGS_FILE: &str = "demo.json";

/// Runs whatever is not finished in `out` yet.
///
/// # Errors
/// A folder that holds something else or a demo of other settings, and whatever a stage reports.
pub fn run(settings: &DemoSettings, out: &Path, context: Context) -> Result<DemoOutcome, Error> {
    claim(settings, out)?;
    let corpora = corpora::make(settings, out, context)?;
    let runs = experiment::run(settings, &corpora, out, context)?;
    let report = experiment::report(settings, out)?;
    Ok(DemoOutcome { runs, report })
}

/// Takes `out` for these settings, or finds that it was taken for them before.
fn claim(settings: &DemoSettings, out: &Path) -> Result<(), Error> {
    let path = out.join(SETTINGS_FILE);
    if let Ok(text) = fs::read_to_string(&path) {
        return match serde_json::from_str::<DemoSettings>(&text) {
            Ok(found) if found == *settings => Ok(()),
            found => Err(Error::usage(
                format!(
                    "{}: holds a demo of other settings: expected {settings:?}, got {found:?}",
                    out.display()
                ),
                "name another folder with --out, or remove this one",
            )),
        };
    }
    let occupied = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || out.is_file() {
        return Err(Error::usage(
            format!(
                "{}: expected no such folder or an empty one, got something else",
                out.display()
            ),
            "name another folder with --out",
        ));
    }
    fs::create_dir_all(out).map_err(|error| Error::io(out, error))?;
    let text =
        serde_json::to_string_pretty(settings).map_err(|error| Error::io(&path, error.into()))?;
    write_whole(&path, text.as_bytes())
}

/// Writes a file so that it is either absent or whole.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).map_err(|error| Error::io(&temporary, error))?;
    fs::rename(&temporary, path).map_err(|error| Error::io(path, error))
}
