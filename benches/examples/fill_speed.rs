//! Tokens a second of whole batches from a warm map, planned and filled by this thread, or by some threads
//! of a loader of which this one takes the batches.
//!
//!     cargo run --release -p mixdown-benches --example fill_speed -- MIX.toml u32|i64 SECONDS [THREADS]
//!
//! Prints tokens (T a row) a second. Opening, and reading every corpus once so that its map is warm, are
//! outside.

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mixdown_mixer::{Loader, LoaderConfig, Mixer, Mixture, MixtureConfig, Rank};
use mixdown_shards::{Corpus, Split, TokenInt};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, width, seconds, threads @ ..] = arguments.as_slice() else {
        return Err("usage: fill_speed MIX.toml u32|i64 SECONDS [THREADS]".into());
    };
    let threads = threads.first().map(|threads| threads.parse()).transpose()?;
    let config: MixtureConfig = toml::from_str(&std::fs::read_to_string(path)?)?;
    let base = Path::new(path).parent().unwrap_or(Path::new(""));
    let mixer = Arc::new(Mixer::new(Mixture::open(&config, base)?)?);
    let limit = Duration::from_secs_f64(seconds.parse()?);
    for source in mixer.mixture().sources() {
        warm(&source.corpus)?;
    }
    let rate = match (width.as_str(), threads) {
        ("u32", None) => speed::<u32>(&mixer, limit)?,
        ("i64", None) => speed::<i64>(&mixer, limit)?,
        ("u32", Some(threads)) => loader_speed::<u32>(&mixer, limit, threads)?,
        ("i64", Some(threads)) => loader_speed::<i64>(&mixer, limit, threads)?,
        (other, _) => return Err(format!("expected u32 or i64, got {other}").into()),
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

fn loader_speed<T: TokenInt>(
    mixer: &Arc<Mixer>,
    limit: Duration,
    threads: u32,
) -> Result<f64, Box<dyn Error>> {
    let config = LoaderConfig { threads, ..LoaderConfig::from_step(0) };
    let mut loader = Loader::<T>::new(Arc::clone(mixer), config)?;
    for batch in loader.by_ref().take(64) {
        batch?;
    }
    let (start, mut steps) = (Instant::now(), 0);
    while start.elapsed() < limit {
        for batch in loader.by_ref().take(8) {
            std::hint::black_box(&batch?.tokens);
            steps += 1;
        }
    }
    let tokens = steps * mixer.batch_size() * mixer.sequence_length();
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}
