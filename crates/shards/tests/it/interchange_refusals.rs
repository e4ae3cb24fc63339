//! Refused token files, with the reasons: damaged, narrow, outside, stopped.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_shards::{Dtype, ImportFile, ImportOptions, Split, TokenFormat, import};

use crate::interchange::{adopt, golden, options};
use crate::support::{damage_of, flip, overwrite};

/// The error message for a golden file that `change` has damaged.
fn message_of(folder: &str, name: &str, change: impl FnOnce(&Path)) -> String {
    let copy = golden(folder, name.split('.').next().unwrap());
    change(copy.path());
    let error = adopt(copy.path(), name, &options()).unwrap_err();
    assert!(!copy.path().join("manifest.json").exists());
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    error.to_string().replace(&format!("{}/", copy.path().display()), "")
}

#[test]
fn bad_files_are_named_with_place_and_way_out() {
    let beyond = message_of("nanogpt", "train.bin", |folder| {
        overwrite(&folder.join("train.bin"), 20, &1000_u16.to_le_bytes());
    });
    assert_eq!(
        beyond,
        "train.bin: byte 20: expected ids of uint16 below the tokenizer's vocabulary of 1000, got \
         1000; give the tokenizer that made the file, or the right --dtype or --format"
    );
    let odd = message_of("nanogpt", "train.bin", |folder| {
        fs::write(folder.join("train.bin"), [1, 0, 2]).unwrap();
    });
    assert!(odd.contains("a whole number of ids of 2 bytes, at least one, got 3 bytes"), "{odd}");
    let empty = message_of("nanogpt", "train.bin", |folder| {
        fs::write(folder.join("train.bin"), []).unwrap();
    });
    assert!(empty.contains("got 0 bytes"), "{empty}");
    for (at, bytes, expected) in [
        (0, &b"X"[..], "int32.idx: byte 0: expected the magic"),
        (9, &[2], "int32.idx: byte 9: expected version 1, got 2"),
        (
            17,
            &[5],
            "int32.idx: byte 17: expected dtype code 4 (int32) or 8 (uint16), got 5 (int64)",
        ),
        (17, &[1], "got 1 (uint8)"),
        (
            18,
            &[8],
            "expected the size of an index of 8 sequences and 10 document entries, got 222 bytes",
        ),
        (34, &[255; 4], "byte 34: expected a length of sequence 0 of at least 0, got -1"),
        (34, &[2, 0], "byte 78: expected byte offset 8 of sequence 1, got 12"),
        (34 + 9 * 12 + 8, &[0], "expected a last document entry"),
    ] {
        let message = message_of("megatron", "int32.bin", |folder| {
            overwrite(&folder.join("int32.idx"), at, bytes);
            if at == 34 + 9 * 12 + 8 {
                overwrite(&folder.join("int32.idx"), 34 + 9 * 12 + 8 * 9, &[8]);
            }
        });
        assert!(message.contains(expected), "{message}");
    }
    let longer = message_of("megatron", "int32.bin", |folder| {
        let path = folder.join("int32.bin");
        fs::write(&path, [fs::read(&path).unwrap(), vec![0; 4]].concat()).unwrap();
    });
    assert!(longer.contains("int32.idx: byte 34: expected sequences of 544 bytes"), "{longer}");
}

#[test]
fn bad_headers_and_ends_are_named_with_place() {
    for (at, number, expected) in [
        (
            0,
            1_u32,
            "gpt2_train_000000.bin: byte 0: expected llm.c's magic 20240520 or 20240801, got 1",
        ),
        (0, 20_240_522, "got its file of multiple-choice questions"),
        (4, 2, "byte 4: expected version 1 after magic 20240520, got 2"),
        (
            8,
            134,
            "byte 8: expected the number of ids behind the header, 135 in 1294 bytes, got 134",
        ),
        (8, u32::MAX, "got 4294967295"),
    ] {
        let copy = golden("llmc", "gpt2");
        overwrite(&copy.path().join("gpt2_train_000000.bin"), at, &number.to_le_bytes());
        let options = ImportOptions { format: Some(TokenFormat::Llmc), ..options() };
        let error = adopt(copy.path(), "gpt2_train_000000.bin", &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (at, number, expected) in [
        (16, 2_u64, "two_bytes.ds.index: byte 16: expected an end of 9 to 135"),
        (64, 1 << 40, "byte 64: expected a last end of 135 or 67 ids"),
        (56, 1 << 63, "byte 56: expected an end of 84 to 135"),
    ] {
        let message = message_of("datatrove", "two_bytes.ds", |folder| {
            overwrite(&folder.join("two_bytes.ds.index"), at, &number.to_le_bytes());
        });
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn narrow_ids_of_a_wide_vocabulary_are_refused() {
    let options = ImportOptions { vocab_size: 100_000, dtype: Some(Dtype::U16), ..options() };
    for (folder, name) in
        [("nanogpt", "train.bin"), ("megatron", "uint16.bin"), ("llmc", "gpt2_train_000000.bin")]
    {
        let copy = golden(folder, name.split('.').next().unwrap());
        let message = adopt(copy.path(), name, &options).unwrap_err().to_string();
        assert!(
            message.contains("vocabulary of 100000, got uint16 ids, which end at 65535"),
            "{message}"
        );
    }
}

#[test]
fn documents_of_olmo_must_follow_one_another() {
    use std::io::Write;
    for (csv, expected) in [
        (
            "0,3\n4,9\n",
            "expected in line 2 a document that begins at 3, where the last one ends, got 4",
        ),
        (
            "0,3\n3,136\n",
            "expected in line 2 an end of 3 to 135, the ids of part-0-00000.npy, got 136",
        ),
        ("0,3\n3,2\n", "expected in line 2 an end of 3"),
        ("0\n", "expected in line 1 a line that begins with two numbers, got fewer"),
        ("a,b\n", "expected in line 1 a line that begins with two numbers, start and end, got 'a'"),
        ("0,99999999999999999999\n", "expected in line 1 numbers of 64 bits"),
        ("0,3,\"x\n", "expected in line 1 a closing quotation mark"),
    ] {
        let message = message_of("olmo", "part-0-00000.npy", |folder| {
            let file = fs::File::create(folder.join("part-0-00000.csv.gz")).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gzip.write_all(csv.as_bytes()).unwrap();
            gzip.finish().unwrap();
        });
        assert!(message.contains(expected), "{message}");
    }
    let cut = message_of("olmo", "part-0-00000.npy", |folder| {
        let path = folder.join("part-0-00000.csv.gz");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    });
    assert!(cut.contains("gzip data that is whole"), "{cut}");
    // More columns, quoted commas and line ends, no final line end, ids after the last document.
    let copy = golden("olmo", "part");
    let file = fs::File::create(copy.path().join("part-0-00000.csv.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(b"0,3,\"a,\nb\",s,1\r\n3,3,,,\n3,9,\"\"\"\",s,2").unwrap();
    gzip.finish().unwrap();
    let manifest = adopt(
        copy.path(),
        "part-0-00000.npy",
        &ImportOptions { text_of: &|_| Ok((1, 1)), ..options() },
    )
    .unwrap();
    assert_eq!((manifest.train.documents, manifest.counts.empty_documents), (3, 1));
}

/// No content of a header or an index causes a panic; what is adopted is sound.
#[test]
fn every_header_byte_may_be_damaged() {
    // If the rest of a file is padding, its beginning is enough.
    for (folder, name, damaged, header_bytes) in [
        ("megatron", "int32.bin", "int32.idx", 222),
        ("megatron", "sentences.bin", "sentences.idx", 200),
        ("datatrove", "two_bytes.ds", "two_bytes.ds.index", 72),
        ("llmc", "gpt2_train_000000.bin", "gpt2_train_000000.bin", 16),
        ("npy", "ids.npy", "ids.npy", 80),
        ("olmo", "part-0-00000.npy", "part-0-00000.csv.gz", 84),
    ] {
        let copy = golden(folder, name.split('.').next().unwrap());
        let path = copy.path().join(damaged);
        let sound = fs::read(&path).unwrap();
        let any_text = ImportOptions { text_of: &|_| Ok((1, 1)), ..options() };
        let mut accepted = 0;
        for at in 0..header_bytes {
            fs::write(&path, &sound[..at]).unwrap();
            accepted += usize::from(outcome(copy.path(), name, &any_text));
            fs::write(&path, &sound).unwrap();
            flip(&path, at, [0x01, 0x80, 0xff][at % 3]);
            accepted += usize::from(outcome(copy.path(), name, &any_text));
        }
        // Some bytes have no meaning, such as gzip's time, and a beginning may be an array of ids.
        assert!(accepted < header_bytes, "{damaged}: {accepted}");
    }
}

/// Returns whether the folder is adopted; if it is, it is sound.
fn outcome(folder: &Path, name: &str, options: &ImportOptions<'_>) -> bool {
    let is_adopted = adopt(folder, name, options).is_ok();
    if is_adopted {
        assert_eq!(damage_of(folder), []);
        fs::remove_file(folder.join("manifest.json")).unwrap();
    }
    is_adopted
}

#[cfg(unix)]
#[test]
fn files_outside_the_corpus_folder_are_refused() {
    let copy = golden("nanogpt", "train");
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("train.bin");
    fs::copy(copy.path().join("train.bin"), &file).unwrap();
    let files = [ImportFile { path: file.clone(), split: Split::Train }];
    let message =
        import(copy.path(), &files, &options(), Observer::silent()).unwrap_err().to_string();
    assert!(message.contains("expected a file below the corpus folder"), "{message}");
    // A link that leads out is refused when the corpus is opened, in any part of the path.
    std::os::unix::fs::symlink(outside.path(), copy.path().join("link")).unwrap();
    let message = adopt(copy.path(), "link/train.bin", &options()).unwrap_err().to_string();
    assert!(message.contains("a link to"), "{message}");
    assert!(!copy.path().join("manifest.json").exists());
}

#[test]
fn a_stop_leaves_no_manifest_and_the_next_run_succeeds() {
    let copy = golden("nanogpt", "train");
    let files = [ImportFile { path: copy.path().join("train.bin"), split: Split::Train }];
    let stopped =
        import(copy.path(), &files, &options(), Observer::new(&|_| {}, &AtomicBool::new(true)));
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(!copy.path().join("manifest.json").exists());
    adopt(copy.path(), "train.bin", &options()).unwrap();
}
