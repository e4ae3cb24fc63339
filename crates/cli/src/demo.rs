//! The demo: a short script over the same public functions as `tokenizer train`, `prepare`, `train`
//! and `report`, run on text that is on any machine that has just built mixdown.

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
use crate::files::whole_file::write_whole;

/// Everything that decides what the demo computes; kept in its folder, so that the same command goes on
/// and another one is refused.
#[derive(Debug, Serialize)]
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
    /// Optimizer steps of the base model.
    pub pretraining_steps: u64,
    /// Optimizer steps of each finetuning run.
    pub finetuning_steps: u64,
    /// Seed of weights and orders.
    pub seed: u64,
}

/// What the demo leaves.
#[derive(Debug)]
pub struct DemoOutcome {
    /// The finetuning runs, in the order of `DemoSettings::inject`.
    pub runs: Vec<FinishedRun>,
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
    let ours = to_json(settings, &path)?;
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
        return match difference(&text, &ours) {
            None => Ok(()),
            Some((field, expected, got)) => Err(Error::usage(
                format!(
                    "{}: holds a demo of other settings: {field}: expected {expected}, got {got}",
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

/// The first setting that differs: its name, the folder's value and the asked one.
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
