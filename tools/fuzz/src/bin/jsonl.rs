//! JSON lines of any content, with a plain and a nested text field.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mixdown_documents::{DocumentReader, InputList, ReadOptions};

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("input.jsonl");
    fs::write(&path, data).expect("room for a file");
    for text_field in ["text", "meta.text"] {
        let options = ReadOptions {
            text_field: Some(text_field.to_owned()),
            skip_bad: u64::MAX,
            ..ReadOptions::default()
        };
        let Ok(list) = InputList::discover_with(std::slice::from_ref(&path), &options) else {
            return;
        };
        // More documents than bytes would be an endless loop.
        let documents = DocumentReader::new(&list, &options).take(data.len() + 1);
        let read = documents.filter(|document| document.is_ok()).count();
        assert!(read <= data.len(), "{read} documents in {} bytes", data.len());
    }
});
