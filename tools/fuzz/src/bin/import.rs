//! Files of other programs of any content. The first byte says what is fuzzed: a token file under one
//! of four names, or the index beside a sound token file.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mixdown_base::observer::Observer;
use mixdown_fuzz::read_all;
use mixdown_shards::{Fingerprint, ImportFile, ImportOptions, Split, import};

/// A token file of 135 ids of 2 bytes.
const TOKENS: &[u8] = include_bytes!("../../../../testdata/interchange/megatron/uint16.bin");

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("room");
    let name = match kind % 6 {
        0 => {
            put("ids.bin", data);
            "ids.bin"
        }
        1 => {
            put("ids.npy", data);
            "ids.npy"
        }
        2 => {
            put("ids.ds", data);
            "ids.ds"
        }
        3 => {
            put("ids.bin", TOKENS);
            put("ids.idx", data);
            "ids.bin"
        }
        4 => {
            put("ids.ds", TOKENS);
            put("ids.ds.index", data);
            "ids.ds"
        }
        _ => {
            put("ids.npy", TOKENS);
            put("ids.csv.gz", data);
            "ids.npy"
        }
    };
    adopt(folder.path(), name);
});

fn adopt(folder: &Path, name: &str) {
    let options = ImportOptions {
        tokenizer_fingerprint: Fingerprint::of(b"tokenizer"),
        vocab_size: 1000,
        end_of_text: 7,
        beginning_of_text: Some(1),
        format: None,
        dtype: None,
        sample_sums: None,
        companions: &[("tokenizer.json", b"{}".to_vec())],
        text_of: &|ids| Ok((ids.len() as u64, 1)),
    };
    let files = [ImportFile { path: folder.join(name), split: Split::Train }];
    if import(folder, &files, &options, Observer::silent()).is_ok() {
        read_all(folder);
        let report = mixdown_shards::verify(folder, Observer::silent()).expect("an adopted corpus");
        assert_eq!(report.damage, [], "what was adopted is sound");
    }
}
