//! The plan of a run: what it would deliver.

use mixdown_base::display::{percent_requested, plural};
use mixdown_mixer::{Batch, Mixer, RunLength, SourceShare, StageShares, WindowOffset};
use mixdown_tokenize::Tokenizer;
use serde::Serialize;

use crate::commands::Context;
use crate::commands::mixtures::mix::slots_of;
use crate::error::Error;
use crate::terminal::output::{percent, table, thousands};

#[derive(Serialize)]
struct Plan {
    steps: u64,
    slots: u64,
    tokens: u64,
    fingerprint: String,
    /// Sequences of the requested length that the last complete step leaves out, because another step would exceed a
    /// source's `max_epochs`.
    left_out_sequences: u64,
    sources: Vec<SourcePlan>,
    stages: Vec<StageShares>,
    first_slots: Vec<SlotPreview>,
    #[serde(skip)]
    batch_size: u64,
    #[serde(skip)]
    window_offset: WindowOffset,
}

#[derive(Serialize)]
struct SourcePlan {
    #[serde(flatten)]
    share: SourceShare,
    /// Targets that count for the loss: exact over whole epochs, else the mean of an epoch.
    loss_tokens: u64,
    /// The source's share of these targets.
    loss_token_share: f64,
    /// The source's targets in an epoch.
    #[serde(skip)]
    epoch_tokens: u64,
}

/// The beginning of a slot's sequence.
#[derive(Serialize)]
struct SlotPreview {
    slot: u64,
    source: String,
    epoch: u64,
    start_token: u64,
    /// The decoded text, if the corpus has its tokenizer.
    text: Option<String>,
}

/// The number of slots whose beginning is shown.
const PREVIEWED_SLOTS: u64 = 6;
/// The number of characters that are shown of a slot.
const PREVIEW_CHARS: usize = 64;

/// Prints the plan of a run.
pub(super) fn print(
    mixer: &Mixer,
    length: &RunLength,
    steps: u64,
    context: Context,
) -> Result<(), Error> {
    let slots = slots_of(mixer, steps)?;
    let plan = Plan {
        steps,
        slots,
        tokens: slots.saturating_mul(mixer.sequence_length()),
        left_out_sequences: mixer.slots_of(length)?.saturating_sub(slots),
        fingerprint: mixer.state(slots).order().to_string(),
        sources: sources(mixer, slots)?,
        stages: mixer.stage_shares(slots),
        first_slots: previews(mixer, slots)?,
        batch_size: mixer.batch_size(),
        window_offset: mixer.mixture().shape().window_offset,
    };
    context.output.print(&plan, describe)
}

fn sources(mixer: &Mixer, slots: u64) -> Result<Vec<SourcePlan>, Error> {
    let mixture = mixer.mixture();
    let mut plans = Vec::new();
    for (source, share) in (0..).zip(mixer.shares(slots)) {
        let (epoch, sequences) = (mixture.loss_tokens(source)?, mixture.sequences(source));
        let loss = u128::from(share.sequences) * u128::from(epoch);
        let loss = loss / u128::from(sequences.unwrap_or(1).max(1));
        let loss_tokens = u64::try_from(loss).unwrap_or(u64::MAX);
        let epoch_tokens = sequences.unwrap_or(0).saturating_mul(mixer.sequence_length());
        plans.push(SourcePlan { share, loss_tokens, loss_token_share: 0.0, epoch_tokens });
    }
    let total: f64 = plans.iter().map(|plan| plan.loss_tokens as f64).sum();
    for plan in &mut plans {
        plan.loss_token_share = plan.loss_tokens as f64 / total.max(1.0);
    }
    Ok(plans)
}

fn previews(mixer: &Mixer, slots: u64) -> Result<Vec<SlotPreview>, Error> {
    let sources = mixer.mixture().sources();
    // All corpora of a mixture have the same tokenizer; imported ones may lack its file.
    let paths = sources.iter().map(|source| source.corpus.tokenizer_path());
    let tokenizer = paths.filter(|path| path.exists()).find_map(|path| Tokenizer::load(&path).ok());
    let mut planner = mixer.planner();
    let mut previews = Vec::new();
    for slot in 0..slots.min(PREVIEWED_SLOTS) {
        let slot = planner.slot(slot)?;
        let text = match &tokenizer {
            None => None,
            Some(tokenizer) => {
                let mut row = Batch::<u32>::default();
                mixer.gather(&[slot], &mut row)?;
                row.tokens.truncate(PREVIEW_CHARS);
                Some(shortened(&tokenizer.decode(&row.tokens)?))
            }
        };
        let name = usize::try_from(slot.source).ok().and_then(|index| sources.get(index));
        let source = name.map_or_else(String::new, |source| source.name.clone());
        previews.push(SlotPreview {
            slot: slot.slot,
            source,
            epoch: slot.epoch,
            start_token: slot.start_token,
            text,
        });
    }
    Ok(previews)
}

/// The first characters in one line, without control characters.
fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(PREVIEW_CHARS).collect()
}

fn describe(plan: &Plan) -> String {
    let labeled = plan.sources.iter().any(|plan| plan.loss_tokens != plan.share.tokens);
    let mut text = format!(
        "{}, {}, {}\n{}",
        plural(plan.steps, "step"),
        plural(plan.slots, "sequence"),
        plural(plan.tokens, "token"),
        share_table(plan.sources.iter().map(|plan| &plan.share), plan.batch_size),
    );
    if labeled {
        let rows: Vec<Vec<String>> = plan.sources.iter().map(loss_row).collect();
        text += &format!("\n\n{}", table(&["source", "loss tokens", "of all"], &rows));
    }
    if plan.stages.len() > 1 {
        for (number, stage) in plan.stages.iter().enumerate() {
            let (start, end) = (thousands(stage.start_slot), thousands(stage.end_slot));
            let shares = share_table(stage.sources.iter(), plan.batch_size);
            text += &format!("\n\nstage {number}, slots {start} to {end}\n{shares}");
        }
    }
    text += "\nlargest deviation: |count − n·w| over all prefixes, in sequences";
    if plan.stages.len() > 1 {
        text += " of the run; w: the mean weight up to that point; unique tokens and epochs since the run began";
    }
    text += &left_out(plan);
    let previews: Vec<Vec<String>> = plan.first_slots.iter().map(preview_row).collect();
    let width = plan.first_slots.iter().map(|preview| preview.source.chars().count()).max();
    text += "\n\nfirst slots";
    for row in previews {
        let [slot, source, preview] = row.as_slice() else { continue };
        text += &format!("\n{slot:>3}  {source:width$}  {preview}", width = width.unwrap_or(0));
    }
    text + &format!("\n\nmixture {}", plan.fingerprint)
}

/// The tokens and sequences that the plan leaves out.
fn left_out(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.left_out_sequences > 0 {
        text += &format!(
            "\nleft out: the last {} sequences, which do not fill a step within max_epochs",
            thousands(plan.left_out_sequences)
        );
    }
    for SourcePlan { share, epoch_tokens, .. } in &plan.sources {
        // A remainder below one percent of a source is not reported.
        if share.left_out_tokens.saturating_mul(100) > *epoch_tokens {
            let way_out = match plan.window_offset {
                WindowOffset::Anywhere => "so far; every epoch leaves out others",
                _ => {
                    "in every epoch; with window_offset = \"anywhere\" each epoch leaves out others"
                }
            };
            text += &format!(
                "\nleft out: {} tokens of {} that do not fill a whole sequence, {way_out}",
                thousands(share.left_out_tokens),
                share.name
            );
        }
    }
    text
}

fn preview_row(preview: &SlotPreview) -> Vec<String> {
    let place = format!("epoch {}, from token {}", preview.epoch, thousands(preview.start_token));
    let text = preview.text.clone().unwrap_or(place);
    vec![preview.slot.to_string(), preview.source.clone(), text]
}

fn loss_row(plan: &SourcePlan) -> Vec<String> {
    vec![plan.share.name.clone(), thousands(plan.loss_tokens), percent(plan.loss_token_share)]
}

fn share_table<'a>(shares: impl Iterator<Item = &'a SourceShare>, batch_size: u64) -> String {
    let rows: Vec<Vec<String>> = shares.map(|share| share_row(share, batch_size)).collect();
    let header = [
        "source",
        "requested",
        "realized",
        "sequences",
        "tokens",
        "unique tokens",
        "epochs",
        "repeats from step",
        "largest deviation",
    ];
    table(&header, &rows)
}

fn share_row(share: &SourceShare, batch_size: u64) -> Vec<String> {
    vec![
        share.name.clone(),
        percent_requested(share.requested),
        percent(share.realised),
        thousands(share.sequences),
        thousands(share.tokens),
        thousands(share.unique_tokens),
        format!("{:.3}", share.epochs),
        share.repeats_from_slot.map_or_else(|| "–".to_owned(), |slot| thousands(slot / batch_size)),
        format!("{:.3}", share.largest_deviation),
    ]
}
