//! `mixdown mix`.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use clap::Args;
use mixdown_mixer::{Mixer, Mixture, MixtureConfig, Slot, SourceShare};
use serde::Serialize;

use crate::commands::Context;
use crate::configuration::{base_folder, read_toml};
use crate::error::Error;
use crate::output::{Lines, percent, table, thousands};

/// Arguments of `mix`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown mix mix.toml --steps 1000
  mixdown mix mix.toml --order 0..10

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
  weight = \"1%\"")]
pub struct MixArgs {
    /// The mixture, in TOML.
    mixture: PathBuf,
    /// Steps (batches) of the run that is planned. [default: one epoch of the first source]
    #[arg(long)]
    steps: Option<u64>,
    /// Print these slots of the order as JSON lines instead of the plan.
    #[arg(long, value_name = "A..B")]
    order: Option<SlotRange>,
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

#[derive(Serialize)]
struct Plan {
    steps: u64,
    slots: u64,
    tokens: u64,
    fingerprint: String,
    sources: Vec<SourceShare>,
}

#[derive(Serialize)]
struct OrderLine<'a> {
    slot: u64,
    source: &'a str,
    sequence: u64,
    epoch: u64,
    start_token: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// A mixture that cannot be opened, or a run that would exceed a source's `max_epochs`.
pub fn run(arguments: MixArgs, context: Context) -> Result<(), Error> {
    let config: MixtureConfig = read_toml(&arguments.mixture)?;
    let mixer = Mixer::new(Mixture::open(&config, base_folder(&arguments.mixture))?)?;
    if let Some(SlotRange(range)) = arguments.order {
        return print_order(&mixer, range, context);
    }
    let steps = arguments.steps.map_or_else(|| one_epoch(&mixer), Ok)?;
    let slots = steps.checked_mul(mixer.batch_size()).ok_or_else(|| {
        Error::usage(format!("{steps} steps are more than 2^64 sequences"), "ask for fewer --steps")
    })?;
    mixer.check_run(slots)?;
    let plan = Plan {
        steps,
        slots,
        tokens: slots.saturating_mul(mixer.sequence_length()),
        fingerprint: mixer.state(0).order().to_string(),
        sources: mixer.shares(slots),
    };
    context.output.print(&plan, describe)
}

/// Steps until every sequence of the first source was drawn once.
fn one_epoch(mixer: &Mixer) -> Result<u64, Error> {
    let sequences = mixer.mixture().sequences(0).unwrap_or(1);
    Ok(mixer.slot_of(0, sequences.saturating_sub(1))? / mixer.batch_size() + 1)
}

fn print_order(mixer: &Mixer, range: Range<u64>, context: Context) -> Result<(), Error> {
    let sources = mixer.mixture().sources();
    let mut planner = mixer.planner();
    let mut lines = Lines::new();
    for slot in range {
        if context.stop.load(Ordering::Relaxed) {
            break;
        }
        let Slot { slot, source, sequence, epoch, start_token, .. } = planner.slot(slot)?;
        let source = usize::try_from(source).ok().and_then(|index| sources.get(index));
        let source = source.map_or("", |source| source.name.as_str());
        if lines.write(&OrderLine { slot, source, sequence, epoch, start_token })?.is_break() {
            return Ok(());
        }
    }
    lines.finish()
}

fn describe(plan: &Plan) -> String {
    let rows: Vec<Vec<String>> = plan.sources.iter().map(share_row).collect();
    let header = [
        "source",
        "requested",
        "realised",
        "sequences",
        "tokens",
        "unique tokens",
        "epochs",
        "largest deviation",
    ];
    format!(
        "{} steps, {} sequences, {} tokens\n{}\nlargest deviation: |count − n·w| over all prefixes, in sequences\n\
         mixture {}",
        thousands(plan.steps),
        thousands(plan.slots),
        thousands(plan.tokens),
        table(&header, &rows),
        plan.fingerprint
    )
}

fn share_row(share: &SourceShare) -> Vec<String> {
    vec![
        share.name.clone(),
        percent(share.requested),
        percent(share.realised),
        thousands(share.sequences),
        thousands(share.tokens),
        thousands(share.unique_tokens),
        format!("{:.3}", share.epochs),
        format!("{:.3}", share.largest_deviation),
    ]
}
