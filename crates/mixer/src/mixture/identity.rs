//! The identity of a mixture: equal identities give equal orders.

use mixdown_shards::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::config::WindowOffset;
use crate::mixture::{Mixture, Source};
use crate::order::window::Windows;
use crate::schedule::SCHEDULE_VERSION;
use crate::schedule::timeline::MixtureStage;

/// The hash of everything that determines a run's order, and small checks of its parts.
///
/// The hash alone decides. The checks only name differences, so 16 bits each are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) order: Fingerprint,
    /// The hash under the old rule, by which each stage rounded again; it serves only to recognize states of that rule.
    pub(crate) rounded_per_stage: Fingerprint,
    pub(crate) checks: Checks,
}

/// One small check for each part of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checks {
    pub(crate) seed: u16,
    pub(crate) windows: u16,
    pub(crate) names: u16,
    pub(crate) weights: u16,
    pub(crate) sizes: u16,
    /// Byte i mixes the data fingerprints of the sources i, i + 8, …: with up to eight sources it shows which of them
    /// changed.
    pub(crate) data: [u8; 8],
}

impl Identity {
    /// Returns the identities of a mixture's stages, each of which covers all stages up to it. The batch size is not
    /// part of them.
    ///
    /// The first is a hash of the mixture with the sources and weights of its first stage; each later one hashes the
    /// previous one, its first slot and its own sources and weights. So a state fits every mixture that agrees with its
    /// own up to its slot.
    pub(crate) fn of_stages(mixture: &Mixture) -> Vec<Self> {
        let stages = mixture.timeline().stages();
        let mut identities: Vec<Self> = Vec::with_capacity(stages.len());
        let mut previous = None;
        for stage in stages {
            let before = identities.last().copied().zip(previous);
            identities.push(Self::of_stage(mixture, stage, before));
            previous = Some(stage);
        }
        identities
    }

    fn of_stage(
        mixture: &Mixture,
        stage: &MixtureStage,
        before: Option<(Self, &MixtureStage)>,
    ) -> Self {
        let members: Vec<(&Source, &Windows)> = members(mixture, stage).collect();
        let names = names_bytes(mixture, stage);
        let mut weights = joined(stage.weights.from(), |part| part.to_le_bytes().to_vec());
        if let Some((to, over)) = stage.weights.to() {
            weights.extend(joined(to, |part| part.to_le_bytes().to_vec()));
            weights.extend(over.to_le_bytes());
        }
        let sizes = sizes_bytes(mixture, stage);
        let data = joined(&members, |(source, _)| source.corpus.fingerprint().as_bytes().to_vec());
        let mut hasher = match before {
            None => {
                let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer order 1");
                hasher.update(&SCHEDULE_VERSION.to_le_bytes());
                for part in [seed_bytes(mixture), windows_bytes(mixture)] {
                    update(&mut hasher, &part);
                }
                hasher
            }
            Some((before, _)) => {
                weights.extend(stage.start.to_le_bytes());
                let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer stage 2");
                hasher.update(before.order.as_bytes());
                hasher
            }
        };
        let parts = [&names, &weights, &sizes, &data];
        parts.iter().for_each(|part| update(&mut hasher, part));
        let order = Fingerprint::from_bytes(*hasher.finalize().as_bytes());
        let rounded_per_stage = before.as_ref().map_or(order, |(before, _)| {
            let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer stage 1");
            hasher.update(before.rounded_per_stage.as_bytes());
            parts.iter().for_each(|part| update(&mut hasher, part));
            Fingerprint::from_bytes(*hasher.finalize().as_bytes())
        });
        let none = Checks::default();
        let earlier = before.as_ref().map_or(&none, |(before, _)| &before.checks);
        let previous = before.map(|(_, stage)| stage);
        // What a stage shares with the previous one is not another difference.
        let same = |bytes: fn(&Mixture, &MixtureStage) -> Vec<u8>| {
            previous.is_some_and(|previous| bytes(mixture, previous) == bytes(mixture, stage))
        };
        let kept = |same: bool, earlier: u16, part: &[u8]| {
            if same { earlier } else { chained(earlier, part) }
        };
        Self {
            order,
            rounded_per_stage,
            checks: Checks {
                seed: check(&seed_bytes(mixture)),
                windows: check(&windows_bytes(mixture)),
                names: kept(same(names_bytes), earlier.names, &names),
                weights: chained(earlier.weights, &weights),
                sizes: kept(same(sizes_bytes), earlier.sizes, &sizes),
                data: data_check(earlier.data, mixture, stage),
            },
        }
    }
}

fn names_bytes(mixture: &Mixture, stage: &MixtureStage) -> Vec<u8> {
    let members: Vec<&Source> = members(mixture, stage).map(|(source, _)| source).collect();
    joined(&members, |source| {
        let len = u64::try_from(source.name.len()).unwrap_or(u64::MAX);
        [&len.to_le_bytes(), source.name.as_bytes()].concat()
    })
}

fn sizes_bytes(mixture: &Mixture, stage: &MixtureStage) -> Vec<u8> {
    let members: Vec<&Windows> = members(mixture, stage).map(|(_, windows)| windows).collect();
    joined(&members, |windows| sizes(windows))
}

/// Returns a stage's sources, in order.
fn members<'m>(
    mixture: &'m Mixture,
    stage: &'m MixtureStage,
) -> impl Iterator<Item = (&'m Source, &'m Windows)> {
    let places = stage.weights.members().iter().filter_map(|&source| usize::try_from(source).ok());
    places.filter_map(|place| Some((mixture.sources().get(place)?, mixture.windows().get(place)?)))
}

fn seed_bytes(mixture: &Mixture) -> Vec<u8> {
    mixture.shape().seed.to_le_bytes().to_vec()
}

fn windows_bytes(mixture: &Mixture) -> Vec<u8> {
    let shape = mixture.shape();
    let mut bytes = shape.sequence_length.to_le_bytes().to_vec();
    bytes.push(match shape.window_offset {
        WindowOffset::Epoch => 0,
        WindowOffset::Fixed => 1,
        WindowOffset::Anywhere => 2,
    });
    if let Some(block) = shape.shuffle_block {
        bytes.extend(block.to_le_bytes());
    }
    bytes
}

fn sizes(windows: &Windows) -> Vec<u8> {
    let mut bytes = windows.sequences().to_le_bytes().to_vec();
    if windows.are_rows() {
        bytes.push(1);
    } else if windows.circle() != windows.targets() {
        bytes.extend(windows.circle().to_le_bytes());
    }
    bytes
}

fn update(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(part);
}

/// Returns the check of a part over all stages; for the first stage, that of the stage alone.
fn chained(earlier: u16, part: &[u8]) -> u16 {
    if earlier == 0 { check(part) } else { check(&[&earlier.to_le_bytes(), part].concat()) }
}

impl Checks {
    /// Returns the checks of a state after which something is counted in batches of `batch_size`.
    pub(crate) fn in_steps(self, batch_size: u64) -> Self {
        Self { weights: self.weights ^ check(&batch_size.to_le_bytes()), ..self }
    }

    /// Describes the parts of `mixture` (whose checks at a slot are `self`) that differ from `other`.
    pub(crate) fn differences(&self, other: &Self, mixture: &Mixture, slot: u64) -> String {
        let shape = mixture.shape();
        let mut parts = Vec::new();
        if self.seed != other.seed {
            parts.push(format!("the seed (now {})", shape.seed));
        }
        if self.windows != other.windows {
            let length = shape.sequence_length;
            parts.push(format!("sequence_length (now {length}), window_offset or shuffle_block"));
        }
        let stages = mixture.timeline().stages();
        let stage =
            stages.get(stages.partition_point(|stage| stage.start < slot).saturating_sub(1));
        let later = stage.is_some_and(|stage| stage.start > 0);
        if self.names != other.names {
            let names = stage.map(|stage| members(mixture, stage)).into_iter().flatten();
            let names: Vec<String> =
                names.map(|(source, _)| format!("{:?}", source.name)).collect();
            parts.push(format!("the sources or their names (now {})", names.join(", ")));
        }
        if self.weights != other.weights {
            let weights = stage.map_or(&[][..], |stage| stage.weights.from());
            let weights: Vec<String> = weights.iter().map(u64::to_string).collect();
            let stages = if later { ", or a stage that begins before that slot" } else { "" };
            parts.push(format!("the weights (now {}{stages})", weights.join(":")));
        }
        if self.sizes != other.sizes {
            parts.push("the number of sequences of a source (its size or max_tokens)".to_owned());
        }
        if self.data != other.data {
            let changed = mixture.sources().iter().zip((0..8).cycle()).filter_map(|(source, i)| {
                let differs = self.data.get::<usize>(i) != other.data.get::<usize>(i);
                let corpus = &source.corpus;
                differs.then(|| format!("{:?}, now {}", source.name, corpus.fingerprint()))
            });
            let changed: Vec<String> = changed.collect();
            // It is empty if a source of the state is missing; the difference in names already reports that.
            if !changed.is_empty() {
                parts.push(format!("the data fingerprint of source {}", changed.join(" or ")));
            }
        }
        if parts.is_empty() { "the data".to_owned() } else { parts.join("; ") }
    }
}

fn joined<T>(items: &[T], bytes: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    items.iter().flat_map(bytes).collect()
}

fn check(part: &[u8]) -> u16 {
    let hash = blake3::hash(part);
    let [low, high, ..] = *hash.as_bytes();
    u16::from_le_bytes([low, high])
}

fn data_check(earlier: [u8; 8], mixture: &Mixture, stage: &MixtureStage) -> [u8; 8] {
    let mut bytes = earlier;
    for &source in stage.weights.members() {
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        let Some(source) = mixture.sources().get(place) else { continue };
        let hash = blake3::hash(source.corpus.fingerprint().as_bytes());
        let [first, ..] = *hash.as_bytes();
        // A source of several stages counts once, or it would cancel out.
        let before = mixture.timeline().stages().iter().take_while(|one| one.start < stage.start);
        if before
            .flat_map(|stage| stage.weights.members())
            .all(|&one| usize::try_from(one) != Ok(place))
        {
            bytes[place % earlier.len()] ^= first;
        }
    }
    bytes
}
