//! Checkpoints: a model folder with the optimizer's moments and the state of the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use mixdown_base::files::make_subfolder;
use mixdown_mixer::MixerState;
use mixdown_runs::sums::{self as sums_of, SUMS_FILE};
use mixdown_runs::{
    EvalRecord, MetricsRecord, RECORDS_FILE, RecordLengths, RunFolder, SequenceLoss,
};
use mixdown_shards::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::adapter::AdapterFiles;
use crate::error::Error;
use crate::model::shape::ModelShape;
use crate::model::{Model, ModelSnapshot};
use crate::optim::trainable_state::TrainableState;
use crate::weights::sums;
use crate::weights::weights_file::{read_flat, write_flat};
use crate::weights::{read_capped, remove_folder, sync_folder, write_synced};

const MOMENTS_FILE: &str = "optimizer.safetensors";
pub(crate) const STATE_FILE: &str = "state.json";
const PREFIX: &str = "step-";
/// The suffix of a folder that is being written or removed. After a kill it is deleted.
const TEMPORARY: &str = ".tmp";
/// The suffix of a complete folder that was moved aside while another one takes its name.
const ASIDE: &str = ".old.tmp";

/// The state has the losses of every sequence measured, twice: far below this for a million of them.
const STATE_LIMIT_BYTES: u64 = 1 << 30;

/// The version of state.json.
const VERSION: u32 = 2;

/// The evaluation with the lowest `eval.select` loss so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BestEvaluation {
    pub(crate) step: u64,
    pub(crate) evals: Vec<EvalRecord>,
    /// The losses of their sequences, corpus by corpus; empty in checkpoints of earlier versions.
    #[serde(default)]
    pub(crate) rows: Vec<Vec<SequenceLoss>>,
}

/// The results of the evaluations after one step, corpus by corpus.
pub(crate) struct EvaluationResults {
    pub(crate) evals: Vec<EvalRecord>,
    /// The losses of their sequences.
    pub(crate) rows: Vec<Vec<SequenceLoss>>,
}

/// Whether an evaluation has the lowest loss so far.
#[derive(PartialEq, Eq)]
pub(crate) enum Improvement {
    /// The loss is lower than at every evaluation before.
    NewBest,
    /// An earlier evaluation had a loss that was as low or lower.
    NoImprovement,
}

/// The state of a run that is not in the weights, the moments or run.toml.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunState {
    version: u32,
    /// The number of finished optimizer steps.
    pub(crate) step: u64,
    /// The state of the mixer: its next slot, and what determines its order.
    pub(crate) mixer: MixerState,
    /// Hash of the settings in run.toml.
    pub(crate) settings: Fingerprint,
    /// The results of the evaluations before the first step.
    pub(crate) before: Vec<EvalRecord>,
    /// The losses of their sequences, corpus by corpus, from which changes are measured.
    pub(crate) before_rows: Vec<Vec<SequenceLoss>>,
    /// The results of the latest evaluations.
    pub(crate) last: Vec<EvalRecord>,
    /// The best evaluation so far.
    pub(crate) best: Option<BestEvaluation>,
    /// The number of evaluations in a row without a lower loss.
    pub(crate) evaluations_without_gain: u64,
    /// The number of steps whose batch had no target that counts.
    #[serde(default)]
    pub(crate) steps_without_targets: u64,
    /// The record of the last step until its evaluation and its line in metrics.jsonl are written.
    pub(crate) pending: Option<MetricsRecord>,
    /// Seconds spent in training steps.
    pub(crate) training_seconds: f64,
    /// Seconds spent in training steps and evaluations, without opening and writing files.
    pub(crate) seconds: f64,
}

impl RunState {
    pub(crate) fn new(mixer: MixerState, settings: Fingerprint) -> Self {
        Self {
            version: VERSION,
            step: 0,
            mixer,
            settings,
            before: Vec::new(),
            before_rows: Vec::new(),
            last: Vec::new(),
            best: None,
            evaluations_without_gain: 0,
            steps_without_targets: 0,
            pending: None,
            training_seconds: 0.0,
            seconds: 0.0,
        }
    }

    /// Records the evaluations after this step. The evaluation at index `select` decides which step is best.
    pub(crate) fn record_evaluation(
        &mut self,
        measured: EvaluationResults,
        select: usize,
    ) -> Improvement {
        let EvaluationResults { evals, rows } = measured;
        if self.step == 0 {
            self.before.clone_from(&evals);
            self.before_rows.clone_from(&rows);
        }
        self.last.clone_from(&evals);
        let choosing = |evals: &[EvalRecord]| {
            let chosen = &evals[select];
            chosen.selection_loss.unwrap_or(chosen.loss)
        };
        let loss = choosing(&evals);
        if self.best.as_ref().is_some_and(|best| loss >= choosing(&best.evals)) {
            self.evaluations_without_gain += 1;
            return Improvement::NoImprovement;
        }
        self.evaluations_without_gain = 0;
        self.best = Some(BestEvaluation { step: self.step, evals, rows });
        Improvement::NewBest
    }

    /// Returns whether no earlier step was better.
    pub(crate) fn is_best(&self) -> bool {
        self.best.as_ref().is_some_and(|best| best.step == self.step)
    }
}

/// Returns the steps of the complete checkpoints in a run's folder, in order. A checkpoint without state.json is
/// skipped.
fn steps(folder: &RunFolder) -> Result<Vec<u64>, Error> {
    let mut steps = all_steps(folder)?;
    steps.retain(|step| folder.checkpoint(*step).join(STATE_FILE).is_file());
    Ok(steps)
}

/// Returns the steps of all checkpoints, in order, including those without state.json.
fn all_steps(folder: &RunFolder) -> Result<Vec<u64>, Error> {
    let names = names(&folder.checkpoints())?;
    let step_of = |name: &String| name.strip_prefix(PREFIX)?.parse().ok();
    let mut steps: Vec<u64> = names.iter().filter_map(step_of).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// Returns the names in a folder that are valid text; none if the folder does not exist.
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

/// Returns the bytes of the checkpoints and best/ that a run's folder already holds.
pub(crate) fn taken_bytes(out: &Path) -> u64 {
    let Ok(folder) = RunFolder::open(out) else { return 0 };
    let checkpoints = names(&folder.checkpoints()).unwrap_or_default();
    let folders = checkpoints.iter().map(|name| folder.checkpoints().join(name));
    let files = folders.chain([folder.best()]).flat_map(|folder| {
        let names = names(&folder).unwrap_or_default();
        names.into_iter().map(move |name| folder.join(name))
    });
    files.filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// Returns the step of the latest complete checkpoint, if there is one.
pub(crate) fn latest_step(folder: &RunFolder) -> Result<Option<u64>, Error> {
    Ok(steps(folder)?.pop())
}

/// Loads the latest checkpoint, if the run has one, into `model` and `trainable`, which are those of the run's start,
/// and returns its state.
pub(crate) fn resume(
    folder: &RunFolder,
    settings: Fingerprint,
    model: &mut Model,
    trainable: &mut TrainableState,
) -> Result<Option<RunState>, Error> {
    let steps = steps(folder)?;
    let Some(&step) = steps.last() else {
        refuse_without_checkpoints(folder)?;
        return Ok(None);
    };
    let path = folder.checkpoint(step);
    sums::check(&path, &recovery_hint(folder, &steps))?;
    let state = read_state(&path.join(STATE_FILE), step, settings)?;
    if trainable.adapter().is_none() {
        let shape = ModelShape::read(&path)?;
        if shape.layout != *model.layout() {
            let expected = "the shape of the run's model in its config.json";
            return Err(Error::bad_file(&path, expected, "another"));
        }
        let saved = Model::load_unchecked(&path, shape)?;
        model.parameters_mut().copy_from_slice(saved.parameters());
    }
    trainable.resume(model, step, |numbers| read_flat(&path.join(MOMENTS_FILE), numbers))?;
    Ok(Some(state))
}

/// Returns the way to continue a run whose latest checkpoint is damaged.
fn recovery_hint(folder: &RunFolder, steps: &[u64]) -> String {
    let (last, before) = (steps.last().copied().unwrap_or(0), steps.iter().rev().nth(1));
    let damaged = folder.checkpoint(last);
    match before {
        Some(before) => format!(
            "remove {} and the same command goes on from the checkpoint of step {before}",
            damaged.display()
        ),
        None => format!(
            "no checkpoint is before it: remove {} to begin the run again",
            folder.path().display()
        ),
    }
}

/// Refuses a run that has a best model but no checkpoint: starting again would replace its results.
fn refuse_without_checkpoints(folder: &RunFolder) -> Result<(), Error> {
    if !folder.best().exists() {
        return Ok(());
    }
    let expected = "a checkpoint to go on from";
    let got = format!(
        "none beside best/: they were removed; choose another output folder, or remove {} to begin the run again",
        folder.path().display()
    );
    Err(Error::bad_file(&folder.checkpoints(), expected, got))
}

fn read_state(path: &Path, step: u64, settings: Fingerprint) -> Result<RunState, Error> {
    let state: RunState = serde_json::from_slice(&read_capped(path, STATE_LIMIT_BYTES)?)
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

/// One line: with a line per value the losses of many sequences would take twice the space.
fn write_state(path: &Path, state: &RunState) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec(state)
        .map_err(|error| Error::bad_file(path, "values that JSON can hold", error))?;
    bytes.push(b'\n');
    write_synced(path, &bytes)
}

/// A copy of a run's state after one step, which a thread writes while training continues.
pub(crate) struct CheckpointSnapshot {
    pub(crate) folder: RunFolder,
    pub(crate) model: ModelSnapshot,
    pub(crate) adapter: Option<AdapterFiles>,
    pub(crate) state: RunState,
    pub(crate) records: RecordLengths,
    pub(crate) buffers: SnapshotBuffers,
    /// The number of checkpoints to keep.
    pub(crate) keep_checkpoints: usize,
}

/// The buffers of a snapshot, which are reused.
#[derive(Default)]
pub(crate) struct SnapshotBuffers {
    /// The weights that are evaluated and saved. With an adapter only best/ holds them.
    pub(crate) weights: Vec<f32>,
    /// The adapter's parameters.
    pub(crate) adapter: Vec<f32>,
    /// The optimizer's moments and further state that a run continues from, by name.
    pub(crate) optimizer: Vec<(&'static str, Vec<f32>)>,
}

impl CheckpointSnapshot {
    /// Writes a checkpoint, writes best/ if this step is the best one, and removes all but the last checkpoints.
    ///
    /// With an adapter, a checkpoint holds the adapter and its moments. run.toml names the folder and the fingerprint
    /// of the model that the adapter belongs to.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let path = self.folder.checkpoint(self.state.step);
        make_subfolder(&self.folder.checkpoints())?;
        let temporary = temporary(&path)?;
        match &self.adapter {
            None => self.model.save(&temporary, &self.buffers.weights)?,
            Some(adapter) => adapter.save(&temporary, &self.buffers.adapter)?,
        }
        let rest: Vec<_> = self.buffers.optimizer.iter().map(|(name, v)| (*name, &v[..])).collect();
        write_flat(&temporary.join(MOMENTS_FILE), &rest)?;
        write_state(&temporary.join(STATE_FILE), &self.state)?;
        self.folder.write_recorded(&temporary, &self.records)?;
        sums_of::write(&temporary)?;
        sync_folder(&temporary);
        // The lines of earlier steps are not written again.
        self.folder.sync_records()?;
        replace(&temporary, &path)?;
        self.write_best()?;
        let whole = steps(&self.folder)?;
        let first_kept =
            whole.iter().rev().take(self.keep_checkpoints).next_back().copied().unwrap_or(0);
        let mut before = all_steps(&self.folder)?;
        before.retain(|step| *step < first_kept);
        before.into_iter().try_for_each(|step| discard(&self.folder.checkpoint(step)))
    }

    /// Replaces best/ by the model of this step if it is the best one. Its checkpoint must be complete.
    ///
    /// The files are hard links to the checkpoint's if the file system has them, because no file is ever changed in
    /// place. Merged weights are not in a checkpoint, so they are written.
    pub(crate) fn write_best(&self) -> Result<(), Error> {
        if !self.state.is_best() {
            return Ok(());
        }
        let best = self.folder.best();
        let temporary = temporary(&best)?;
        match &self.adapter {
            None => {
                let checkpoint = self.folder.checkpoint(self.state.step);
                link_files(&checkpoint, &temporary)?;
                sums_of::write_linked(&checkpoint, &temporary)?;
            }
            Some(adapter) => {
                self.model.save(&temporary, &self.buffers.weights)?;
                adapter.save(&temporary, &self.buffers.adapter)?;
                sums_of::write(&temporary)?;
            }
        }
        sync_folder(&temporary);
        replace(&temporary, &best)
    }
}

/// Links or copies the files of a checkpoint's model into a folder, including those in subfolders.
fn link_files(checkpoint: &Path, temporary: &Path) -> Result<(), Error> {
    for name in names(checkpoint)? {
        if [MOMENTS_FILE, STATE_FILE, RECORDS_FILE, SUMS_FILE].contains(&name.as_str()) {
            continue;
        }
        let (from, to) = (checkpoint.join(&name), temporary.join(&name));
        if from.is_dir() {
            fs::create_dir(&to).map_err(Error::io(&to, "create"))?;
            link_files(&from, &to)?;
            sync_folder(&to);
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(Error::io(&to, "write"))?;
            fs::File::open(&to)
                .and_then(|file| file.sync_all())
                .map_err(Error::io(&to, "write"))?;
        }
    }
    Ok(())
}

/// Restores the folders that a killed process had moved aside, and removes those that it left incomplete.
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

/// Replaces one folder by another, complete one.
///
/// The old folder is moved aside first, so that one of the two is complete at every moment.
fn replace(temporary: &Path, path: &Path) -> Result<(), Error> {
    let aside = beside(path, ASIDE);
    if path.exists() {
        remove_folder(&aside)?;
        rename(path, &aside)?;
    }
    rename(temporary, path)?;
    remove_folder(&aside)
}

/// Removes a folder. It is renamed first, so that a kill leaves no incomplete folder under its name.
fn discard(path: &Path) -> Result<(), Error> {
    let temporary = beside(path, TEMPORARY);
    remove_folder(&temporary)?;
    rename(path, &temporary)?;
    remove_folder(&temporary)
}

/// Returns `path` with a suffix; no folder of a run has a dot in its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_extension(suffix.trim_start_matches('.'))
}

/// Creates an empty folder beside `path`.
fn temporary(path: &Path) -> Result<PathBuf, Error> {
    let temporary = beside(path, TEMPORARY);
    remove_folder(&temporary)?;
    make_subfolder(&temporary)?;
    Ok(temporary)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io(to, "put in place"))?;
    if let Some(parent) = to.parent() {
        sync_folder(parent);
    }
    Ok(())
}

/// The result of the writing thread, and the buffers to use again.
type Written = (Result<(), Error>, SnapshotBuffers);

/// A writer of one checkpoint at a time, on a separate thread.
///
/// The weights and moments are first copied into buffers that are used again. The copy takes a third more memory than
/// the run itself; without it, a disk of 1 GB/s would stop a model of 1 billion parameters for 12 seconds.
#[derive(Default)]
pub(crate) struct CheckpointWriter {
    at_work: Option<JoinHandle<Written>>,
    spare: SnapshotBuffers,
}

impl CheckpointWriter {
    /// Copies the weights and moments of `trainable` and starts to write `snapshot`, once the previous checkpoint is
    /// written.
    ///
    /// # Errors
    /// The previous checkpoint could not be written.
    pub(crate) fn start(
        &mut self,
        mut snapshot: CheckpointSnapshot,
        trainable: &TrainableState,
        model: &Model,
    ) -> Result<(), Error> {
        self.finish()?;
        snapshot.buffers = std::mem::take(&mut self.spare);
        snapshot.buffers.fill(trainable, model, snapshot.state.is_best());
        let work = thread::Builder::new().name("checkpoint".to_owned());
        let spawned = work.spawn(move || (snapshot.write(), snapshot.buffers));
        self.at_work =
            Some(spawned.map_err(Error::io("checkpoint".as_ref(), "start a thread for"))?);
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let Some(at_work) = self.at_work.take() else { return Ok(()) };
        match at_work.join() {
            Ok((result, numbers)) => {
                self.spare = numbers;
                result
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl SnapshotBuffers {
    /// Copies the weights and moments of `trainable`. For an adapter, the merged weights are copied only for a best
    /// step.
    pub(crate) fn fill(&mut self, trainable: &TrainableState, model: &Model, is_best: bool) {
        self.adapter.clear();
        self.adapter.extend_from_slice(trainable.evaluated_adapter().unwrap_or_default());
        if is_best || trainable.adapter().is_none() {
            trainable.fill_weights(model, &mut self.weights);
        }
        let numbers = trainable.numbers(model);
        self.optimizer.resize_with(numbers.len(), Default::default);
        for (to, (name, from)) in self.optimizer.iter_mut().zip(numbers) {
            to.0 = name;
            to.1.clear();
            to.1.extend_from_slice(from);
        }
    }
}

impl Drop for CheckpointWriter {
    /// A checkpoint that was begun is finished; an error of the run itself takes precedence.
    fn drop(&mut self) {
        if let Some(at_work) = self.at_work.take() {
            drop(at_work.join());
        }
    }
}

#[cfg(test)]
#[path = "checkpoint/checkpoint_tests.rs"]
mod tests;
