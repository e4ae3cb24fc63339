//! `mixdown mix`.

mod batches;
mod compare;
mod order;
mod plan;

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use mixdown_experiments::{base_folder, read_toml};
use mixdown_mixer::{Mixer, Mixture, MixtureConfig, RunLength};

use crate::commands::Context;
use crate::commands::corpora::verify::{
    VerifyCorporaArgs, check_corpora, warn_of_missing_sketches,
};
use crate::error::Error;

/// Arguments of `mix`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown mix mix.toml --steps 1000
  mixdown mix mix.toml --steps \"2 epochs of target\"
  mixdown mix mix.toml --order 0..10
  mixdown mix mix.toml --steps 1000 --compare before.toml
  mixdown mix mix.toml --emit arrow --rank 3 --world-size 8 | python train.py

mix.toml:
  sequence_length = 1024
  batch_size = 64
  seed = 7
  [[source]]
  name = \"target\"
  corpus = \"corpora/math\"
  weight = \"99%\"
  [[source]]
  name = \"pretraining\"
  corpus = \"corpora/general\"
  weight = \"1%\"
  [[stage]]                # optional: other weights from this step on
  start = \"2000 steps\"
  weights = { target = \"95%\", pretraining = \"5%\" }
  [[stage]]                # optional: weights that move in a straight line
  start = \"3000 steps\"
  to = { target = \"99%\", pretraining = \"1%\" }
  over = \"1000 steps\"

Batches as Arrow: one record batch per step and one row per sequence, with the columns tokens (T + 1 of them: inputs are
all but the last, targets all but the first), source, slot, with labels loss_mask, and state: the state from which
--resume continues after this step, as bytes or in hexadecimal digits. The schema's metadata has the number of steps of
the run (mixdown.steps, unless the run is endless). A stream that was stopped or failed cannot be read to its end.")]
pub struct MixArgs {
    /// Mixture description in TOML.
    mixture: PathBuf,
    /// Length of the planned run: steps (batches), or '1B tokens', '2 epochs of target', '64k sequences' [default:
    /// one epoch of the first source; with --emit endless].
    #[arg(long, value_name = "LENGTH")]
    steps: Option<RunLength>,
    /// Print the slots from A to B (not included) instead of the plan.
    #[arg(long, help_heading = "Instead of the plan", value_name = "A..B", conflicts_with_all = ["compare", "emit"])]
    order: Option<SlotRange>,
    /// Format of the order.
    #[arg(
        long,
        help_heading = "Instead of the plan",
        value_enum,
        default_value_t,
        requires = "order"
    )]
    format: OrderFormat,
    /// Report which samples of this run the run of another mixture already had.
    #[arg(
        long,
        help_heading = "Instead of the plan",
        value_name = "OTHER.toml",
        conflicts_with = "emit"
    )]
    compare: Option<PathBuf>,
    /// Length of the other run [default: that of this run]
    #[arg(long, help_heading = "Instead of the plan", value_name = "LENGTH", requires = "compare")]
    other_steps: Option<RunLength>,
    /// Write the batches to standard output instead of the plan.
    #[arg(long, value_name = "FORMAT", help_heading = "Batches", value_enum)]
    emit: Option<Emit>,
    #[command(flatten)]
    verify: VerifyCorporaArgs,
    #[command(flatten)]
    batches: batches::BatchArgs,
}

/// The format of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OrderFormat {
    /// One JSON object per slot.
    #[default]
    Json,
    /// One Arrow IPC stream.
    Arrow,
}

/// The format of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// One Arrow IPC stream.
    Arrow,
}

/// The slots `A..B`, without B.
#[derive(Debug, Clone)]
pub struct SlotRange(Range<u64>);

impl FromStr for SlotRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| part.replace('_', "").parse::<u64>().ok();
        let range = text.split_once("..").and_then(|(from, to)| Some(parse(from)?..parse(to)?));
        match range {
            Some(range) if range.start < range.end => Ok(Self(range)),
            _ => Err(format!("expected A..B with A < B, such as 0..10, got {text:?}")),
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A mixture that cannot be opened or read, a run that would exceed a source's `max_epochs`, a state of
/// another mixture.
pub fn run(arguments: MixArgs, context: Context) -> Result<(), Error> {
    let config: MixtureConfig = read_toml(&arguments.mixture)?;
    let base = base_folder(&arguments.mixture);
    let sources = || config.source.iter().map(|source| source.corpus.as_path());
    check_corpora(arguments.verify, sources(), base, context)?;
    warn_of_missing_sketches("mix", sources(), base);
    if arguments.emit == Some(Emit::Arrow) {
        return batches::write(
            &config,
            base,
            arguments.steps.as_ref(),
            &arguments.batches,
            context,
        );
    }
    let mixer = Mixer::new(Mixture::open(&config, base)?)?;
    if let Some(SlotRange(range)) = arguments.order {
        return order::print(&mixer, range, arguments.format, context);
    }
    let length = arguments.steps.unwrap_or(RunLength::Epochs { epochs: 1, source: None });
    let steps = mixer.steps(&length)?;
    let slots = slots_of(&mixer, steps)?;
    mixer.check_run(slots)?;
    match &arguments.compare {
        None => plan::print(&mixer, &length, steps, context),
        Some(path) => {
            let other_config: MixtureConfig = read_toml(path)?;
            let other = Mixer::new(Mixture::open(&other_config, base_folder(path))?)?;
            let other_steps =
                arguments.other_steps.as_ref().map_or(Ok(steps), |length| other.steps(length))?;
            let other_slots = slots_of(&other, other_steps)?;
            compare::print(&mixer, slots, &other, other_slots, context)
        }
    }
}

fn slots_of(mixer: &Mixer, steps: u64) -> Result<u64, Error> {
    steps.checked_mul(mixer.batch_size()).ok_or_else(|| {
        Error::usage(format!("{steps} steps are more than 2^64 sequences"), "ask for fewer --steps")
    })
}
