//! The sums of a model's folder: a checkpoint, best/, or one that others wrote.

use std::path::Path;

use mixdown_runs::sums::{self, Fault, Unsummed};
use mixdown_runs::{RECORDS_FILE, RunFolder};

use crate::checkpoint::STATE_FILE;
use crate::error::Error;
use crate::weights::hugging_face::is_companion;
use crate::weights::{CONFIG_FILE, INDEX_FILE};

/// Returns the changed files of the model in `folder`: a file with another sum, a missing file, and a file of the model
/// that was added later. A folder of another program has no sums and is accepted; a checkpoint or the best/ of a run
/// that has sums must have sums.
///
/// # Errors
/// A file cannot be read.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mixdown_train::{FreshModel, Model, model_faults};
///
/// let folder = tempfile::tempdir()?;
/// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
/// Model::new(&shape.config(8), 3)?.save(folder.path())?;
/// mixdown_runs::sums::write(folder.path())?;
/// assert!(model_faults(folder.path())?.is_empty());
/// std::fs::write(folder.path().join("config.json"), "{}")?;
/// assert_eq!(model_faults(folder.path())?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub fn model_faults(folder: &Path) -> Result<Vec<Fault>, Error> {
    let run = RunFolder::of_model(folder);
    let unsummed = match run.as_ref().is_some_and(RunFolder::is_summed) {
        true => Unsummed::Damaged,
        false => Unsummed::Foreign,
    };
    let mut faults = sums::faults(folder, unsummed, &is_read)?;
    if faults.is_empty()
        && let Some(run) = run
        && run.best().canonicalize().ok() == folder.canonicalize().ok()
    {
        faults.extend(run.best_fault()?);
    }
    Ok(faults)
}

/// Refuses a folder with a changed file. `way_out` ends the message.
pub(crate) fn check(folder: &Path, way_out: &str) -> Result<(), Error> {
    match model_faults(folder)?.into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(fault.into_error(way_out).into()),
    }
}

/// Returns whether a file of that name belongs to a model or a checkpoint.
fn is_read(name: &str) -> bool {
    [CONFIG_FILE, INDEX_FILE, STATE_FILE, RECORDS_FILE].contains(&name)
        || name.ends_with(".safetensors")
        || name.starts_with("adapter/")
        || is_companion(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mixdown_runs::sums;

    use super::{check, model_faults};

    #[test]
    fn a_file_that_a_model_is_read_with_must_have_been_there() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("config.json"), "{}").unwrap();
        sums::write(place.path()).unwrap();
        check(place.path(), "").unwrap();
        fs::write(place.path().join("README.md"), "mine").unwrap();
        check(place.path(), "").unwrap();
        for name in [
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "chat_template.jinja",
            "additional_chat_templates/rag.jinja",
            "generation_config.json",
        ] {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "{}").unwrap();
            let error = check(place.path(), "take another").unwrap_err().to_string();
            assert!(error.contains(name) && error.ends_with("take another"), "{error}");
            fs::remove_file(&path).unwrap();
        }
        fs::write(place.path().join("config.json"), "{ }").unwrap();
        let error = check(place.path(), "").unwrap_err().to_string();
        assert!(error.contains("config.json: expected BLAKE3 sum "), "{error}");
    }

    #[test]
    fn the_model_of_a_run_with_sums_must_have_some() {
        let place = tempfile::tempdir().unwrap();
        let best = place.path().join("best");
        fs::create_dir(&best).unwrap();
        fs::write(best.join("config.json"), "{}").unwrap();
        assert_eq!(model_faults(&best).unwrap(), []);
        let folder = mixdown_runs::RunFolder::create(place.path()).unwrap();
        folder.write_run_toml("seed = 7\n").unwrap();
        assert_eq!(model_faults(&best).unwrap()[0].path, best.join("BLAKE3SUMS"));
        sums::write(&best).unwrap();
        assert_eq!(model_faults(&best).unwrap(), []);
    }
}
