//! Tokens a second of whole batches, planned and filled on one thread, from a warm map.
//!
//!     cargo run --release -p mixdown-mixer --example fill_speed -- MIX.toml u32|i64 SECONDS
//!
//! Prints tokens (T a row) a second. Opening, and reading every corpus once so that its map is warm, are
//! outside.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use mixdown_mixer::{Mixer, Mixture, MixtureConfig, Rank};
use mixdown_shards::{Corpus, Split, TokenInt};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, width, seconds] = arguments.as_slice() else {
        return Err("usage: fill_speed MIX.toml u32|i64 SECONDS".into());
    };
    let config: MixtureConfig = toml::from_str(&std::fs::read_to_string(path)?)?;
    let base = Path::new(path).parent().unwrap_or(Path::new(""));
    let mixer = Mixer::new(Mixture::open(&config, base)?)?;
    let limit = Duration::from_secs_f64(seconds.parse()?);
    for source in mixer.mixture().sources() {
        warm(&source.corpus)?;
    }
    let rate = match width.as_str() {
        "u32" => speed::<u32>(&mixer, limit)?,
        "i64" => speed::<i64>(&mixer, limit)?,
        other => return Err(format!("expected u32 or i64, got {other}").into()),
    };
    println!("{rate:.0}");
    Ok(())
}

fn warm(corpus: &Corpus) -> Result<(), Box<dyn Error>> {
    let tokens = corpus.tokens(Split::Train);
    let mut part = vec![0_u32; 1 << 16];
    for start in (0..tokens).step_by(part.len()) {
        let len = part.len().min(usize::try_from(tokens - start)?);
        corpus.read_tokens(Split::Train, start, &mut part[..len])?;
    }
    Ok(())
}

fn speed<T: TokenInt>(mixer: &Mixer, limit: Duration) -> Result<f64, Box<dyn Error>> {
    let rows = usize::try_from(mixer.batch_size())?;
    let mut out = vec![T::default(); rows * usize::try_from(mixer.sequence_length() + 1)?];
    let (mut planner, mut plan) = (mixer.planner(), Vec::new());
    let mut batch = |step| -> Result<(), Box<dyn Error>> {
        planner.fill(mixer.slots(step, Rank::single())?, &mut plan, &mut out)?;
        std::hint::black_box(&mut out);
        Ok(())
    };
    (0..64).try_for_each(&mut batch)?;
    let (start, mut step) = (Instant::now(), 64);
    while start.elapsed() < limit {
        (step..step + 8).try_for_each(&mut batch)?;
        step += 8;
    }
    let tokens = (step - 64) * mixer.batch_size() * mixer.sequence_length();
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}
