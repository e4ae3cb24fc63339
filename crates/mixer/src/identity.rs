//! What makes two mixtures give the same order.

use mixdown_shards::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::config::WindowOffset;
use crate::mixture::{Mixture, Source};
use crate::schedule::SCHEDULE_VERSION;

/// The hash of all that orders a run, and small checks of its parts.
///
/// The hash alone decides. The checks only name what differs, so 16 bits each are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) order: Fingerprint,
    pub(crate) checks: Checks,
}

/// One small check of each part of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checks {
    pub(crate) seed: u16,
    pub(crate) windows: u16,
    pub(crate) names: u16,
    pub(crate) weights: u16,
    pub(crate) sizes: u16,
    /// Byte i mixes the data fingerprints of the sources i, i + 8, …: with up to eight sources it
    /// tells which of them changed.
    pub(crate) data: [u8; 8],
}

impl Identity {
    /// The identity of a mixture. The batch size is no part of it.
    ///
    /// A later stage of a run is to be chained on: hash(this order, its first slot, the stage).
    pub(crate) fn of(mixture: &Mixture) -> Self {
        let shape = mixture.shape();
        let seed = shape.seed.to_le_bytes().to_vec();
        let mut windows = shape.sequence_length.to_le_bytes().to_vec();
        windows.push(match shape.window_offset {
            WindowOffset::Epoch => 0,
            WindowOffset::Fixed => 1,
        });
        let names = joined(mixture.sources(), |source| {
            let len = u64::try_from(source.name.len()).unwrap_or(u64::MAX);
            [&len.to_le_bytes(), source.name.as_bytes()].concat()
        });
        let weights = joined(mixture.parts().parts(), |part| part.to_le_bytes().to_vec());
        let sizes = joined(mixture.windows(), |windows| windows.sequences().to_le_bytes().to_vec());
        let data =
            joined(mixture.sources(), |source| source.corpus.fingerprint().as_bytes().to_vec());
        let mut hasher = blake3::Hasher::new_derive_key("mixdown-mixer order 1");
        hasher.update(&SCHEDULE_VERSION.to_le_bytes());
        for part in [&seed, &windows, &names, &weights, &sizes, &data] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        Self {
            order: Fingerprint::from_bytes(*hasher.finalize().as_bytes()),
            checks: Checks {
                seed: check(&seed),
                windows: check(&windows),
                names: check(&names),
                weights: check(&weights),
                sizes: check(&sizes),
                data: data_check(mixture.sources()),
            },
        }
    }
}

impl Checks {
    /// In words, what of `mixture` (whose checks are `self`) is not as in `other`.
    pub(crate) fn differences(&self, other: &Self, mixture: &Mixture) -> String {
        let shape = mixture.shape();
        let mut parts = Vec::new();
        if self.seed != other.seed {
            parts.push(format!("the seed (now {})", shape.seed));
        }
        if self.windows != other.windows {
            let length = shape.sequence_length;
            parts.push(format!("sequence_length (now {length}) or window_offset"));
        }
        if self.names != other.names {
            parts.push(format!("the sources or their names (now {})", names(mixture.sources())));
        }
        if self.weights != other.weights {
            let weights: Vec<String> =
                mixture.sources().iter().map(|source| source.weight.to_string()).collect();
            parts.push(format!("the weights (now {})", weights.join(", ")));
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
            // Empty where a source of the state is gone, which its name says.
            if !changed.is_empty() {
                parts.push(format!("the data fingerprint of source {}", changed.join(" or ")));
            }
        }
        if parts.is_empty() { "the data".to_owned() } else { parts.join("; ") }
    }
}

fn names(sources: &[Source]) -> String {
    let names: Vec<String> = sources.iter().map(|source| format!("{:?}", source.name)).collect();
    names.join(", ")
}

fn joined<T>(items: &[T], bytes: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    items.iter().flat_map(bytes).collect()
}

fn check(part: &[u8]) -> u16 {
    let hash = blake3::hash(part);
    let [low, high, ..] = *hash.as_bytes();
    u16::from_le_bytes([low, high])
}

fn data_check(sources: &[Source]) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (source, place) in sources.iter().zip((0..bytes.len()).cycle()) {
        let hash = blake3::hash(source.corpus.fingerprint().as_bytes());
        let [first, ..] = *hash.as_bytes();
        bytes[place] ^= first;
    }
    bytes
}
