//! Checkpoints: a model folder with the optimiser's moments and the state of the run.

use std::fs;
use std::path::{Path, PathBuf};

use mixdown_mixer::MixerState;
use mixdown_runs::{EvalRecord, MetricsRecord, RunFolder};
use mixdown_shards::{Corpus, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::adamw::{AdamW, AdamWOptions, Moments};
use crate::error::Error;
use crate::files::{read_json, remove_folder, sync_folder, write_json};
use crate::model::{Model, Parameter};
use crate::model_folder;
use crate::weights_file::{self, NamedNumbers};

const MOMENTS_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
const PREFIX: &str = "step-";
/// A folder that is being written or removed: worth nothing after a kill.
const TEMPORARY: &str = ".tmp";
/// A whole folder that stands aside while another takes its name.
const ASIDE: &str = ".old.tmp";

/// The version of state.json.
const VERSION: u32 = 1;

/// Checkpoints of a run that are kept: a damaged last one leaves one to go on from.
const KEPT: usize = 2;

/// The evaluation of least `eval.select` loss so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: u64,
    pub(crate) evals: Vec<EvalRecord>,
}

/// All of a run that is not in the weights, the moments or run.toml.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    /// Optimiser steps done.
    pub(crate) step: u64,
    /// The next slot of the mixer, and what orders it.
    pub(crate) mixer: MixerState,
    /// Hash of the settings in run.toml.
    pub(crate) settings: Fingerprint,
    /// Evaluations before the first step.
    pub(crate) before: Vec<EvalRecord>,
    /// The latest evaluations.
    pub(crate) last: Vec<EvalRecord>,
    /// The best so far.
    pub(crate) best: Option<Best>,
    /// Evaluations in a row without a lower loss.
    pub(crate) evaluations_without_gain: u64,
    /// The record of the step done, while its evaluation or its line in metrics.jsonl is due.
    pub(crate) pending: Option<MetricsRecord>,
    /// Seconds of training steps alone.
    pub(crate) training_seconds: f64,
    /// Seconds of training steps and evaluations; opening and writing files is not in it.
    pub(crate) seconds: f64,
}

impl State {
    pub(crate) fn new(mixer: MixerState, settings: Fingerprint) -> Self {
        Self {
            version: VERSION,
            step: 0,
            mixer,
            settings,
            before: Vec::new(),
            last: Vec::new(),
            best: None,
            evaluations_without_gain: 0,
            pending: None,
            training_seconds: 0.0,
            seconds: 0.0,
        }
    }
}

/// What a run goes on from.
pub(crate) struct Checkpoint {
    pub(crate) model: Model,
    pub(crate) optimiser: AdamW,
    pub(crate) state: State,
}

/// The steps of the whole checkpoints in a run's folder, in order: state.json is the last file
/// written.
fn steps(folder: &RunFolder) -> Result<Vec<u64>, Error> {
    let names = names(&folder.checkpoints())?;
    let step_of = |name: &String| name.strip_prefix(PREFIX)?.parse().ok();
    let is_whole = |step: &u64| folder.checkpoint(*step).join(STATE_FILE).is_file();
    let mut steps: Vec<u64> = names.iter().filter_map(step_of).filter(is_whole).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The names in a folder that are text; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(folder, "list"))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Error::io(folder, "list"))?.file_name().into_string());
    }
    Ok(names)
}

/// The step of the latest whole checkpoint, if there is one.
pub(crate) fn latest_step(folder: &RunFolder) -> Result<Option<u64>, Error> {
    Ok(steps(folder)?.pop())
}

/// The latest checkpoint of a run, if it has one.
pub(crate) fn latest(
    folder: &RunFolder,
    options: AdamWOptions,
    settings: Fingerprint,
) -> Result<Option<Checkpoint>, Error> {
    let Some(step) = latest_step(folder)? else {
        return Ok(None);
    };
    let path = folder.checkpoint(step);
    let state = read_state(&path.join(STATE_FILE), step, settings)?;
    let model = Model::load(&path)?;
    let moments = read_moments(&path.join(MOMENTS_FILE), model.parameters())?;
    let optimiser = AdamW::resumed(options, moments, step);
    Ok(Some(Checkpoint { model, optimiser, state }))
}

fn read_state(path: &Path, step: u64, settings: Fingerprint) -> Result<State, Error> {
    let state: State = serde_json::from_value(read_json(path)?)
        .map_err(|error| Error::bad_file(path, "the state of a run", error))?;
    if state.version != VERSION {
        return Err(Error::bad_file(path, format!("version {VERSION}"), state.version));
    }
    if state.step != step {
        return Err(Error::bad_file(path, format!("step {step}, as its folder"), state.step));
    }
    if state.settings != settings {
        let expected = format!("settings {settings}, as in run.toml");
        return Err(Error::bad_file(path, expected, state.settings));
    }
    Ok(state)
}

/// The names of one parameter's moments.
fn moment_names(parameter: &Parameter) -> [String; 2] {
    [format!("first.{}", parameter.name), format!("second.{}", parameter.name)]
}

fn read_moments(path: &Path, parameters: &[Parameter]) -> Result<Vec<Moments>, Error> {
    let mut expected = Vec::with_capacity(2 * parameters.len());
    for parameter in parameters {
        expected.extend(moment_names(parameter).map(|name| (name, parameter.var.dims().to_vec())));
    }
    let mut numbers = weights_file::read(path, &expected)?.into_iter();
    let mut moments = Vec::with_capacity(parameters.len());
    while let (Some(first), Some(second)) = (numbers.next(), numbers.next()) {
        moments.push(Moments { first, second });
    }
    Ok(moments)
}

fn write_moments(path: &Path, parameters: &[Parameter], optimiser: &AdamW) -> Result<(), Error> {
    let mut tensors = Vec::with_capacity(2 * parameters.len());
    for (parameter, moments) in parameters.iter().zip(optimiser.moments()) {
        let values = [moments.first.clone(), moments.second.clone()];
        for (name, values) in moment_names(parameter).into_iter().zip(values) {
            tensors.push(NamedNumbers { name, shape: parameter.var.dims().to_vec(), values });
        }
    }
    weights_file::write(path, &tensors)
}

/// Writes a checkpoint of the state's step and removes all but the last two.
pub(crate) fn write(
    folder: &RunFolder,
    model: &Model,
    optimiser: &AdamW,
    state: &State,
    corpus: &Corpus,
) -> Result<(), Error> {
    let path = folder.checkpoint(state.step);
    let temporary = temporary(&path)?;
    model_folder::write(&temporary, model, corpus)?;
    write_moments(&temporary.join(MOMENTS_FILE), model.parameters(), optimiser)?;
    write_json(&temporary.join(STATE_FILE), state)?;
    sync_folder(&temporary);
    replace(&temporary, &path)?;
    let mut steps = steps(folder)?;
    steps.truncate(steps.len().saturating_sub(KEPT));
    steps.into_iter().try_for_each(|step| discard(&folder.checkpoint(step)))
}

/// Replaces best/ by the model as it is.
pub(crate) fn write_best(folder: &RunFolder, model: &Model, corpus: &Corpus) -> Result<(), Error> {
    let best = folder.best();
    let temporary = temporary(&best)?;
    model_folder::write(&temporary, model, corpus)?;
    replace(&temporary, &best)
}

/// Brings back the folders that a kill left aside, and removes those it left half-written or
/// half-removed.
pub(crate) fn recover(folder: &RunFolder) -> Result<(), Error> {
    let places = [(folder.path().to_owned(), "best."), (folder.checkpoints(), PREFIX)];
    for (place, prefix) in places {
        for name in names(&place)?.iter().filter(|name| name.starts_with(prefix)) {
            let path = place.join(name);
            let whole = name.strip_suffix(ASIDE).map(|name| place.join(name));
            match whole.filter(|whole| !whole.exists()) {
                Some(whole) => rename(&path, &whole)?,
                None if name.ends_with(TEMPORARY) => remove_folder(&path)?,
                None => {}
            }
        }
    }
    Ok(())
}

/// Puts a whole folder in the place of another.
///
/// The old one is moved aside first, so that at every moment one of the two is whole.
fn replace(temporary: &Path, path: &Path) -> Result<(), Error> {
    let aside = beside(path, ASIDE);
    if path.exists() {
        remove_folder(&aside)?;
        rename(path, &aside)?;
    }
    rename(temporary, path)?;
    remove_folder(&aside)
}

/// Removes a folder. One rename takes its name away first, so that a kill leaves no half of it
/// under that name.
fn discard(path: &Path) -> Result<(), Error> {
    let temporary = beside(path, TEMPORARY);
    remove_folder(&temporary)?;
    rename(path, &temporary)?;
    remove_folder(&temporary)
}

/// `path` with a further suffix: no folder here has a dot in its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_extension(suffix.trim_start_matches('.'))
}

/// An empty folder beside `path`, with parents.
fn temporary(path: &Path) -> Result<PathBuf, Error> {
    let temporary = beside(path, TEMPORARY);
    remove_folder(&temporary)?;
    fs::create_dir_all(&temporary).map_err(Error::io(&temporary, "create"))?;
    Ok(temporary)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io(to, "put in place"))?;
    if let Some(parent) = to.parent() {
        sync_folder(parent);
    }
    Ok(())
}
