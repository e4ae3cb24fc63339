//! Reading documents: one core from bytes in the page cache to decoded texts.
//!
//! `records`: decoding a chunk's records alone, per byte of JSON lines: the UTF-8 check, the JSON check
//! of the whole line and the unescaped text. `read`: opening a file and decoding all of it. The texts are
//! prose-like ASCII with line feeds, and a mix with accents and CJK. Writing the files is outside the
//! timing.
//!
//! `cargo bench -p mixdown-benches --bench reading`

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mixdown_documents::{Chunk, ChunkReader, InputList, ReadOptions};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BYTES: usize = 32 << 20;

/// JSON lines of documents of some 2 KiB, as web corpora have them.
fn json_lines(words: &[&str]) -> String {
    let (mut lines, mut state, mut id) = (String::new(), 7_u64, 0);
    while lines.len() < BYTES {
        let mut text = String::new();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        let len = 500 + (state >> 33) % 3_000;
        while (text.len() as u64) < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let pick = usize::try_from(state >> 33).unwrap_or(0);
            text.push_str(words[pick % words.len()]);
            text.push_str(if pick % 13 == 0 { "\n" } else { " " });
        }
        let text = serde_json::Value::from(text);
        let _ = writeln!(
            lines,
            "{{\"id\":\"<urn:uuid:{id:032x}>\",\"text\":{text},\"meta\":{{\"url\":\"https://example.org/a/{id}\",\"score\":0.98{id},\"tags\":[\"a\",null]}}}}"
        );
        id += 1;
    }
    lines
}

fn chunks(path: &Path, options: &ReadOptions) -> Outcome<Vec<Chunk>> {
    let list = InputList::discover_with(&[path.to_owned()], options)?;
    let mut reader = ChunkReader::open(&list, 0, 0)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_before(u64::MAX)? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn text_bytes(chunks: &[Chunk], options: &ReadOptions) -> usize {
    let records = chunks.iter().flat_map(|chunk| chunk.records(options));
    records.filter_map(Result::ok).map(|document| document.text.len()).sum()
}

fn read(path: &Path, options: &ReadOptions) -> Outcome<usize> {
    let list = InputList::discover_with(&[path.to_owned()], options)?;
    let mut reader = ChunkReader::open(&list, 0, 0)?;
    let mut bytes = 0;
    while let Some(chunk) = reader.next_before(u64::MAX)? {
        bytes += text_bytes(std::slice::from_ref(&chunk), options);
    }
    Ok(bytes)
}

#[expect(clippy::panic, reason = "a bench has no other way to say that it could not run")]
fn bench(criterion: &mut Criterion) {
    let mut run = || -> Outcome<()> {
        let folder = std::env::temp_dir().join("mixdown-bench-reading");
        fs::create_dir_all(&folder)?;
        let options = ReadOptions::default();
        let ascii: &[&str] =
            &["the", "of", "and", "a", "language", "model", "\"quoted\"", "learns"];
        let mixed: &[&str] = &["naïve", "über", "数据", "the", "model", "приве́т", "of", "a"];
        for (name, words) in [("ascii", ascii), ("mixed", mixed)] {
            let lines = json_lines(words);
            let path: PathBuf = folder.join(format!("{name}.jsonl"));
            fs::write(&path, &lines)?;
            let chunks = chunks(&path, &options)?;
            let mut group = criterion.benchmark_group("records");
            group.throughput(Throughput::Bytes(lines.len() as u64)).sample_size(20);
            group.bench_function(name, |bench| {
                bench.iter(|| black_box(text_bytes(&chunks, &options)));
            });
            group.finish();
            let mut group = criterion.benchmark_group("read");
            group.throughput(Throughput::Bytes(lines.len() as u64)).sample_size(20);
            group.bench_function(name, |bench| {
                bench.iter(|| black_box(read(&path, &options).unwrap_or(0)));
            });
            group.finish();
            fs::remove_file(path)?;
        }
        Ok(())
    };
    if let Err(error) = run() {
        panic!("{error}");
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
