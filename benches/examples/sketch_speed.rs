//! How fast texts are sketched, and clusters of many sketches found.
//!
//! `cargo run --release -p mixdown-benches --example sketch_speed TEXTS.jsonl [DOCUMENTS]`
//!
//! Sketching is timed on one thread, without the reading and parsing of the file. [`Clusters::find`] is timed with two
//! threads and 128 MB for hashes on this number of made-up sketches in memory (a million by default), first with a
//! third of near-duplicates, then with copies of one sketch, whose time must stay linear.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use mixdown_similarity::{Clusters, Shingles, Sketch, SketchStore, Sketcher};

const ROUNDS: usize = 7;
const THREADS: usize = 2;
const HASH_MEMORY: u64 = 128 << 20;

struct Sketches(Vec<Sketch>);

impl SketchStore for Sketches {
    type Error = Infallible;

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Infallible> {
        sketches.clear();
        sketches.extend(self.0.iter().skip(first as usize).take(count as usize));
        Ok(())
    }

    fn shingles(&self, _: u32) -> Result<Shingles, Infallible> {
        Ok(Shingles::of("the same text"))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of JSON lines is missing")?;
    let documents: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    sketching(&path)?;
    clusters("a third near-duplicates", &made_up(documents));
    clusters("copies of one", &Sketches(made_up(1).0.repeat(usize::try_from(documents)?)));
    Ok(())
}

fn sketching(path: &str) -> Result<(), Box<dyn Error>> {
    let mut texts = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        texts.push(line["text"].as_str().unwrap_or_default().to_owned());
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut sketcher = Sketcher::default();
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for text in &texts {
                black_box(sketcher.sketch(text));
            }
            begin.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let [best, median] = [seconds[0], seconds[ROUNDS / 2]].map(|one| bytes as f64 / 1e6 / one);
    println!("{path}: {} texts, {:.1} MB", texts.len(), bytes as f64 / 1e6);
    println!("  sketches: median {median:.0} MB/s, best {best:.0} MB/s of {ROUNDS} rounds");
    Ok(())
}

/// Makes sketches of which each third one is one of the latest thousand with about every fifth slot changed.
fn made_up(documents: u64) -> Sketches {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let mut sketches: Vec<Sketch> = Vec::new();
    for number in 0..documents {
        let back = usize::try_from(random() % 1000 + 1).unwrap_or(1);
        let copied = sketches.len().checked_sub(back).filter(|_| number % 3 == 0);
        let sketch = match copied {
            Some(copied) => {
                let mut bytes = *sketches[copied].as_bytes();
                for byte in bytes.iter_mut().filter(|_| random() % 5 == 0) {
                    *byte = byte.wrapping_add(1);
                }
                Sketch::from_bytes(bytes)
            }
            None => Sketch::of_hash(random() << 31 ^ random()),
        };
        sketches.push(sketch);
    }
    Sketches(sketches)
}

fn clusters(name: &str, sketches: &Sketches) {
    for threshold in [0.5, 0.75] {
        let begin = Instant::now();
        let Ok(clusters) = Clusters::find(sketches, threshold, THREADS, HASH_MEMORY);
        let seconds = begin.elapsed().as_secs_f64();
        let len = sketches.len();
        let repeated = (0..len).filter(|&number| clusters.first(number) != number).count();
        println!(
            "{len} sketches, {name}, threshold {threshold}: {seconds:.2} s, {repeated} repeat an earlier one"
        );
    }
}
