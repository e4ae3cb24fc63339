//! Which folder a name of a model stands for, and what is refused.

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
    assert_eq!(Model::load(&run).unwrap().parameters(), Model::load(&best).unwrap().parameters());
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
    assert!(message(&llama_cpp).contains("small.Q8_0.gguf: expected a Hugging Face model folder"));
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
    // A path that is mistyped is no name of the hub: the first is a folder.
    for path in ["src/no-such-model", "no-such-model", "a/b/c", "../a/b", "/nowhere/model", "a b/c"]
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
