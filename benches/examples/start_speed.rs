//! How long a run takes to start and to seek, and what memory that needs, whatever the size of its data.
//!
//!     cargo run --release -p mixdown-benches --example start_speed -- FOLDER
//!
//! Writes corpora of nominally 10³ to 10¹² sequences of one token, as one shard and as 10,000, into an empty
//! folder: their token files are holes without a byte on the disk. Prints, as the median of 21 times, the
//! time to open a mixture of two of them lazily and to fill its first batch of 8 rows, and of a seek to a random
//! slot with a planner that knows no epoch; and by how much opening raised the process' memory.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mixdown_mixer::{Batch, Mixer, Mixture, MixtureConfig, Rank};
use mixdown_shards::{Dtype, Fingerprint, Manifest, ShardRecord, Split, SplitRecord};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Tokens of a document, at most.
const LONGEST_DOCUMENT: u64 = 1 << 30;

fn main() -> Outcome<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: start_speed FOLDER")?);
    println!(
        "{:>14} {:>7} {:>12} {:>10} {:>10} {:>12}",
        "sequences", "shards", "start µs", "seek ns", "RSS KiB", "shards touched"
    );
    for shards in [1, 10_000] {
        for sequences in [1_000_u64, 1_000_000, 1_000_000_000, 1_000_000_000_000] {
            let names = ["target", "pretraining"];
            for name in names {
                write_corpus(&folder.join(name), sequences.max(shards), shards)?;
            }
            measure(&folder, &names, sequences.max(shards), shards)?;
            for name in names {
                fs::remove_dir_all(folder.join(name))?;
            }
        }
    }
    Ok(())
}

fn write_corpus(folder: &Path, sequences: u64, shards: u64) -> Outcome<()> {
    fs::create_dir_all(folder.join("train"))?;
    let mut records = Vec::new();
    for number in 0..shards {
        // The last shard has the one token more that S windows need.
        let tokens = sequences / shards + u64::from(number == shards - 1);
        let file = format!("shard-{number:05}");
        File::create(folder.join(format!("train/{file}.bin")))?.set_len(2 * tokens)?;
        let root = Fingerprint::of(&number.to_le_bytes());
        records.push(ShardRecord {
            file,
            documents: tokens.div_ceil(LONGEST_DOCUMENT),
            tokens,
            text_bytes: 4 * tokens,
            bin_bytes: 2 * tokens,
            bin_root: root,
            idx_root: root,
            sums_root: root,
            hashes_root: root,
            mask: None,
            adopted: None,
            ids: None,
            sketches: None,
        });
    }
    let (train, holdout) = (SplitRecord::new(records), SplitRecord::default());
    let tokenizer_fingerprint = Fingerprint::of(b"none");
    let manifest = Manifest::new(Dtype::U16, 50_257, tokenizer_fingerprint, train, holdout);
    Ok(manifest.write(folder)?)
}

fn measure(folder: &Path, names: &[&str], sequences: u64, shards: u64) -> Outcome<()> {
    let sources = names.iter().zip(["99%", "1%"]).map(|(name, weight)| {
        format!("[[source]]\nname = {name:?}\ncorpus = {name:?}\nweight = {weight:?}\n")
    });
    let text =
        format!("sequence_length = 1\nbatch_size = 8\nseed = 7\n{}", sources.collect::<String>());
    let config: MixtureConfig = toml::from_str(&text)?;
    let (mut starts, mut seeks, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut touched = 0;
    let mut place = 1_u64;
    for _ in 0..21 {
        let before = resident_kib()?;
        let start = Instant::now();
        let mixer = Mixer::new(Mixture::open_lazily(&config, folder)?)?;
        let mut batch = Batch::<u32>::default();
        mixer.batch(0, Rank::single(), &mut batch)?;
        starts.push(start.elapsed().as_nanos());
        memory.push(resident_kib()?.saturating_sub(before));
        let shard_tokens = sequences / shards;
        let mut planner = mixer.planner();
        let mut shards_read: Vec<(u32, u64)> = Vec::new();
        for slot in 0..8 {
            let slot = planner.slot(slot)?;
            shards_read.push((slot.source, slot.start_token / shard_tokens));
        }
        shards_read.sort_unstable();
        shards_read.dedup();
        touched = shards_read.len();
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = Instant::now();
        std::hint::black_box(mixer.slot(place >> 14)?);
        seeks.push(start.elapsed().as_nanos());
        assert!(
            mixer.mixture().sources().iter().all(|s| s.corpus.tokens(Split::Train) > sequences)
        );
    }
    for list in [&mut starts, &mut seeks] {
        list.sort_unstable();
    }
    memory.sort_unstable();
    let start = starts[10] as f64 / 1e3;
    println!(
        "{sequences:>14} {shards:>7} {start:>12.0} {:>10} {:>10} {touched:>12}",
        seeks[10], memory[20]
    );
    Ok(())
}

/// The process' resident memory.
fn resident_kib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?.parse()?)
}
