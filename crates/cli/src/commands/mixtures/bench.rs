//! `mixdown bench`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use mixdown_experiments::{base_folder, read_toml};
use mixdown_mixer::{Batch, Loader, LoaderConfig, Mixer, Mixture, MixtureConfig, Rank};
use mixdown_shards::{Split, gather_limit};
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::files::drop_from_page_cache;
use crate::terminal::output::{percent, table, thousands};
use crate::terminal::progress;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown bench mix.toml
  mixdown bench mix.toml --threads 1 --seconds 5
  mixdown bench mix.toml --cold

The limit is a plain copy of random windows out of the largest token file with one thread, measured in the same run;
there is none if files are read instead of mapped, or if no file is longer than a sequence.
Warm: batches over up to 512 MiB of tokens that were read once before. Cold: the system first drops the token files from
its page cache, which slows down other programs that read them.")]
pub struct BenchArgs {
    /// Mixture description in TOML.
    mixture: PathBuf,
    /// Threads of the loader [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Also measure data that is not in memory.
    #[arg(long)]
    cold: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err(format!("expected seconds above 0, at most 3600, got {text:?}")),
    }
}

#[derive(Serialize)]
struct Report {
    sequence_length: u64,
    batch_size: u64,
    threads: u32,
    /// None if no shard is both mapped and longer than a sequence.
    gather_limit_tokens_per_second: Option<f64>,
    fill: Speed,
    loader: Speed,
    cold: Option<Cold>,
}

#[derive(Serialize)]
struct Speed {
    tokens_per_second: f64,
    share_of_limit: Option<f64>,
    batch_seconds_p50: f64,
    batch_seconds_p99: f64,
}

#[derive(Serialize)]
struct Cold {
    loader: Speed,
    memory_map: Speed,
}

/// The most bytes of tokens that the warm batches are drawn from.
const WARM_BYTES: u64 = 512 << 20;

/// Runs the subcommand.
///
/// # Errors
/// A mixture that cannot be opened or read.
pub fn run(arguments: BenchArgs, context: Context) -> Result<(), Error> {
    let config: MixtureConfig = read_toml(&arguments.mixture)?;
    let base = base_folder(&arguments.mixture);
    let time = Duration::from_secs_f64(arguments.seconds);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = arguments.threads.unwrap_or_else(|| u32::try_from(cores()).unwrap_or(1));
    let mut bench = Bench { config: &config, base, time, threads, limit: None, context };
    let mixer = Arc::new(Mixer::new(Mixture::open(&config, base)?)?);
    let largest = mixer.mixture().sources().iter().max_by_key(|s| s.corpus.tokens(Split::Train));
    if let Some(source) = largest {
        let limit = gather_limit(&source.corpus, Split::Train, config.sequence_length, time);
        bench.limit = match limit {
            // There is no such limit for short shards, or for files that are read instead of mapped.
            Err(mixdown_shards::Error::OutOfRange { .. }) => None,
            limit => Some(limit?),
        };
    }
    let steps = bench.warm(&mixer)?;
    let fill = bench.fill(&mixer, &steps)?;
    let loader = bench.loader(&mixer, &steps)?;
    drop(mixer);
    let cold = arguments.cold.then(|| bench.cold()).transpose()?;
    let report = Report {
        sequence_length: config.sequence_length,
        batch_size: config.batch_size,
        threads,
        gather_limit_tokens_per_second: bench.limit,
        fill,
        loader,
        cold,
    };
    context.output.print(&report, describe)
}

struct Bench<'a> {
    config: &'a MixtureConfig,
    base: &'a Path,
    time: Duration,
    threads: u32,
    /// Tokens per second, if there is a limit.
    limit: Option<f64>,
    context: Context,
}

impl Bench<'_> {
    /// Reads the batches that are measured later once, and returns their steps.
    fn warm(&self, mixer: &Mixer) -> Result<Range<u64>, Error> {
        let batch_bytes = self.batch_tokens().saturating_mul(2).max(1);
        let data_bytes: u64 =
            mixer.mixture().sources().iter().map(|s| 2 * s.corpus.tokens(Split::Train)).sum();
        let steps = 0..(WARM_BYTES.min(data_bytes) / batch_bytes).max(16);
        progress::say(&format!("reading {} batches once", thousands(steps.end)));
        let mut batch = Batch::<u32>::default();
        for step in steps.clone() {
            self.check_stop()?;
            mixer.batch(step, Rank::single(), &mut batch)?;
        }
        Ok(steps)
    }

    /// Batches one after another on this thread.
    fn fill(&self, mixer: &Mixer, steps: &Range<u64>) -> Result<Speed, Error> {
        let (mut planner, mut plan) = (mixer.planner(), Vec::new());
        let mut batch = Batch::<u32>::default();
        self.speed(steps.clone().cycle(), |step| {
            let slots = mixer.slots(step, Rank::single())?;
            planner.fill_batch(slots, &mut plan, &mut batch)?;
            Ok(())
        })
    }

    fn loader(&self, mixer: &Arc<Mixer>, steps: &Range<u64>) -> Result<Speed, Error> {
        let new = || {
            let config = LoaderConfig { threads: self.threads, ..LoaderConfig::from_step(0) };
            let config = LoaderConfig { steps: steps.clone(), ..config };
            Loader::<u32>::new(Arc::clone(mixer), config)
        };
        let mut loader = new()?;
        self.speed(0.., |_| {
            match loader.next() {
                Some(batch) => drop(batch?),
                None => loader = new()?,
            }
            Ok(())
        })
    }

    /// Measures the loader, which reads ahead, beside a plain memory map. Both begin at the first step with an empty
    /// page cache and run over 1/32 of the data, because later steps find pages that earlier ones have read.
    fn cold(&self) -> Result<Cold, Error> {
        let mixer = Arc::new(self.forgotten()?);
        let sources = mixer.mixture().sources().iter();
        let tokens: u64 = sources.map(|source| source.corpus.tokens(Split::Train)).sum();
        let steps = 0..(tokens / 32 / self.batch_tokens().max(1)).max(1);
        let config = LoaderConfig { threads: self.threads, ..LoaderConfig::from_step(0) };
        let mut loader =
            Loader::<u32>::new(mixer, LoaderConfig { steps: steps.clone(), ..config })?;
        let ahead = self.speed(steps.clone(), |_| {
            loader.next().transpose()?;
            Ok(())
        })?;
        drop(loader);
        let mixer = self.forgotten()?;
        let (mut planner, mut plan) = (mixer.planner(), Vec::new());
        let mut batch = Batch::<u32>::default();
        let memory_map = self.speed(steps, |step| {
            let slots = mixer.slots(step, Rank::single())?;
            Ok(planner.fill_batch(slots, &mut plan, &mut batch)?)
        })?;
        Ok(Cold { loader: ahead, memory_map })
    }

    /// Opens the mixture after dropping its token files from the page cache.
    fn forgotten(&self) -> Result<Mixer, Error> {
        let mixture = Mixture::open_lazily(self.config, self.base)?;
        for source in mixture.sources() {
            for path in source.corpus.token_paths(Split::Train) {
                drop_from_page_cache(&path)?;
            }
        }
        Ok(Mixer::new(mixture)?)
    }

    /// Times batches until the time is over.
    fn speed(
        &self,
        mut steps: impl Iterator<Item = u64>,
        mut batch: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<Speed, Error> {
        let (begin, mut times) = (Instant::now(), Vec::new());
        let mut last = begin;
        while last - begin < self.time {
            self.check_stop()?;
            let Some(step) = steps.next() else { break };
            batch(step)?;
            let now = Instant::now();
            times.push((now - last).as_secs_f64());
            last = now;
        }
        let count = times.len();
        times.sort_by(f64::total_cmp);
        let quantile = |percent: usize| times.get(count * percent / 100).copied().unwrap_or(0.0);
        let tokens = count as f64 * self.batch_tokens() as f64;
        let tokens_per_second = tokens / (last - begin).as_secs_f64().max(1e-9);
        Ok(Speed {
            tokens_per_second,
            share_of_limit: self.limit.map(|limit| tokens_per_second / limit),
            batch_seconds_p50: quantile(50),
            batch_seconds_p99: quantile(99),
        })
    }

    fn batch_tokens(&self) -> u64 {
        self.config.batch_size.saturating_mul(self.config.sequence_length)
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.context.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { message: "the measurement was stopped".to_owned() });
        }
        Ok(())
    }
}

fn describe(report: &Report) -> String {
    let millions = |rate: f64| format!("{:.1}", rate / 1e6);
    let none = || "–".to_owned();
    let row = |name: String, speed: &Speed| {
        vec![
            name,
            millions(speed.tokens_per_second),
            speed.share_of_limit.map_or_else(none, percent),
            format!("{:.1}", speed.batch_seconds_p50 * 1e6),
            format!("{:.1}", speed.batch_seconds_p99 * 1e6),
        ]
    };
    let threads = |threads: u32| match threads {
        1 => "1 thread".to_owned(),
        more => format!("{more} threads"),
    };
    let mut rows = vec![
        vec![
            "gather limit, 1 thread".to_owned(),
            report.gather_limit_tokens_per_second.map_or_else(none, millions),
            report.gather_limit_tokens_per_second.map_or_else(none, |_| "100 %".to_owned()),
            String::new(),
            String::new(),
        ],
        row("batches, 1 thread".to_owned(), &report.fill),
        row(format!("loader, {}", threads(report.threads)), &report.loader),
    ];
    if let Some(cold) = &report.cold {
        rows.push(row(format!("cold: loader, {}", threads(report.threads)), &cold.loader));
        rows.push(row("cold: memory map, 1 thread".to_owned(), &cold.memory_map));
    }
    let header = ["", "10⁶ tokens/s", "of the limit", "batch p50 µs", "p99 µs"];
    format!(
        "T = {}, batches of {} sequences, 32-bit ids\n{}",
        thousands(report.sequence_length),
        thousands(report.batch_size),
        table(&header, &rows)
    )
}
