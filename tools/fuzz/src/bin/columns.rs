//! Parquet and Arrow files of any content, with a plain and a nested text field. The first byte says
//! which of them a file's name says that it is: Parquet, an Arrow file or an Arrow stream.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use mixdown_documents::{DocumentReader, InputList, ReadOptions};
use mixdown_fuzz::panics;

/// Rows that are read of a file: a few bytes can say that one value stands in billions of rows.
const MOST_ROWS: usize = 10_000;

fuzz_target!(init: panics::keep_those_of_libraries(), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let name = ["input.parquet", "input.arrow", "input.arrows"][usize::from(kind % 3)];
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join(name);
    fs::write(&path, data).expect("room for a file");
    panics::none_comes_out(|| {
        for text_field in ["text", "meta.text"] {
            read(&path, text_field);
        }
    });
});

fn read(path: &PathBuf, text_field: &str) {
    let options = ReadOptions {
        text_field: Some(text_field.to_owned()),
        id_field: Some("id".to_owned()),
        skip_bad: u64::MAX,
        ..ReadOptions::default()
    };
    let Ok(list) = InputList::discover_with(std::slice::from_ref(path), &options) else { return };
    let mut reader = DocumentReader::new(&list, &options);
    let mut last = None;
    for document in reader.by_ref().take(MOST_ROWS) {
        let Ok(document) = document else { break };
        assert!(last < Some(document.place), "{:?} after {last:?}", document.place);
        last = Some(document.place);
    }
    assert!(reader.consumed_bytes() <= list.total_bytes());
}
