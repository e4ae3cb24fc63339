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
    /// Seconds of all work.
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

/// The steps of the checkpoints in a run's folder, in order.
fn steps(folder: &RunFolder) -> Result<Vec<u64>, Error> {
    let path = folder.checkpoints();
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(&path, "list"))?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io(&path, "list"))?.file_name();
        let step: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The latest checkpoint of a run, if it has one.
pub(crate) fn latest(
    folder: &RunFolder,
    options: AdamWOptions,
    settings: Fingerprint,
) -> Result<Option<Checkpoint>, Error> {
    let Some(step) = steps(folder)?.pop() else {
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
    remove_folder(&path)?;
    rename(&temporary, &path)?;
    let mut steps = steps(folder)?;
    steps.truncate(steps.len().saturating_sub(KEPT));
    steps.into_iter().try_for_each(|step| remove_folder(&folder.checkpoint(step)))
}

/// Replaces best/ by the model as it is.
///
/// The old one is moved aside first, so that at every moment one of the two is whole.
pub(crate) fn write_best(folder: &RunFolder, model: &Model, corpus: &Corpus) -> Result<(), Error> {
    let best = folder.best();
    let temporary = temporary(&best)?;
    model_folder::write(&temporary, model, corpus)?;
    let aside = aside(&best);
    if best.exists() {
        remove_folder(&aside)?;
        rename(&best, &aside)?;
    }
    rename(&temporary, &best)?;
    remove_folder(&aside)
}

/// Brings back the best/ that a kill left aside.
pub(crate) fn restore_best(folder: &RunFolder) -> Result<(), Error> {
    let (best, aside) = (folder.best(), aside(&folder.best()));
    if aside.exists() && !best.exists() {
        return rename(&aside, &best);
    }
    Ok(())
}

fn aside(best: &Path) -> PathBuf {
    best.with_file_name("best.old.tmp")
}

/// An empty folder beside `path`, with parents.
fn temporary(path: &Path) -> Result<PathBuf, Error> {
    let temporary = path.with_extension("tmp");
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
