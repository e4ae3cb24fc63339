//! Runs as commands start them: the model's folder, one training with its meter, its processes, its numbers as text.

pub(crate) mod evaluations;
pub(crate) mod processes;
pub(crate) mod training;

use std::path::{Path, PathBuf};

use mixdown_train::{Model, ModelPlace};

use crate::error::Error;
use crate::terminal::progress::say;

/// The model's folder at `path`, relative to `base`; prints a message if the path is a run's folder, whose best/ is
/// used.
///
/// # Errors
/// As [`ModelPlace::find`].
pub(crate) fn model_folder(base: &Path, path: &Path) -> Result<PathBuf, Error> {
    let place = ModelPlace::find(base, path)?;
    if place.is_best_of_run {
        say(&format!("{} is a run's folder: its best/ is used", path.display()));
    }
    Ok(place.folder)
}

/// Loads the model at `path`, which accepts only corpora of its tokenizer.json, and returns it with its folder.
///
/// # Errors
/// As [`mixdown_experiments::load_model`].
pub(crate) fn load_model(path: &Path) -> Result<(PathBuf, Model), Error> {
    let folder = model_folder(Path::new(""), path)?;
    let model = mixdown_experiments::load_model(&folder)?;
    Ok((folder, model))
}
