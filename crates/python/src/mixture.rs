//! A mixture's plan, order and batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mixdown_base::display::cut_lines;
use mixdown_mixer::{LoaderConfig, Mixer, MixerState, Mixture, MixtureConfig, Rank, RunLength};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::failure::Failure;
use crate::filler::Filler;
use crate::loader::BatchLoader;

/// An open mixture.
#[pyclass(frozen, module = "mixdown._mixdown")]
pub struct MixtureCore {
    mixer: Arc<Mixer>,
}

/// Reads a MIX.toml: its description as JSON, and the folder that its corpus paths are relative to.
#[pyfunction]
pub fn read_mixture(path: PathBuf) -> PyResult<(String, PathBuf)> {
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::io(&path, &error))?;
    let config: MixtureConfig = toml::from_str(&text).map_err(|error| {
        // A file with one very long line is not quoted completely.
        let reason = cut_lines(&error.to_string(), 1000);
        let message = format!("{}: {}", path.display(), reason.trim_end());
        Failure::configuration(message)
    })?;
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok((json_of(&config)?, base))
}

fn json_of(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::configuration(error.to_string()))
}

#[pymethods]
impl MixtureCore {
    /// Opens the mixture of a description in JSON; `lazily` if it was opened and checked before.
    #[new]
    fn new(py: Python<'_>, description: &str, base: PathBuf, lazily: bool) -> PyResult<Self> {
        let config: MixtureConfig = serde_json::from_str(description)
            .map_err(|error| Failure::configuration(format!("the mixture: {error}")))?;
        let open = || {
            let mixture = match lazily {
                true => Mixture::open_lazily(&config, &base)?,
                false => Mixture::open(&config, &base)?,
            };
            Mixer::new(mixture)
        };
        let mixer = py.detach(open).map_err(Failure::from)?;
        Ok(Self { mixer: Arc::new(mixer) })
    }

    #[getter]
    fn sequence_length(&self) -> u64 {
        self.mixer.sequence_length()
    }

    #[getter]
    fn batch_size(&self) -> u64 {
        self.mixer.batch_size()
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.mixer.mixture().shape().seed
    }

    /// The vocabulary size: every id of every source is smaller.
    #[getter]
    fn vocab_size(&self) -> u64 {
        let sources = self.mixer.mixture().sources().iter();
        sources.map(|source| source.corpus.manifest().vocab_size).max().unwrap_or(0)
    }

    /// Whether a source has a loss mask.
    #[getter]
    fn is_labelled(&self) -> bool {
        self.mixer.mixture().is_labelled()
    }

    /// The sources' names, in the order of their places.
    #[getter]
    fn sources(&self) -> Vec<String> {
        self.mixer.mixture().sources().iter().map(|source| source.name.clone()).collect()
    }

    /// The steps of a length such as "1B tokens"; refused if a source would exceed its max_epochs.
    fn steps(&self, length: &str) -> PyResult<u64> {
        let length: RunLength = length.parse().map_err(Failure::from)?;
        let steps = self.mixer.steps(&length).map_err(Failure::from)?;
        let slots = steps.saturating_mul(self.mixer.batch_size());
        self.mixer.check_run(slots).map_err(Failure::from)?;
        Ok(steps)
    }

    /// The share of each source in the first steps and in each stage, as JSON.
    fn plan(&self, py: Python<'_>, steps: u64) -> PyResult<String> {
        let slots = steps.saturating_mul(self.mixer.batch_size());
        let plan = py.detach(|| {
            json!({
                "steps": steps,
                "sequences": slots,
                "tokens": slots.saturating_mul(self.mixer.sequence_length()),
                "fingerprint": self.mixer.state(slots).order(),
                "sources": self.mixer.shares(slots),
                "stages": self.mixer.stage_shares(slots),
            })
        });
        Ok(plan.to_string())
    }

    /// The content of a range of slots, as arrays by name.
    fn order<'py>(&self, py: Python<'py>, start: u64, end: u64) -> PyResult<Bound<'py, PyDict>> {
        let mut plan = Vec::new();
        py.detach(|| self.mixer.planner().plan(start..end, &mut plan)).map_err(Failure::from)?;
        let columns = PyDict::new(py);
        columns.set_item("slot", PyArray1::from_iter(py, plan.iter().map(|slot| slot.slot)))?;
        columns.set_item("source", PyArray1::from_iter(py, plan.iter().map(|slot| slot.source)))?;
        columns
            .set_item("sequence", PyArray1::from_iter(py, plan.iter().map(|slot| slot.sequence)))?;
        columns.set_item("epoch", PyArray1::from_iter(py, plan.iter().map(|slot| slot.epoch)))?;
        columns.set_item(
            "start_token",
            PyArray1::from_iter(py, plan.iter().map(|slot| slot.start_token)),
        )?;
        Ok(columns)
    }

    /// The slots of a rank's part of a step: first, and the one after the last.
    fn part(&self, step: u64, rank: u32, world_size: u32) -> PyResult<(u64, u64)> {
        let rank = Rank::new(rank, world_size).map_err(Failure::from)?;
        let slots = self.mixer.slots(step, rank).map_err(Failure::from)?;
        Ok((slots.start, slots.end))
    }

    /// The number of targets of a whole step, over all ranks, that count for the loss.
    fn step_targets(&self, py: Python<'_>, step: u64) -> PyResult<u64> {
        Ok(py.detach(|| self.mixer.step_targets(step)).map_err(Failure::from)?)
    }

    /// The state of a run whose next slot this is, as JSON.
    fn state(&self, slot: u64) -> PyResult<String> {
        Ok(json_of(&self.mixer.state(slot))?)
    }

    /// The next slot of a run that stopped at a state in JSON.
    fn resume(&self, state: &str) -> PyResult<u64> {
        let state: MixerState = serde_json::from_str(state)
            .map_err(|error| Failure::configuration(format!("the state: {error}")))?;
        Ok(self.mixer.resume(&state).map_err(Failure::from)?)
    }

    fn filler(&self, dtype: &str, documents: bool) -> PyResult<Filler> {
        Ok(Filler::new(Arc::clone(&self.mixer), dtype, documents)?)
    }

    #[expect(clippy::too_many_arguments, reason = "all of a loader's settings, by name in Python")]
    #[pyo3(signature = (*, start, end, rank, world_size, threads, ahead, dtype, documents))]
    fn batches(
        &self,
        start: u64,
        end: u64,
        rank: u32,
        world_size: u32,
        threads: u32,
        ahead: u32,
        dtype: &str,
        documents: bool,
    ) -> PyResult<BatchLoader> {
        let rank = Rank::new(rank, world_size).map_err(Failure::from)?;
        let config =
            LoaderConfig { steps: start..end, rank, threads, batches_ahead: ahead, documents };
        Ok(BatchLoader::new(Arc::clone(&self.mixer), config, dtype)?)
    }
}
