//! From logits to the next id.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::kernels::elementwise::{exponentials, maximum};
use crate::engine::kernels::number::vectorised;
use crate::error::Error;

/// Candidates that are looked at first for a `top_p` without a `top_k`.
const FIRST_CANDIDATES: usize = 64;

/// The sampling of an id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The sampling temperature, which divides the logits; 0 takes the most likely id.
    pub temperature: f64,
    /// Ids are sampled from this many of the most likely ones.
    pub top_k: Option<u64>,
    /// Of these, only the most likely ones that together reach this probability are kept.
    pub top_p: Option<f64>,
}

impl Sampling {
    /// Greedy decoding: always the most likely id.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: None, top_p: None };

    /// # Errors
    /// A setting has an invalid value; it is named without its table.
    pub(crate) fn check(&self, table: &str) -> Result<(), Error> {
        let field = |name: &str| format!("{table}{name}");
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let expected = "a number, 0 (the most likely id) or more";
            return Err(Error::setting(&field("temperature"), expected, self.temperature));
        }
        if let Some(0) = self.top_k {
            return Err(Error::setting(&field("top_k"), "at least 1", 0));
        }
        match self.top_p {
            Some(top_p) if !(top_p > 0.0 && top_p <= 1.0) => {
                Err(Error::setting(&field("top_p"), "a number above 0, at most 1", top_p))
            }
            _ => Ok(()),
        }
    }
}

/// The sampler of one sequence.
pub(crate) struct Sampler {
    sampling: Sampling,
    generator: ChaCha8Rng,
}

impl Sampler {
    /// Makes a sampler; each `stream` of a `seed` has independent random numbers.
    pub(crate) fn new(sampling: Sampling, seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { sampling, generator }
    }

    /// Returns the next id for these logits.
    ///
    /// # Errors
    /// A logit is not finite.
    pub(crate) fn next(&mut self, logits: &[f32]) -> Result<u32, Error> {
        if let Some(got) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::NonFiniteLogits { got: f64::from(*got) });
        }
        let place = if self.sampling.temperature > 0.0 {
            let candidates = candidates(logits, &self.sampling);
            self.draw(&candidates)
        } else {
            // The first of equals.
            let greatest = vectorised(|| maximum(logits));
            logits.iter().position(|&logit| logit >= greatest).unwrap_or(0)
        };
        // Vocabularies have at most 2^24 entries.
        Ok(u32::try_from(place).unwrap_or(0))
    }

    /// Draws one of the candidates by its weight.
    fn draw(&mut self, candidates: &[(usize, f64)]) -> usize {
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut left = self.uniform() * total;
        for &(place, weight) in candidates {
            if left < weight {
                return place;
            }
            left -= weight;
        }
        // Rounding has left more than the last weight.
        candidates.iter().rfind(|(_, weight)| *weight > 0.0).map_or(0, |(place, _)| *place)
    }

    /// Returns a uniform number in [0, 1), in steps of 2^-53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Returns the ids that may come next, each with a weight in proportion to its probability.
fn candidates(logits: &[f32], sampling: &Sampling) -> Vec<(usize, f64)> {
    let shift = vectorised(|| maximum(logits));
    #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
    let factor = (1.0 / sampling.temperature) as f32;
    let mut weights: Vec<f32> = logits.iter().map(|logit| (logit - shift) * factor).collect();
    vectorised(|| exponentials(&mut weights, 0.0));
    let all: Vec<(usize, f64)> =
        weights.iter().enumerate().map(|(place, &weight)| (place, f64::from(weight))).collect();
    let top_k = sampling.top_k.map(|top_k| usize::try_from(top_k).unwrap_or(usize::MAX));
    match (top_k, sampling.top_p) {
        (None, None) => all,
        (Some(top_k), None) => most_likely(all, top_k),
        (Some(top_k), Some(top_p)) => {
            let kept = most_likely(all, top_k);
            let total = kept.iter().map(|(_, weight)| weight).sum();
            nucleus(&kept, top_p, total).unwrap_or(kept)
        }
        (None, Some(top_p)) => {
            // Sorting all of a large vocabulary takes longer than a step of a small model.
            let total = all.iter().map(|(_, weight)| weight).sum();
            let mut count = FIRST_CANDIDATES;
            while count < all.len() {
                if let Some(kept) = nucleus(&most_likely(all.clone(), count), top_p, total) {
                    return kept;
                }
                count = count.saturating_mul(8);
            }
            let all = most_likely(all, count);
            nucleus(&all, top_p, total).unwrap_or(all)
        }
    }
}

/// Returns the `count` most likely candidates, the most likely first; equally likely ones in the order of their ids.
fn most_likely(mut all: Vec<(usize, f64)>, count: usize) -> Vec<(usize, f64)> {
    let order = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

/// Returns how many of the first of `sorted` together reach a share of `top_p`; `None` if all together do not.
fn nucleus(sorted: &[(usize, f64)], top_p: f64, total: f64) -> Option<Vec<(usize, f64)>> {
    let mut sum = 0.0;
    let enough = sorted.iter().position(|(_, weight)| {
        sum += weight;
        sum >= top_p * total
    })?;
    Some(sorted[..=enough].to_vec())
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::{Sampler, Sampling};
    use crate::engine::kernels::check::numbers;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: None };

    /// Probabilities in the words of the definitions: softmax, then all but the most likely set to zero.
    fn naive(logits: &[f32], sampling: Sampling) -> Vec<f64> {
        let weight = |logit: &f32| (f64::from(*logit) / sampling.temperature).exp();
        let mut weights: Vec<f64> = logits.iter().map(weight).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let k = sampling.top_k.map_or(logits.len(), |k| usize::try_from(k).unwrap());
        order.iter().skip(k).for_each(|&id| weights[id] = 0.0);
        let total: f64 = weights.iter().sum();
        let mut before = 0.0;
        for id in order {
            let weight = weights[id];
            if before >= sampling.top_p.unwrap_or(2.0) * total {
                weights[id] = 0.0;
            }
            before += weight;
        }
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    fn logits(len: usize) -> Vec<f32> {
        numbers::<f32>(len, 5).iter().map(|value| 3.0 * value).collect()
    }

    /// The 99.9 % points of χ² by Wilson and Hilferty's approximation.
    fn critical(freedom: f64) -> f64 {
        let spread = 2.0 / (9.0 * freedom);
        freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3)
    }

    #[test]
    fn frequencies_are_those_of_the_softmax() {
        const DRAWS: usize = 200_000;
        let logits = logits(40);
        for sampling in [
            PLAIN,
            Sampling { temperature: 0.6, ..PLAIN },
            Sampling { top_k: Some(7), ..PLAIN },
            Sampling { top_p: Some(0.8), ..PLAIN },
            Sampling { temperature: 1.7, top_k: Some(20), top_p: Some(0.9) },
        ] {
            let expected = naive(&logits, sampling);
            let mut sampler = Sampler::new(sampling, 3, 1);
            let mut counts = vec![0.0; logits.len()];
            for _ in 0..DRAWS {
                counts[sampler.next(&logits).unwrap() as usize] += 1.0;
            }
            let (mut square, mut freedom) = (0.0, -1.0);
            for (count, probability) in counts.iter().zip(&expected) {
                if *probability == 0.0 {
                    assert!(*count < 0.5, "{sampling:?}");
                    continue;
                }
                let mean = probability * DRAWS as f64;
                square += (count - mean) * (count - mean) / mean;
                freedom += 1.0;
            }
            assert!(square < critical(freedom), "{sampling:?}: {square} of {freedom}");
        }
    }

    #[test]
    fn a_nucleus_of_a_large_vocabulary_is_the_same() {
        // Flat enough that thousands of ids are in it.
        let logits: Vec<f32> = numbers(20_000, 9);
        for top_p in [0.001, 0.3, 0.97, 1.0] {
            let sampling = Sampling { top_p: Some(top_p), ..PLAIN };
            let expected = naive(&logits, sampling).iter().filter(|p| **p > 0.0).count();
            let got = super::candidates(&logits, &sampling).len();
            assert!(expected.abs_diff(got) <= 1, "{top_p}: expected {expected}, got {got}");
        }
    }

    #[test]
    fn the_most_likely_the_seed_and_the_stream() {
        let logits = logits(40);
        let draw = |sampling: Sampling, seed: u64, stream: u64| -> Vec<u32> {
            let mut sampler = Sampler::new(sampling, seed, stream);
            (0..50).map(|_| sampler.next(&logits).unwrap()).collect()
        };
        let greedy = draw(Sampling::GREEDY, 1, 0);
        assert!(greedy.iter().all(|&id| logits.iter().all(|&l| l <= logits[id as usize])));
        assert_eq!(draw(Sampling { top_k: Some(1), ..PLAIN }, 1, 0), greedy);
        assert_eq!(draw(PLAIN, 1, 0), draw(PLAIN, 1, 0));
        assert_ne!(draw(PLAIN, 1, 0), draw(PLAIN, 2, 0));
        assert_ne!(draw(PLAIN, 1, 0), draw(PLAIN, 1, 1));
        let equal = Sampler::new(Sampling::GREEDY, 0, 0).next(&[1.0, 2.0, 2.0]).unwrap();
        assert_eq!(equal, 1);
        // Weights that all but one vanish.
        let mut cold = Sampler::new(Sampling { temperature: 1e-6, ..PLAIN }, 0, 0);
        assert_eq!(cold.next(&logits).unwrap(), greedy[0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        for (sampling, message) in [
            (Sampling { temperature: f64::NAN, ..PLAIN }, "temperature: expected a number, 0"),
            (Sampling { temperature: -1.0, ..PLAIN }, "temperature: expected a number, 0"),
            (Sampling { top_k: Some(0), ..PLAIN }, "top_k: expected at least 1, got 0"),
            (Sampling { top_p: Some(0.0), ..PLAIN }, "top_p: expected a number above 0, at most 1"),
            (Sampling { top_p: Some(1.1), ..PLAIN }, "top_p: expected a number above 0, at most 1"),
        ] {
            let error = sampling.check("").unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        PLAIN.check("").unwrap();
        let error = Sampler::new(PLAIN, 0, 0).next(&[0.0, f32::NAN]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Numerical);
    }
}
