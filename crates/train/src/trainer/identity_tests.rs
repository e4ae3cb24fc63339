//! What makes a folder's run that run: its base, its tokenizer, what it has left, and that none of it is damaged.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use mixdown_base::error_kind::ErrorKind;
use mixdown_runs::RunFolder;
use mixdown_shards::Fingerprint;

use crate::config::run_config::RunConfig;
use crate::config::run_file::AllowedChanges;
use crate::config::run_file::RunBase;
use crate::error::Error;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::config::tests::tiny;
use crate::optim::trainable_state::tests::{LORA, place, text};
use crate::ranks::World;
use crate::test_corpus::{corpus, tokens};
use crate::trainer::Trainer;
use crate::trainer::records::RunName;
use crate::trainer::tests::{TEXT, end, open, run, run_until, world};

fn refused(place: &Path, text: &str, out: &str) -> String {
    let error = open(place, text, out).map(|_| ()).unwrap_err();
    error.to_string()
}

/// Another model of the same shape in the place of the base.
fn replace_base(place: &Path, config: &ModelConfig, seed: u64) {
    let config = ModelConfig { tokenizer_fingerprint: None, ..config.clone() };
    Model::new(&config, seed).unwrap().save(&place.join("base")).unwrap();
}

#[test]
fn another_base_is_another_run() {
    for more in ["", LORA] {
        let place = place(&tiny());
        let place = place.path();
        run(place, &text(more), "finished").unwrap();
        run_until(place, &text(more), "stopped", 4).unwrap_err();
        replace_base(place, &tiny(), 4);
        for out in ["finished", "stopped"] {
            let words = "run.toml: fingerprints.init: expected ";
            let got = refused(place, &text(more), out);
            assert!(got.contains(words), "{more} {out}: {got}");
        }
        // The same numbers, computed in another way.
        let other = ModelConfig { norm_epsilon: 1e-3, ..tiny() };
        replace_base(place, &other, 3);
        let got = refused(place, &text(more), "stopped");
        assert!(got.contains("run.toml: fingerprints.init architecture: expected "), "{got}");
        // A run of before the architecture was written, and the sums, goes on.
        fs::remove_file(place.join("stopped/BLAKE3SUMS")).unwrap();
        let run_toml = place.join("stopped/run.toml");
        let older = fs::read_to_string(&run_toml).unwrap();
        let is_newer =
            |line: &str| line.starts_with("\"init architecture\"") || line.starts_with('#');
        let older: Vec<&str> = older.lines().filter(|line| !is_newer(line)).collect();
        fs::write(&run_toml, older.join("\n")).unwrap();
        replace_base(place, &tiny(), 3);
        run(place, &text(more), "stopped").unwrap();
        assert_eq!(end(place, "stopped").0, end(place, "finished").0, "{more}");
    }
}

#[test]
fn a_finished_run_gives_its_summary_whatever_was_removed() {
    let world = world();
    let place = world.path();
    let summary = run(place, TEXT, "out").unwrap();
    let folder = RunFolder::open(&place.join("out")).unwrap();
    let metrics = fs::read(folder.metrics()).unwrap();
    fs::remove_dir_all(folder.checkpoint(12)).unwrap();
    assert_eq!(run(place, TEXT, "out").unwrap(), summary);
    fs::remove_dir_all(folder.checkpoints()).unwrap();
    let best = fs::read(folder.best().join("model.safetensors")).unwrap();
    assert_eq!(open(place, TEXT, "out").unwrap().step(), 12);
    assert_eq!(run(place, TEXT, "out").unwrap(), summary);
    assert_eq!(fs::read(folder.metrics()).unwrap(), metrics);
    assert_eq!(fs::read(folder.best().join("model.safetensors")).unwrap(), best);
    assert!(!folder.checkpoints().exists());
    // Without its summary there is nothing to go on from, and what there is stays.
    fs::remove_file(folder.summary()).unwrap();
    let got = refused(place, TEXT, "out");
    assert!(got.contains("checkpoints: expected a checkpoint to go on from, got none"), "{got}");
    assert_eq!(fs::read(folder.metrics()).unwrap(), metrics);
    fs::remove_dir_all(folder.best()).unwrap();
    assert_eq!(open(place, TEXT, "out").unwrap().step(), 0);
}

/// As [`open`], with a tokenizer.json whose fingerprint is that of its bytes.
fn open_with_tokenizer(place: &Path, out: &str) -> Result<Trainer, Error> {
    let name = RunName { run_id: "r".to_owned(), title: "run".to_owned() };
    let tokenizer = |path: &Path| match fs::read(path) {
        Ok(bytes) if bytes == b"unreadable" => Err("no tokenizer".to_owned()),
        Ok(bytes) => Ok(Fingerprint::of(&bytes)),
        Err(error) => Err(error.to_string()),
    };
    let (base, config) = (RunBase { folder: place, tokenizer }, RunConfig::parse(&text(""))?);
    let (out, never) = (place.join(out), AtomicBool::new(false));
    Trainer::open(&config, base, &out, name, AllowedChanges::None, World::single(), &never)
}

#[test]
fn the_tokenizer_in_the_folder_counts_whatever_its_config_says() {
    let place = place(&tiny());
    let place = place.path();
    let tokenizer = place.join("base/tokenizer.json");
    // A config.json of before tokens were added.
    let stale = ModelConfig { tokenizer_fingerprint: Some(Fingerprint::of(b"old")), ..tiny() };
    Model::new(&stale, 3).unwrap().save(&place.join("base")).unwrap();
    let error = open_with_tokenizer(place, "a").map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
    fs::write(&tokenizer, "tokenizer").unwrap();
    let trainer = open_with_tokenizer(place, "a").unwrap();
    let noted = trainer.model().config().tokenizer_fingerprint;
    assert_eq!(noted, Some(Fingerprint::of(b"tokenizer")));
    // A folder that names no tokenizer, and has another than the corpora.
    replace_base(place, &tiny(), 3);
    fs::write(&tokenizer, "another").unwrap();
    let error = open_with_tokenizer(place, "b").map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::Tokenizer { .. }) && error.kind() == ErrorKind::Configuration,
        "{error}"
    );
    fs::write(&tokenizer, "unreadable").unwrap();
    let error = open_with_tokenizer(place, "b").map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with(
        "tokenizer.json: expected a tokenizer to compare with that of the corpora, got no tokenizer"
    ));
    assert!(!place.join("b").exists());
}

#[test]
fn entries_beyond_the_embedding_count_where_a_text_holds_them() {
    let place = place(&tiny());
    let place = place.path();
    for (name, seed) in [("target", 1), ("general", 3)] {
        fs::remove_dir_all(place.join(name)).unwrap();
        let held_out = &tokens(490, seed)[400..];
        corpus(&place.join(name), 41, &tokens(400, seed), held_out);
    }
    run(place, &text(""), "out").unwrap();
    let mut beyond = tokens(400, 1);
    beyond[399] = 40;
    fs::remove_dir_all(place.join("target")).unwrap();
    corpus(&place.join("target"), 41, &beyond, &tokens(490, 1)[400..]);
    let got = refused(place, &text(""), "b");
    let words = "ids below 40 (the model's vocab_size), got 40, of a tokenizer of 41 entries";
    assert!(got.contains(words) && got.contains("resize_token_embeddings"), "{got}");
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() * 3 / 5;
    bytes[middle] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_not_gone_on_from() {
    for more in ["", LORA] {
        let place = place(&tiny());
        let place = place.path();
        run(place, &text(more), "out").unwrap();
        let expected = end(place, "out");
        let folder = RunFolder::open(&place.join("out")).unwrap();
        fs::remove_file(folder.summary()).unwrap();
        let weights =
            if more.is_empty() { "model.safetensors" } else { "adapter/adapter_model.safetensors" };
        for name in [weights, "optimizer.safetensors", "state.json"] {
            let path = folder.checkpoint(12).join(name);
            let whole = fs::read(&path).unwrap();
            flip(&path);
            let got = refused(place, &text(more), "out");
            assert!(got.contains(&format!("step-12/{name}: expected BLAKE3 sum ")), "{got}");
            assert!(got.contains("goes on from the checkpoint of step "), "{got}");
            // The whole file is put in its place: best/ may be a link to it.
            fs::write(&path, whole).unwrap();
        }
        flip(&folder.checkpoint(12).join("optimizer.safetensors"));
        fs::remove_dir_all(folder.checkpoint(12)).unwrap();
        run(place, &text(more), "out").unwrap();
        assert_eq!(end(place, "out"), expected, "{more}");
    }
}

#[test]
fn the_last_checkpoint_has_none_before_it() {
    let world = world();
    run_until(world.path(), TEXT, "out", 3).unwrap_err();
    let folder = RunFolder::open(&world.path().join("out")).unwrap();
    let mut checkpoints: Vec<_> =
        fs::read_dir(folder.checkpoints()).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    checkpoints.drain(1..).for_each(|path| fs::remove_dir_all(path).unwrap());
    flip(&checkpoints[0].join("optimizer.safetensors"));
    let got = refused(world.path(), TEXT, "out");
    assert!(got.contains("no checkpoint is before it: remove"), "{got}");
}

#[test]
fn best_is_checked_before_it_is_used_and_a_folder_of_others_is_not() {
    let world = world();
    run(world.path(), TEXT, "out").unwrap();
    let best = world.path().join("out/best");
    Model::load(&best).unwrap();
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let copy = world.path().join(format!("copy-{name}"));
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&best).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        Model::load(&copy).unwrap();
        let path = copy.join(name);
        let text = fs::read(&path).unwrap();
        let changed =
            if name == "model.safetensors" { text.clone() } else { [&text[..], b" "].concat() };
        fs::write(&path, changed).unwrap();
        if name == "model.safetensors" {
            flip(&path);
        }
        let error = Model::load(&copy).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: expected BLAKE3 sum ")), "{error}");
        assert!(error.ends_with("to another place without BLAKE3SUMS"), "{error}");
        fs::remove_file(copy.join("BLAKE3SUMS")).unwrap();
        Model::load(&copy).unwrap();
    }
}
