//! The search for the folder of a model from a path that a user gave.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use crate::adapter::{ADAPTER_CONFIG_FILE, ADAPTER_FOLDER};
use crate::error::Error;
use crate::weights::{CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, read_json};

/// The folder of a model, found from a path that a user gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlace {
    /// The folder with config.json and weights.
    pub folder: PathBuf,
    /// Whether the path is a run's folder, whose best/ this is.
    pub is_best_of_run: bool,
}

impl ModelPlace {
    /// Finds the folder of the model at `path`, which may be relative to `base`: `path` itself, or best/ of a run's
    /// folder.
    ///
    /// # Errors
    /// The path does not exist or is not the folder of a model; the error says what it is and how to get a folder.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mixdown_train::{FreshModel, Model, ModelPlace};
    ///
    /// let base = tempfile::tempdir()?;
    /// let folder = base.path().join("model");
    /// std::fs::create_dir(&folder)?;
    /// let shape = FreshModel { layers: 1, ..FreshModel::of_size("tiny", 40, 3).ok_or("a size")? };
    /// Model::new(&shape.config(8), 3)?.save(&folder)?;
    /// let place = ModelPlace::find(base.path(), "model".as_ref())?;
    /// assert_eq!((place.folder, place.is_best_of_run), (folder, false));
    /// # Ok(())
    /// # }
    /// ```
    pub fn find(base: &Path, path: &Path) -> Result<Self, Error> {
        let folder = base.join(path);
        if folder.is_dir() {
            return in_folder(folder);
        }
        Err(match folder.is_file() {
            true => file_in_place_of_folder(&folder),
            false => nothing_there(&folder, path),
        })
    }
}

fn in_folder(folder: PathBuf) -> Result<ModelPlace, Error> {
    let config = folder.join(CONFIG_FILE);
    match fs::metadata(&config) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io(&config, "open")(error));
        }
        _ => {}
    }
    let has = |name: &str| folder.join(name).exists();
    let has_weights = has(WEIGHTS_FILE) || has(INDEX_FILE);
    if has(ADAPTER_CONFIG_FILE) && !has_weights {
        return Err(adapter_alone(&folder));
    }
    if has(CONFIG_FILE) {
        return match gguf_in(&folder).filter(|_| !has_weights) {
            Some(file) => Err(gguf(&file)),
            None => Ok(ModelPlace { folder, is_best_of_run: false }),
        };
    }
    if has("run.toml") {
        let best = folder.join("best");
        // Where it has lost a file, its sums say which.
        return match best.is_dir() {
            true => Ok(ModelPlace { folder: best, is_best_of_run: true }),
            false => {
                let got = "a run's folder without best/";
                let fix = "the run's first evaluation has not ended yet, or best/ was removed";
                Err(refused(&folder, got, fix))
            }
        };
    }
    if folder.join(ADAPTER_FOLDER).is_dir() {
        let got = "the checkpoint of an adapter, without its base";
        return Err(refused(&folder, got, "take best/ of the run, whose weights are merged"));
    }
    if let Some(file) = gguf_in(&folder) {
        return Err(gguf(&file));
    }
    if let Some(snapshot) = snapshot_in(&folder) {
        let got = "a folder of the hub's cache";
        return Err(refused(&folder, got, format!("take {}", snapshot.display())));
    }
    let got = format!("a folder without {CONFIG_FILE}");
    Err(refused(&folder, got, format!("it needs {CONFIG_FILE} and {WEIGHTS_FILE} or its shards")))
}

/// Describes a PEFT adapter; for an adapter of mixdown the merged model is in the folder above it.
fn adapter_alone(folder: &Path) -> Error {
    let above = folder.parent().filter(|above| above.join(WEIGHTS_FILE).exists());
    if let Some(above) = above.filter(|above| above.join(CONFIG_FILE).exists()) {
        let fix = format!("take {}, whose weights are merged", above.display());
        return refused(folder, "an adapter without its base", fix);
    }
    let config = read_json(&folder.join(ADAPTER_CONFIG_FILE)).unwrap_or_default();
    let base = config["base_model_name_or_path"].as_str();
    let got = base.map_or_else(
        || "an adapter without its base".to_owned(),
        |base| format!("an adapter without its base, {base}"),
    );
    let fix =
        "merge the two first, with merge_and_unload of PEFT and save_pretrained of transformers";
    refused(folder, got, fix)
}

fn file_in_place_of_folder(path: &Path) -> Error {
    if is_gguf(path) {
        return gguf(path);
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or_else(|| Path::new("."));
    refused(path, "a file", format!("take the folder that it lies in, {}", above.display()))
}

/// Describes a path that does not exist, which may be a name on the hub.
fn nothing_there(folder: &Path, path: &Path) -> Error {
    // Permission, a loop of links, a name that is too long.
    let reason = fs::metadata(folder).err().filter(|error| error.kind() != ErrorKind::NotFound);
    if let Some(reason) = reason {
        return Error::io(folder, "open")(reason);
    }
    match hub_name(path) {
        Some((id, name)) => {
            let fix = format!(
                "if this is a model of the Hugging Face hub, download it first: \
                 `hf download {id} --local-dir {name}`, and take {name}"
            );
            refused(folder, "nothing of that name", fix)
        }
        None => Error::io(folder, "open")(ErrorKind::NotFound.into()),
    }
}

/// Returns ORG/NAME and NAME if a path can be a name on the hub: two plain names, the first of which is not a folder.
fn hub_name(path: &Path) -> Option<(String, String)> {
    let mut names = Vec::new();
    for part in path.components() {
        let Component::Normal(name) = part else { return None };
        let name = name.to_str()?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if !name.chars().all(is_plain) || name.starts_with('.') {
            return None;
        }
        names.push(name);
    }
    match names[..] {
        [organization, name] if !Path::new(organization).exists() => {
            Some((format!("{organization}/{name}"), name.to_owned()))
        }
        _ => None,
    }
}

/// Returns the snapshot of a folder of the hub's cache.
fn snapshot_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder.join("snapshots")).ok()?;
    let mut snapshots: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    snapshots.sort();
    snapshots.into_iter().find(|snapshot| snapshot.join(CONFIG_FILE).exists())
}

/// Returns the first GGUF file in a folder.
fn gguf_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "gguf"))
}

/// Returns whether a file begins like a GGUF file.
fn is_gguf(path: &Path) -> bool {
    let mut first = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && &first == b"GGUF"
}

fn gguf(file: &Path) -> Error {
    let fix = "take the folder that it was made of, or convert it: from_pretrained(folder, gguf_file = …) and \
               save_pretrained of transformers";
    refused(file, "a GGUF file, which is made for generation alone", fix)
}

fn refused(path: &Path, got: impl Into<String>, fix: impl Into<String>) -> Error {
    Error::NoModel { path: path.to_owned(), got: got.into(), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use mixdown_base::error_kind::ErrorKind;

    use super::ModelPlace;
    use crate::model::Model;
    use crate::model::config::tests::tiny;

    fn found(path: &Path) -> ModelPlace {
        ModelPlace::find(Path::new(""), path).unwrap()
    }

    fn message(path: &Path) -> String {
        let error = ModelPlace::find(Path::new(""), path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        error.to_string()
    }

    #[test]
    fn a_folder_is_taken_and_of_a_runs_folder_its_best() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("run.toml"), "").unwrap();
        assert!(message(&run).contains("got a run's folder without best/"));
        let best = run.join("best");
        fs::create_dir(&best).unwrap();
        Model::new(&tiny(), 1).unwrap().save(&best).unwrap();
        assert_eq!(found(&best), ModelPlace { folder: best.clone(), is_best_of_run: false });
        assert_eq!(found(&run), ModelPlace { folder: best.clone(), is_best_of_run: true });
        assert_eq!(
            Model::load(&run).unwrap().parameters(),
            Model::load(&best).unwrap().parameters()
        );
        let of_base = ModelPlace::find(place.path(), Path::new("run")).unwrap();
        assert_eq!(of_base.folder, best);
    }

    #[test]
    fn what_is_no_folder_of_a_model_is_named_with_a_way_out() {
        let place = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = place.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let adapter = folder("adapter-alone");
        let config = r#"{"base_model_name_or_path": "some/base"}"#;
        fs::write(adapter.join("adapter_config.json"), config).unwrap();
        let text = message(&adapter);
        assert!(text.contains("an adapter without its base, some/base"), "{text}");
        assert!(text.contains("merge_and_unload"), "{text}");
        // One of ours, within the merged model.
        let merged = folder("merged");
        Model::new(&tiny(), 1).unwrap().save(&merged).unwrap();
        let own = folder("merged/adapter");
        fs::write(own.join("adapter_config.json"), config).unwrap();
        assert!(message(&own).contains("merged, whose weights are merged"));
        let checkpoint = folder("step-4");
        folder("step-4/adapter");
        assert!(message(&checkpoint).contains("take best/ of the run"));

        let llama_cpp = folder("llama-cpp");
        fs::write(llama_cpp.join("small.Q8_0.gguf"), b"GGUF\x03").unwrap();
        assert!(
            message(&llama_cpp).contains("small.Q8_0.gguf: expected a Hugging Face model folder")
        );
        fs::write(llama_cpp.join("config.json"), "{}").unwrap();
        assert!(message(&llama_cpp).contains("got a GGUF file"));
        fs::write(place.path().join("model"), b"GGUF\x03").unwrap();
        assert!(message(&place.path().join("model")).contains("got a GGUF file"));
        let weights = merged.join("model.safetensors");
        assert!(message(&weights).contains("got a file: take the folder that it lies in"));

        let cache = folder("models--some--base");
        let snapshot = folder("models--some--base/snapshots/0a1b");
        fs::write(snapshot.join("config.json"), "{}").unwrap();
        assert!(message(&cache).ends_with(&format!("take {}", snapshot.display())));
        assert!(message(&folder("empty")).contains("got a folder without config.json"));
    }

    #[test]
    fn a_name_of_the_hub_is_told_how_to_download_it() {
        let text = message(Path::new("some-organization/Some.Model_1B"));
        let command = "`hf download some-organization/Some.Model_1B --local-dir Some.Model_1B`";
        assert!(text.contains(command), "{text}");
        // Seen from a description in a folder as well.
        let joined = ModelPlace::find(Path::new("runs"), Path::new("some-organization/model"));
        assert!(joined.unwrap_err().to_string().contains("`hf download some-organization/model "));
        // A mistyped path is not taken for a name on the hub, because its first part is a folder.
        for path in
            ["src/no-such-model", "no-such-model", "a/b/c", "../a/b", "/nowhere/model", "a b/c"]
        {
            let text = message(Path::new(path));
            assert!(text.ends_with(": cannot open"), "{text}");
        }
    }

    #[test]
    fn a_pointer_of_git_lfs_is_named_wherever_it_stands() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 538090408\n";
        for name in ["model.safetensors", "config.json", "tokenizer.json"] {
            let place = tempfile::tempdir().unwrap();
            Model::new(&tiny(), 1).unwrap().save(place.path()).unwrap();
            fs::write(place.path().join(name), pointer).unwrap();
            let text = Model::load(place.path()).unwrap_err().to_string();
            assert!(text.contains(&format!("{name}: expected the file itself")), "{text}");
            assert!(text.contains("git lfs pull") && text.contains("hf download"), "{text}");
        }
    }
}
