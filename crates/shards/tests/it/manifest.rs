//! Manifests that break a rule of docs/format.md are refused.

use std::fs::{self, File};

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::{Access, Corpus, Error, Manifest};
use proptest::test_runner::{Config, TestRunner};

use crate::support::{damage_of, edit_manifest, run_verify, small_corpus};

#[test]
fn no_manifest_is_a_wrong_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing"), file] {
        let error = Corpus::open(&path, Access::Map).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with(path.to_str().unwrap()));
        assert!(error.to_string().contains("mixdown prepare"), "{error}");
    }
}

#[test]
fn other_versions_are_refused_before_their_shape() {
    let (folder, _) = small_corpus(1000);
    for version in [0, 3, u32::MAX] {
        edit_manifest(folder.path(), |json| json["version"] = version.into());
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Version { expected: 2, got, .. } if got == version));
    }
    let future = "{\"format\": \"mixdown-corpus\", \"version\": 3, \"everything\": \"else\"}";
    fs::write(folder.path().join(Manifest::FILE), future).unwrap();
    let error = Manifest::read(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Version { expected: 2, got: 3, .. }));
}

#[test]
fn contradictions_are_named() {
    for (pointer, value, named) in [
        ("/format", "\"other\"", "format: expected \"mixdown-corpus\", got \"other\""),
        ("/dtype", "\"int32\"", "train.shards[0].bin_bytes"),
        ("/end_of_text", "1000", "end_of_text: expected an id below vocab_size 1000, got 1000"),
        ("/beginning_of_text", "1001", "beginning_of_text"),
        ("/vocab_size", "65537", "vocab_size: expected 1 to 65536 for uint16, got 65537"),
        ("/train/tokens", "1", "train.tokens: expected the sum over its shards"),
        ("/fingerprint", &format!("\"{}\"", "0".repeat(64)), "fingerprint: expected"),
        ("/tokenizer_fingerprint", &format!("\"{}\"", "0".repeat(64)), "fingerprint: expected"),
        ("/holdout/shards/0/sums_root", &format!("\"{}\"", "0".repeat(64)), "fingerprint"),
        ("/fingerprint", "\"xyz\"", "manifest.json: expected the JSON of a corpus manifest"),
    ] {
        let (folder, _) = small_corpus(1000);
        edit_manifest(folder.path(), |json| {
            *json.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        });
        let message = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
        assert!(message.contains("manifest.json"), "{message}");
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let (folder, manifest) = small_corpus(1000);
    edit_manifest(folder.path(), |json| {
        json["later"] = 1.into();
        json["train"]["shards"][0]["later"] = "x".into();
    });
    assert_eq!(Manifest::read(folder.path()).unwrap(), manifest);
}

#[test]
fn truncated_manifest_is_an_error() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len() - 1).step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(Error::ManifestJson { .. })));
    }
}

#[test]
fn huge_manifest_is_refused() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let message = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("at most 67108864 bytes"), "{message}");
}

#[test]
fn writing_again_gives_the_same_bytes() {
    let (folder, manifest) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    let before = fs::read(&path).unwrap();
    Manifest::read(folder.path()).unwrap().write(folder.path()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!folder.path().join("manifest.json.tmp").exists());
    let mut wrong = manifest;
    wrong.train.documents += 1;
    assert!(wrong.write(folder.path()).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A manifest with any byte changed is read or refused; it never panics.
#[test]
fn any_changed_byte_ends() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    let sound = fs::read(&path).unwrap();
    let mut runner = TestRunner::new(Config::with_cases(300));
    let result = runner.run(&(0..sound.len(), 0..=255_u8), |(at, byte)| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        drop(Corpus::open(folder.path(), Access::Read));
        Ok(())
    });
    result.unwrap();
}

/// A change of any byte of a sealed manifest is detected, and of any tokenizer file beside it.
#[test]
fn a_sealed_manifest_is_as_it_was_written() {
    let (folder, manifest) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    fs::write(folder.path().join("special_tokens_map.json"), "{}").unwrap();
    manifest.write_sealed(folder.path()).unwrap();
    assert_eq!(Manifest::read(folder.path()).unwrap(), manifest);
    let report = run_verify(folder.path()).unwrap();
    assert!(report.is_sealed && report.damage.is_empty(), "{:?}", report.damage);
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(Manifest::read(folder.path()).is_err(), "byte {at}");
    }
    for (field, value) in [("end_of_text", 1), ("beginning_of_text", 3), ("vocab_size", 1001)] {
        fs::write(&path, &sound).unwrap();
        edit_manifest(folder.path(), |json| json[field] = value.into());
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(
            error.kind() != ErrorKind::Configuration
                && error.to_string().contains("as it was written"),
            "{error}"
        );
    }
    // The same content in another layout is another file; without its seal it is one of an older version.
    edit_manifest(folder.path(), |json| drop(json.as_object_mut().unwrap().remove("seal")));
    Manifest::read(folder.path()).unwrap();
    assert!(!run_verify(folder.path()).unwrap().is_sealed);
    fs::write(&path, &sound).unwrap();
    for name in ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.path().join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, "{\"another\": true}").unwrap();
        assert_eq!(damage_of(folder.path()), [(path.clone(), None)], "{name}");
        match before {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(damage_of(folder.path()), []);
}

#[test]
fn companions_of_an_older_corpus_are_json() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join("tokenizer_config.json");
    fs::write(&path, "{\"eos_token\": \"<e").unwrap();
    assert_eq!(damage_of(folder.path()), [(path.clone(), None)]);
    fs::write(&path, "{}").unwrap();
    assert_eq!(damage_of(folder.path()), []);
}

/// A seal cannot name files outside the folder.
#[test]
fn a_seal_names_companions_only() {
    let (folder, manifest) = small_corpus(1000);
    manifest.write_sealed(folder.path()).unwrap();
    edit_manifest(folder.path(), |json| {
        let sum = json["fingerprint"].clone();
        json["seal"]["companions"]["../secret"] = sum;
    });
    let message = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("seal.companions") && message.contains("../secret"), "{message}");
}
