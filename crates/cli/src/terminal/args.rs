//! The command line's structure; the arguments of each subcommand are in the subcommand's file, those that
//! several subcommands share for the device are here.

use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use mixdown_mixer::SCHEDULE_VERSION;
use mixdown_shards::Manifest;
use mixdown_train::{DeviceChoice, PassOptions, Precision};
use serde::de::DeserializeOwned;

use crate::commands::corpora::{export, import, inspect, prepare, tokenizer, verify};
use crate::commands::laws::{design, fit, report};
use crate::commands::mixtures::{bench, mix};
use crate::commands::shell;
use crate::commands::training::{demo, eval, generate, sweep, train, watch};
use crate::terminal::progress::Verbosity;

/// The heading of the flags that every command has.
const OUTPUT: &str = "Output";

/// Finetune a language model without forgetting: prepare corpora, mix them in an exact ratio, train,
/// measure.
#[derive(Debug, Parser)]
#[command(
    name = "mixdown",
    version,
    long_version = LONG_VERSION.as_str(),
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    /// Print the result, or the error, as one JSON object on standard output.
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,
    /// Hide progress; errors and warnings are still shown.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    quiet: bool,
    /// Show progress ten times as often, and complete lists of names.
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How much to print on standard error.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Usual,
        }
    }
}

/// The text of `--version`: also which data this build reads, and what it trains on.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (program, format) = (env!("CARGO_PKG_VERSION"), Manifest::ADOPTED_VERSION);
    format!(
        "{program}\ncorpus format: up to {format}\nschedule version: {SCHEDULE_VERSION}\ntrains on: cpu"
    )
});

const EXAMPLES: &str = "\
Examples:
  mixdown demo
  mixdown tokenizer train text/ --vocab-size 8192 --out tokenizer.json
  mixdown prepare general/ --tokenizer tokenizer.json --out corpora/general --holdout 1%
  mixdown train --init base/best --target corpora/math --pretraining corpora/general --inject 1% --out runs/math

Exit codes: 0 done, 2 usage or configuration, 3 bad or damaged data, 4 numerical failure,
130 interrupted (the same command continues), 1 anything else.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole method on text from this machine: corpora, training, losses, one page.
    Demo(demo::DemoArgs),
    /// Train a tokenizer.
    #[command(subcommand)]
    Tokenizer(tokenizer::TokenizerCommand),
    /// Tokenize documents into a corpus on disk.
    Prepare(Box<prepare::PrepareArgs>),
    /// Adopt another program's token files as a corpus, in place.
    Import(import::ImportArgs),
    /// Write a corpus as another program's token files.
    Export(export::ExportArgs),
    /// Show what a corpus contains.
    Inspect(inspect::InspectArgs),
    /// Check every byte of a corpus, a run, a model or a sweep against its checksums.
    Verify(verify::VerifyArgs),
    /// Show what a mixture will deliver, before any training.
    Mix(mix::MixArgs),
    /// Measure how fast a mixture delivers batches.
    Bench(bench::BenchArgs),
    /// Pretrain or finetune a model on a mixture.
    Train(train::TrainArgs),
    /// Measure a checkpoint's loss on held-out text.
    Eval(eval::EvalArgs),
    /// Generate text from a checkpoint.
    Generate(generate::GenerateArgs),
    /// Finetune over a grid of models, target tokens and shares: one table of runs.
    Sweep(sweep::SweepArgs),
    /// Predict how well a planned sweep would pin down p*.
    Design(Box<design::DesignArgs>),
    /// Fit scaling laws to a table of runs: how much pretraining data is enough.
    Fit(Box<fit::FitArgs>),
    /// Write one HTML page about runs, a sweep or a fit.
    Report(report::ReportArgs),
    /// Show runs or a sweep in the terminal while they train.
    Watch(watch::WatchArgs),
    /// Print the completion script of a shell.
    Completions(shell::CompletionsArgs),
    /// Write the manual pages.
    Man(shell::ManArgs),
}

/// Arguments for the device and the number format.
#[derive(Debug, Clone, Copy, Args)]
pub struct ComputeArgs {
    /// Device to compute on: cpu, cuda or cuda:N (docs/guide/gpu.md).
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help_heading = "Machine", value_parser = parsed::<DeviceChoice>)]
    pub device: DeviceChoice,
    /// Number format of matrix products: f32, or bf16 on a GPU.
    #[arg(long, value_name = "FORMAT", default_value = "f32", help_heading = "Machine", value_parser = parsed::<Precision>)]
    pub precision: Precision,
}

impl ComputeArgs {
    /// The options of a forward pass, for a model that is not trained.
    pub fn pass(self) -> PassOptions {
        let Self { device, precision } = self;
        PassOptions { device, precision, ..PassOptions::default() }
    }
}

/// Parses a value that is written as in run.toml.
fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = toml::Value::String(text.to_owned());
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
