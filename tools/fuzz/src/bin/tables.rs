//! Tables of runs of any content. The first byte says what is fuzzed: a CSV, JSON lines, a Parquet
//! file, or a sound Parquet file with some of its bytes changed.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mixdown_fuzz::panics;
use mixdown_runs::RunsTable;

/// Two runs, as `mixdown` writes them.
const SOUND: &str = include_str!("../../seeds/tables/runs.jsonl");

thread_local! {
    static PARQUET: Vec<u8> = {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let [lines, parquet] = ["sound.jsonl", "sound.parquet"].map(|name| folder.path().join(name));
        fs::write(&lines, SOUND).expect("room for a file");
        let table = RunsTable::read(&lines).expect("a sound table");
        table.write(&parquet).expect("room for a file");
        fs::read(&parquet).expect("the file")
    };
}

fuzz_target!(init: panics::keep_those_of_libraries(), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join(["runs.csv", "runs.jsonl"].get(usize::from(kind % 4)).unwrap_or(&"runs.parquet"));
    let bytes = if kind % 4 == 3 { PARQUET.with(|sound| changed(sound, data)) } else { data.to_vec() };
    fs::write(&path, bytes).expect("room for a file");
    panics::none_comes_out(|| {
        if let Ok(table) = RunsTable::read(&path) {
            check(&table, folder.path());
        }
    });
});

/// The bytes with a new value at each place, three bytes of `changes` each: two for the place from the
/// end, where a Parquet file says what it holds, and one for the value.
fn changed(bytes: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes.chunks_exact(3) {
        let back = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        let place = bytes.len() - 1 - back;
        bytes[place] = change[2];
    }
    bytes
}

/// A table that opens comes back the same from every format.
fn check(table: &RunsTable, folder: &Path) {
    for name in ["again.csv", "again.jsonl", "again.parquet"] {
        let path = folder.join(name);
        table.write(&path).expect("a table that can be written");
        let again = RunsTable::read(&path).expect("a table that was written");
        assert_eq!(again, *table, "{name}");
    }
}
