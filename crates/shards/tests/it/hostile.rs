//! Manifests with hostile content cannot reach files outside the corpus.

use std::{fs, path::Path};

use mixdown_base::error_kind::ErrorKind;
use mixdown_shards::{Access, Corpus, Error, Fingerprint, Manifest, Split};

use crate::support::{damage_of, edit_manifest, small_corpus};

fn refused(folder: &Path) -> Error {
    let error = Manifest::read(folder).unwrap_err();
    assert_eq!(Corpus::open(folder, Access::Map).unwrap_err().to_string(), error.to_string());
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    error
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let (folder, _) = small_corpus(1000);
    let outside = folder.path().parent().unwrap().join("outside");
    let absolute = outside.to_str().unwrap();
    let long = "x".repeat(300);
    let names = [
        "",
        ".",
        "..",
        "../train/shard-00000",
        "/etc/passwd",
        absolute,
        "a/b",
        "a\\b",
        "C:a",
        "a\0b",
        "a\u{1b}[2J",
        &long,
        "shard-00001",
    ];
    for split in ["train", "holdout"] {
        for name in names {
            if split == "holdout" && name == "shard-00001" {
                continue;
            }
            let before = fs::read(folder.path().join(Manifest::FILE)).unwrap();
            edit_manifest(folder.path(), |json| json[split]["shards"][0]["file"] = name.into());
            let message = refused(folder.path()).to_string();
            let field = if name == "shard-00001" { 1 } else { 0 };
            assert!(message.contains(&format!("{split}.shards[{field}].file")), "{message}");
            assert!(!message.contains('\u{1b}') && !message.contains('\0'), "{message:?}");
            fs::write(folder.path().join(Manifest::FILE), before).unwrap();
        }
    }
    Manifest::read(folder.path()).unwrap();
}

/// A snapshot in the Hugging Face Hub's cache: every file of it is a link into a folder of blobs.
#[cfg(unix)]
#[test]
fn a_corpus_of_links_to_files_is_a_corpus() {
    use std::os::unix::fs::symlink;

    let (folder, _) = small_corpus(1000);
    let blobs = tempfile::tempdir().unwrap();
    let mut folders = vec![folder.path().to_owned()];
    let mut links = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let blob = blobs.path().join(links.len().to_string());
            fs::rename(&path, &blob).unwrap();
            symlink(&blob, &path).unwrap();
            links.push((path, blob));
        }
    }
    assert!(links.len() > 8);
    for access in [Access::Map, Access::Read] {
        let corpus = Corpus::open(folder.path(), access).unwrap();
        corpus.document(Split::Train, 0).unwrap();
        corpus.document_hashes(Split::Train).unwrap();
    }
    assert_eq!(damage_of(folder.path()), []);
    // A link to nothing is a missing file.
    let (link, blob) = links.iter().find(|(link, _)| link.ends_with("shard-00000.idx")).unwrap();
    fs::remove_file(blob).unwrap();
    let message = Corpus::open(folder.path(), Access::Map).unwrap_err().to_string();
    assert!(message.contains("got no file"), "{message}");
    assert!(message.contains(link.to_str().unwrap()), "{message}");
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_to_folders_and_devices_are_refused() {
    use std::os::unix::fs::symlink;

    let (folder, _) = small_corpus(1000);
    let outside = tempfile::tempdir().unwrap();
    fs::rename(folder.path().join("holdout"), outside.path().join("holdout")).unwrap();
    symlink(outside.path().join("holdout"), folder.path().join("holdout")).unwrap();
    let message = refused(folder.path()).to_string();
    assert!(message.contains("holdout") && message.contains("a link to"), "{message}");
    for name in ["manifest.json", "tokenizer.json", "train/shard-00000.bin"] {
        let (folder, _) = small_corpus(1000);
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        let message = refused(folder.path()).to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains("a link to \"/dev/zero\""), "{message}");
    }
    // Inside the corpus, folders may be links as well.
    let (folder, _) = small_corpus(1000);
    fs::rename(folder.path().join("holdout"), folder.path().join("kept")).unwrap();
    symlink("kept", folder.path().join("holdout")).unwrap();
    Corpus::open(folder.path(), Access::Map).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_to_the_corpus_itself_is_fine() {
    let (folder, _) = small_corpus(1000);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("general");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    Corpus::open(&link, Access::Map).unwrap();
}

/// Every number of the records, replaced by a limit value, is refused without overflow.
#[test]
fn numbers_on_the_borders_are_refused() {
    let (folder, _) = small_corpus(1000);
    let path = folder.path().join(Manifest::FILE);
    let sound: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut pointers = vec!["/vocab_size".to_owned()];
    for split in ["train", "holdout"] {
        for field in ["documents", "tokens", "text_bytes"] {
            pointers.push(format!("/{split}/{field}"));
            pointers.push(format!("/{split}/shards/0/{field}"));
        }
        pointers.push(format!("/{split}/shards/0/bin_bytes"));
    }
    for pointer in pointers {
        for number in [0, 1 << 31, 1 << 59, 1 << 60, 1 << 63, u64::MAX] {
            let mut json = sound.clone();
            *json.pointer_mut(&pointer).unwrap() = number.into();
            fs::write(&path, json.to_string()).unwrap();
            refused(folder.path());
        }
        for value in ["-1", "1.5", "null", "\"1\"", "18446744073709551616"] {
            let mut json = sound.clone();
            *json.pointer_mut(&pointer).unwrap() = serde_json::from_str(value).unwrap();
            fs::write(&path, json.to_string()).unwrap();
            refused(folder.path());
        }
    }
}

/// All shards together claim a sum beyond 64 bits, with every other number consistent.
#[test]
fn sums_that_overflow_are_refused() {
    let (folder, mut manifest) = small_corpus(1000);
    for shard in &mut manifest.train.shards {
        shard.text_bytes = 1 << 63;
    }
    manifest.train.text_bytes = u64::MAX;
    manifest.fingerprint = Manifest::data_fingerprint(
        manifest.dtype,
        manifest.tokenizer_fingerprint,
        &manifest.train.shards,
        &manifest.holdout.shards,
    );
    let written = manifest.write(folder.path()).unwrap_err().to_string();
    fs::write(folder.path().join(Manifest::FILE), serde_json::to_string(&manifest).unwrap())
        .unwrap();
    assert_eq!(refused(folder.path()).to_string(), written);
    assert!(written.contains("train.text_bytes"), "{written}");
}

/// A manifest whose `bin_root` belongs to other data, with everything else consistent: the blocks match their sums, so
/// only the merged sums and the whole file show it.
#[test]
fn sums_that_do_not_merge_to_the_root_are_found() {
    let (folder, mut manifest) = small_corpus(1000);
    manifest.train.shards[0].bin_root = Fingerprint::of(b"other data");
    manifest.fingerprint = Manifest::data_fingerprint(
        manifest.dtype,
        manifest.tokenizer_fingerprint,
        &manifest.train.shards,
        &manifest.holdout.shards,
    );
    manifest.write(folder.path()).unwrap();
    let train = folder.path().join("train");
    let expected = ["shard-00000.bin", "shard-00000.sums"].map(|name| (train.join(name), None));
    assert_eq!(damage_of(folder.path()), expected);
}
