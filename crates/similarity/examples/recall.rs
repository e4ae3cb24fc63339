//! Compares the clusters of near-duplicates in a file with the exact similarities of all pairs of its texts.
//!
//! `cargo run --release -p mixdown-similarity --example recall TEXTS.jsonl [THRESHOLD]`
//!
//! Every text is compared with every earlier one that shares a shingle with it: nothing is sampled. Memory: some 50
//! bytes per word. A pair that is in two clusters was missed; only one with both texts kept stays a near-duplicate,
//! since the others were found by a third text. A text that is left out without a similar one was joined wrongly. The
//! words of scripts without spaces are not taken apart here.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fs;

use mixdown_similarity::{Clusters, Shingles, Sketch, SketchStore, Sketcher};

const BIN: f64 = 0.05;

struct Texts {
    texts: Vec<String>,
    sketches: Vec<Sketch>,
    threshold: f64,
}

impl SketchStore for Texts {
    type Error = Infallible;

    fn len(&self) -> u32 {
        u32::try_from(self.sketches.len()).unwrap_or(u32::MAX)
    }

    fn read(&self, first: u32, count: u32, sketches: &mut Vec<Sketch>) -> Result<(), Infallible> {
        sketches.clear();
        sketches.extend(self.sketches.iter().skip(first as usize).take(count as usize));
        Ok(())
    }

    fn shingles(&self, number: u32) -> Result<Shingles, Infallible> {
        Ok(Shingles::of(&self.texts[number as usize]))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of JSON lines is missing")?;
    let threshold: f64 = arguments.next().map_or(Ok(0.5), |threshold| threshold.parse())?;
    let (mut texts, mut sketches, mut sketcher) = (Vec::new(), Vec::new(), Sketcher::default());
    for line in fs::read_to_string(&path)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let text = line["text"].as_str().unwrap_or_default().to_owned();
        let number = texts.len() as u64;
        sketches.push(sketcher.sketch(&text).unwrap_or_else(|| Sketch::of_hash(number)));
        texts.push(text);
    }
    let texts = Texts { texts, sketches, threshold };
    let Ok(clusters) = Clusters::find(&texts, threshold, 2, 128 << 20);
    let pairs = similar_pairs(&texts.texts, threshold - 2.0 * BIN);
    print(&path, &texts, &clusters, &pairs);
    Ok(())
}

/// Returns all pairs with a similarity of at least `least`, counted through an index of all shingles.
fn similar_pairs(texts: &[String], least: f64) -> Vec<(u32, u32, f64)> {
    let mut index: HashMap<u64, Vec<u32>> = HashMap::new();
    let (mut lens, mut shared, mut pairs) = (Vec::new(), vec![0_u32; texts.len()], Vec::new());
    for (number, text) in (0_u32..).zip(texts) {
        let (words, mut seen) = (words(text), Vec::new());
        for &shingle in &words {
            let others = index.entry(shingle).or_default();
            for &other in &*others {
                if shared[other as usize] == 0 {
                    seen.push(other);
                }
                shared[other as usize] += 1;
            }
            others.push(number);
        }
        for other in seen {
            let both = std::mem::take(&mut shared[other as usize]) as usize;
            let either: usize = words.len() + lens[other as usize] - both;
            let similarity = both as f64 / either as f64;
            if similarity >= least {
                pairs.push((other, number, similarity));
            }
        }
        lens.push(words.len());
    }
    pairs
}

/// Returns hashes of the different runs of five words, made in another way than the crate makes them.
fn words(text: &str) -> Vec<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let text: String = text.chars().flat_map(char::to_lowercase).collect();
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let len = words.len().clamp(1, 5);
    let hash = |run: &[&str]| {
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        hasher.finish()
    };
    let mut hashes: Vec<u64> = words.windows(len).map(hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn print(path: &str, texts: &Texts, clusters: &Clusters, pairs: &[(u32, u32, f64)]) {
    let is_kept = |number: u32| clusters.first(number) == number;
    let left_out: Vec<u32> = (0..texts.len()).filter(|&number| !is_kept(number)).collect();
    let mut largest = vec![0.0_f64; texts.texts.len()];
    for &(one, other, similarity) in pairs {
        for number in [one, other] {
            largest[number as usize] = largest[number as usize].max(similarity);
        }
    }
    let wrong = left_out.iter().filter(|&&number| largest[number as usize] < texts.threshold);
    println!("{path}, threshold {}: {} texts", texts.threshold, texts.len());
    println!("  {} left out, of which {} have no similar text", left_out.len(), wrong.count());
    let mut least = texts.threshold - 2.0 * BIN;
    while least < 1.0 {
        let end = if least + BIN > 0.999 { 1.1 } else { least + BIN };
        let within = pairs.iter().filter(|pair| (least..end).contains(&pair.2));
        let (mut count, mut apart, mut kept) = (0, 0, 0);
        for &(one, other, _) in within {
            count += 1;
            apart += u32::from(clusters.first(one) != clusters.first(other));
            kept += u32::from(is_kept(one) && is_kept(other));
        }
        println!("  J from {least:.2}: {count:6} pairs, {apart} in two clusters, {kept} both kept");
        least = if end > 1.0 { 1.0 } else { end };
    }
}
