//! The demo: a short script over the same public functions as `tokenizer train`, `prepare`, `train` and `report`, run
//! on text that exists on every machine that has built mixdown.

mod corpora;
mod experiment;
mod registry_text;

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_experiments::check_unclaimed;
use serde::Serialize;

pub use self::experiment::FinishedRun;
use crate::commands::Context;
use crate::error::Error;
use crate::files::write_whole;

/// All settings that affect what the demo computes. They are stored in its folder, so that the same command continues
/// and a different one is refused.
#[derive(Debug, Serialize)]
pub struct DemoSettings {
    /// The finetuning runs' shares of pretraining data, such as `1%`.
    pub inject: Vec<String>,
    /// The user's pretraining text; empty: prose from cargo's registry.
    pub pretraining: Vec<PathBuf>,
    /// The user's target text; empty: code from cargo's registry.
    pub target: Vec<PathBuf>,
    /// Vocabulary size of the tokenizer, in entries.
    pub vocab_size: u32,
    /// Unique target tokens for finetuning.
    pub target_tokens: u64,
    /// Optimizer steps of the base model.
    pub pretraining_steps: u64,
    /// Optimizer steps of each finetuning run.
    pub finetuning_steps: u64,
    /// Seed of weights and orders.
    pub seed: u64,
}

/// The results of the demo.
#[derive(Debug)]
pub struct DemoOutcome {
    /// The finetuning runs, in the order of `DemoSettings::inject`.
    pub runs: Vec<FinishedRun>,
    /// The page.
    pub report: PathBuf,
}

const SETTINGS_FILE: &str = "demo.json";

/// Runs the stages that are not finished in `out`.
///
/// # Errors
/// A folder with something else or with a demo of other settings, and any error of a stage.
pub fn run(settings: &DemoSettings, out: &Path, context: Context) -> Result<DemoOutcome, Error> {
    check_or_write_settings(settings, out)?;
    let corpora = corpora::make(settings, out, context)?;
    let runs = experiment::run(settings, &corpora, out, context)?;
    let report = experiment::report(settings, out)?;
    Ok(DemoOutcome { runs, report })
}

/// Writes the settings into `out`, or checks that the settings there are the same.
fn check_or_write_settings(settings: &DemoSettings, out: &Path) -> Result<(), Error> {
    let path = out.join(SETTINGS_FILE);
    let ours = to_json(settings, &path)?;
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
        return match difference(&text, &ours) {
            None => Ok(()),
            Some((field, expected, got)) => Err(Error::usage(
                format!(
                    "{}: contains a demo of other settings: {field}: expected {expected}, got {got}",
                    out.display()
                ),
                "name another folder with --out, or remove this one",
            )),
        };
    }
    check_unclaimed(out, &path)?;
    fs::create_dir_all(out).map_err(|error| Error::io(out, "make", error))?;
    write_whole(&path, ours.as_bytes())
}

fn to_json(settings: &DemoSettings, path: &Path) -> Result<String, Error> {
    serde_json::to_string_pretty(settings).map_err(|error| Error::io(path, "write", error.into()))
}

/// The first setting that differs: its name, the folder's value and the requested one.
fn difference(there: &str, here: &str) -> Option<(String, String, String)> {
    let parse =
        |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap_or_default();
    let (there, here) = (parse(there), parse(here));
    let text = |value: Option<&serde_json::Value>| {
        value.map_or_else(|| "nothing".to_owned(), serde_json::Value::to_string)
    };
    let differs = |name: &&String| there.get(*name) != here.get(*name);
    let name = there.keys().chain(here.keys()).find(differs)?;
    Some((name.clone(), text(there.get(name)), text(here.get(name))))
}
