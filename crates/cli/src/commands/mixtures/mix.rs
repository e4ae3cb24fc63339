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
use crate::commands::corpora::verify::{VerifyCorporaArgs, check_corpora};
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
  [[stage]]                # optional: other weights from there on
  start = \"2000 steps\"
  weights = { target = \"95%\", pretraining = \"5%\" }
  [[stage]]                # optional: weights that move in a straight line
  start = \"3000 steps\"
  to = { target = \"99%\", pretraining = \"1%\" }
  over = \"1000 steps\"

Batches as Arrow: one record batch a step, a row a sequence: tokens (T + 1 of them: inputs are all but
the last, targets all but the first), source, slot, where there are labels loss_mask, and state: what
--resume goes on from after this step, as it is or in hexadecimal digits. The schema's metadata say how many
steps the run has (mixdown.steps, where it has an end); a stream that was stopped or failed cannot be read to an
end.")]
pub struct MixArgs {
    /// The mixture, in TOML.
    mixture: PathBuf,
    /// Length of the run that is planned: steps (batches), or '1B tokens', '2 epochs of target', '64k sequences'
    /// [default: one epoch of the first source; of batches, endless].
    #[arg(long, value_name = "LENGTH")]
    steps: Option<RunLength>,
    /// Print these slots of the order instead of the plan.
    #[arg(long, help_heading = "Instead of the plan", value_name = "A..B", conflicts_with_all = ["compare", "emit"])]
    order: Option<SlotRange>,
    /// The form of the order: JSON lines, or one Arrow IPC stream.
    #[arg(
        long,
        help_heading = "Instead of the plan",
        value_enum,
        default_value_t,
        requires = "order"
    )]
    format: OrderFormat,
    /// Say which samples of this run were in that one already.
    #[arg(
        long,
        help_heading = "Instead of the plan",
        value_name = "OTHER.toml",
        conflicts_with = "emit"
    )]
    compare: Option<PathBuf>,
    /// How long the other run was. [default: as long as this one]
    #[arg(long, help_heading = "Instead of the plan", value_name = "LENGTH", requires = "compare")]
    other_steps: Option<RunLength>,
    /// Write the batches themselves to standard output, as one Arrow IPC stream.
    #[arg(long, help_heading = "Batches", value_enum)]
    emit: Option<Emit>,
    #[command(flatten)]
    verify: VerifyCorporaArgs,
    #[command(flatten)]
    batches: batches::BatchArgs,
}

/// The form of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OrderFormat {
    /// A JSON object a slot.
    #[default]
    Json,
    /// Arrow IPC.
    Arrow,
}

/// The form of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// Arrow IPC.
    Arrow,
}

/// Slots `A..B`, B left out.
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
    let sources = config.source.iter().map(|source| source.corpus.as_path());
    check_corpora(arguments.verify, sources, base, context)?;
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
