//! How fast a corpus is verified from a warm cache.
//!
//! In the timing: opening, reading every byte of every file with pread, BLAKE3 of every block, every
//! id against the vocabulary, every index entry. Not in it: writing the corpus, the first reading.
//!
//! ```text
//! cargo run --release -p mixdown-benches --example verify_speed -- FOLDER [MEGABYTES]
//! ```
//!
//! Writes a corpus of so many megabytes (2,000 by default) into FOLDER, unless there is one, verifies
//! it six times and prints the rate of each run; the first one warms the cache.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench for people")]

use std::{env, fs, path::Path, time::Instant};

use mixdown_base::observer::Observer;
use mixdown_shards::{Dtype, Fingerprint, Manifest, ShardWriter, Split, SplitRecord, verify};

const VOCAB_SIZE: u64 = 50_257;

fn main() {
    let Some(folder) = env::args_os().nth(1) else {
        println!("usage: verify_speed FOLDER [MEGABYTES]");
        return;
    };
    let megabytes: u64 = env::args().nth(2).map_or(2_000, |number| number.parse().unwrap());
    let folder = Path::new(&folder);
    if !folder.exists() {
        write(folder, megabytes);
    }
    for run in 0..6 {
        let start = Instant::now();
        let report = verify(folder, Observer::silent()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = report.bytes as f64 / seconds / 1e9;
        println!(
            "run {run}: {} bytes, {seconds:.3} s, {rate:.2} GB/s, damage {}",
            report.bytes,
            report.damage.len()
        );
    }
}

/// Documents of 1,000 ids that look random, 250 MB a shard.
fn write(folder: &Path, megabytes: u64) {
    fs::create_dir(folder).unwrap();
    let mut state = 1_u64;
    let mut shards = Vec::new();
    for shard in 0..megabytes.div_ceil(250) {
        let name = format!("shard-{shard:05}");
        let train = folder.join(Split::Train.folder());
        let mut writer = ShardWriter::create(&train, &name, Dtype::U16, VOCAB_SIZE).unwrap();
        let mut ids = vec![0; 1000];
        for document in 0..500 * megabytes.min(250) {
            for id in &mut ids {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *id = u32::try_from((state >> 33) % VOCAB_SIZE).unwrap();
            }
            writer.push(&ids, 4000, document, None).unwrap();
        }
        shards.push(writer.finish().unwrap());
    }
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let (train, holdout) = (SplitRecord::new(shards), SplitRecord::new(Vec::new()));
    let tokenizer_fingerprint = Fingerprint::of(b"tokenizer");
    let manifest = Manifest::new(Dtype::U16, VOCAB_SIZE, tokenizer_fingerprint, train, holdout);
    manifest.write(folder).unwrap();
}
