//! Runs as commands start them: their models by name, one training with its meter, its processes, its numbers as text.

pub(crate) mod evaluations;
pub(crate) mod processes;
pub(crate) mod training;

use std::path::{Path, PathBuf};

use mixdown_train::{Model, ModelPlace};

use crate::error::Error;
use crate::terminal::progress::say;

/// The model's folder at `path`, taken from `base` where it is relative; says so where it is best/ of a run that was
/// named.
///
/// # Errors
/// As [`ModelPlace::find`].
pub(crate) fn model_folder(base: &Path, path: &Path) -> Result<PathBuf, Error> {
    let place = ModelPlace::find(base, path)?;
    if place.is_best_of_run {
        say(&format!("{} is a run's folder: its best/ is taken", path.display()));
    }
    Ok(place.folder)
}

/// Loads the model at `path`, which takes corpora of its own tokenizer.json alone; also gives the model's folder.
///
/// # Errors
/// As [`mixdown_experiments::load_model`].
pub(crate) fn load_model(path: &Path) -> Result<(PathBuf, Model), Error> {
    let folder = model_folder(Path::new(""), path)?;
    let model = mixdown_experiments::load_model(&folder)?;
    Ok((folder, model))
}
