//! How fast the `tokenizers` library alone encodes the texts of a JSON lines file: the yardstick
//! for `prepare` in benches/prepare.py.
//!
//! ```sh
//! cargo run --release -p mixdown-benches --example bare_encoder -- TOKENIZER.json TEXTS.jsonl THREADS
//! ```
//! Reading and decoding JSON are not in the timing; texts go to the threads 64 at a time.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use mixdown_documents::{DocumentReader, InputList, ReadOptions};
use tokenizers::pipeline::{EncodeOptions, Override};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, input, threads] = arguments.as_slice() else {
        return Err("usage: bare_encoder TOKENIZER.json TEXTS.jsonl THREADS".into());
    };
    let threads: usize = threads.parse()?;
    let json = tokenizers::canonicalize_str(&std::fs::read_to_string(tokenizer)?)?;
    let pipeline = tokenizers::from_json(&json).map_err(|error| error.to_string())?;
    let list = InputList::discover(&[input.into()])?;
    let read = ReadOptions::default();
    let documents = DocumentReader::new(&list, &read);
    let texts: Vec<String> =
        documents.map(|document| Ok(document?.text)).collect::<Result<_, Box<dyn Error>>>()?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let options = EncodeOptions {
        add_special_tokens: false,
        encode_special_tokens: true,
        padding: Override::Off,
        truncation: Override::Off,
    };
    let (next, tokens) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let batches: Vec<&[String]> = texts.chunks(64).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut ids = Vec::new();
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for text in *batch {
                        ids.clear();
                        let encoded = pipeline.encode_into(text, &options, &mut ids);
                        tokens.fetch_add(encoded.map_or(0, |()| ids.len()), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    println!("{bytes} bytes {} tokens {seconds:.3} s", tokens.into_inner());
    Ok(())
}
