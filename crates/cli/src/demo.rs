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
use crate::files::write_first;

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

/// Writes the settings into `out`, or checks that the settings there are the same: of several calls at once, the
/// settings of one count.
fn check_or_write_settings(settings: &DemoSettings, out: &Path) -> Result<(), Error> {
    let path = out.join(SETTINGS_FILE);
    let ours = to_json(settings, &path)?;
    if !path.exists() {
        match check_unclaimed(out, &path) {
            // Another call has written them since, and begun.
            Err(_) if path.exists() => {}
            Err(taken) => return Err(taken.into()),
            Ok(()) => {
                fs::create_dir_all(out).map_err(|error| Error::io(out, "make", error))?;
                if write_first(&path, ours.as_bytes())? {
                    return Ok(());
                }
            }
        }
    }
    let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", error))?;
    match difference(&text, &ours) {
        None => Ok(()),
        Some((field, expected, got)) => Err(Error::usage(
            format!(
                "{}: contains a demo of other settings: {field}: expected {expected}, got {got}",
                out.display()
            ),
            "name another folder with --out, or remove this one",
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(seed: u64) -> DemoSettings {
        DemoSettings {
            inject: vec!["0%".to_owned()],
            pretraining: Vec::new(),
            target: Vec::new(),
            vocab_size: 512,
            target_tokens: 1000,
            pretraining_steps: 1,
            finetuning_steps: 1,
            seed,
        }
    }

    /// A call that saw no settings and then a folder in use was refused, because another call had just begun.
    #[test]
    fn several_calls_at_once_have_the_settings_of_one() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let out = folder.path().join(round.to_string());
            let call = |seed| {
                let settled = check_or_write_settings(&settings(seed), &out);
                // A demo begins at once.
                fs::write(out.join("tokenizer.json"), "{}").unwrap();
                settled
            };
            let same = std::thread::scope(|scope| {
                [(); 4].map(|()| scope.spawn(|| call(1))).map(|call| call.join().unwrap())
            });
            assert!(same.iter().all(Result::is_ok), "{same:?}");
            let other = call(2).unwrap_err();
            assert!(other.report().contains("seed: expected 1, got 2"), "{}", other.report());
        }
    }
}
