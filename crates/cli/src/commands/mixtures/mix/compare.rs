//! The samples that two runs have in common.

use std::ops::Range;

use mixdown_mixer::{Mixer, Slot};
use serde::Serialize;

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::output::{percent, table, thousands};

#[derive(Serialize)]
struct Comparison {
    slots: u64,
    other_slots: u64,
    sources: Vec<SourceComparison>,
    /// The first slot with a target that the other run had.
    first_repeat_slot: Option<u64>,
}

#[derive(Serialize)]
struct SourceComparison {
    name: String,
    sequences: u64,
    /// Sequences that the other run had with the same targets.
    repeated_sequences: u64,
    tokens: u64,
    /// Targets that the other run had, in any sequence.
    repeated_tokens: u64,
}

/// The most slots of a run that are compared, at 32 bytes each.
const MOST_SLOTS: u64 = 1 << 26;

/// The targets of a source that a run used.
#[derive(Default)]
struct Seen {
    /// Where its sequences start, sorted.
    starts: Vec<u64>,
    /// Its targets as tokens, in order and apart.
    targets: Vec<Range<u64>>,
}

/// Prints what the slots of a run repeat of those of another run.
pub(super) fn print(
    mixer: &Mixer,
    slots: u64,
    other: &Mixer,
    other_slots: u64,
    context: Context,
) -> Result<(), Error> {
    let most = slots.max(other_slots);
    if most > MOST_SLOTS {
        let message = format!("--compare: expected at most {MOST_SLOTS} sequences, got {most}");
        return Err(Error::usage(message, "compare fewer --steps"));
    }
    let seen = seen(mixer, other, other_slots)?;
    let names = mixer.mixture().sources().iter().map(|source| source.name.clone());
    let mut sources: Vec<SourceComparison> = names
        .map(|name| SourceComparison {
            name,
            sequences: 0,
            repeated_sequences: 0,
            tokens: 0,
            repeated_tokens: 0,
        })
        .collect();
    let (mut planner, mut first_repeat_slot) = (mixer.planner(), None);
    for slot in 0..slots {
        let slot = planner.slot(slot)?;
        let place = usize::try_from(slot.source).unwrap_or(usize::MAX);
        let (Some(source), Some(seen)) = (sources.get_mut(place), seen.get(place)) else {
            continue;
        };
        let repeated: u64 = mixer.target_ranges(&slot)?.iter().map(|range| seen.hits(range)).sum();
        source.sequences += 1;
        source.tokens += mixer.sequence_length();
        source.repeated_tokens += repeated;
        let same = mixer.sequence_length() == other.sequence_length()
            && seen.starts.binary_search(&slot.start_token).is_ok();
        source.repeated_sequences += u64::from(same);
        if repeated > 0 {
            first_repeat_slot = first_repeat_slot.or(Some(slot.slot));
        }
    }
    let comparison = Comparison { slots, other_slots, sources, first_repeat_slot };
    context.output.print(&comparison, describe)
}

/// For each source of `mixer`, the targets of the same data that the other run used.
fn seen(mixer: &Mixer, other: &Mixer, other_slots: u64) -> Result<Vec<Seen>, Error> {
    let fingerprints = |mixer: &Mixer| -> Vec<_> {
        mixer.mixture().sources().iter().map(|source| source.corpus.fingerprint()).collect()
    };
    let (ours, theirs) = (fingerprints(mixer), fingerprints(other));
    let mut all: Vec<Seen> = ours.iter().map(|_| Seen::default()).collect();
    let mut planner = other.planner();
    for slot in 0..other_slots {
        let slot: Slot = planner.slot(slot)?;
        let data = usize::try_from(slot.source).ok().and_then(|place| theirs.get(place));
        let same = ours.iter().zip(&mut all).filter(|(ours, _)| Some(*ours) == data);
        for (_, seen) in same {
            seen.starts.push(slot.start_token);
            seen.targets.extend(other.target_ranges(&slot)?.into_iter().filter(|r| !r.is_empty()));
        }
    }
    for seen in &mut all {
        seen.starts.sort_unstable();
        seen.starts.dedup();
        seen.targets = merged(std::mem::take(&mut seen.targets));
    }
    Ok(all)
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| last.end >= range.start) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

impl Seen {
    /// The number of tokens of a range that were used.
    fn hits(&self, range: &Range<u64>) -> u64 {
        let first = self.targets.partition_point(|seen| seen.end <= range.start);
        let met = self.targets.iter().skip(first).take_while(|seen| seen.start < range.end);
        met.map(|seen| seen.end.min(range.end).saturating_sub(seen.start.max(range.start))).sum()
    }
}

fn describe(comparison: &Comparison) -> String {
    let row = |source: &SourceComparison| {
        let share = source.repeated_tokens as f64 / (source.tokens as f64).max(1.0);
        vec![
            source.name.clone(),
            thousands(source.sequences),
            thousands(source.repeated_sequences),
            thousands(source.tokens),
            thousands(source.repeated_tokens),
            percent(share),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.sources.iter().map(row).collect();
    let header = ["source", "sequences", "the same", "tokens", "repeated", "of all"];
    let first = match comparison.first_repeat_slot {
        Some(slot) => format!("the first repeated target is in slot {}", thousands(slot)),
        None => "nothing is repeated".to_owned(),
    };
    format!(
        "{} sequences compared with {} of the other run\n{}\n{first}",
        thousands(comparison.slots),
        thousands(comparison.other_slots),
        table(&header, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_over_merged_ranges() {
        let seen =
            Seen { starts: Vec::new(), targets: merged(vec![5..9, 1..3, 8..12, 20..21, 3..3]) };
        assert_eq!(seen.targets, [1..3, 5..12, 20..21]);
        for (range, hits) in [(0..30, 10), (2..6, 2), (12..20, 0), (11..21, 2), (4..4, 0)] {
            assert_eq!(seen.hits(&range), hits, "{range:?}");
        }
    }
}
