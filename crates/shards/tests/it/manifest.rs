use std::fs::{self, File};

use mixdown_shards::{Access, Corpus, Error, Manifest};
use proptest::test_runner::{Config, TestRunner};

use crate::support::{edit_manifest, small_corpus};

#[test]
fn no_manifest_is_a_wrong_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing"), file] {
        let error = Corpus::open(&path, Access::Map).unwrap_err();
        assert!(error.is_configuration());
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
