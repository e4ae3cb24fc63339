//! The numbers of a finetuning run that the laws are fitted to.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One finetuning run, read at the checkpoint of least target validation loss.
///
/// Runs of equal N, D and p (with other seeds) are one *configuration*. Resampling and degrees of freedom count
/// configurations, because an error of the law at a configuration appears in all its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Name of the run, for messages and pages.
    pub name: String,
    /// N: parameters.
    pub model_size: f64,
    /// D: unique target tokens.
    pub target_tokens: f64,
    /// Requested share of pretraining sequences, in [0, 1).
    pub p: f64,
    /// Share delivered up to that checkpoint, in [0, 1]. The laws use it instead of `p` if it is known.
    #[serde(default)]
    pub p_realised: Option<f64>,
    /// Target validation loss in nats per token.
    pub target_loss: f64,
    /// Pretraining validation loss in nats per token.
    pub pretraining_loss: f64,
    /// Pretraining validation loss before finetuning in nats per token.
    pub pretraining_loss_before: f64,
    /// Target tokens seen up to that checkpoint, repeats counted; for the data-constrained law.
    #[serde(default)]
    pub target_tokens_seen: Option<f64>,
}

impl Observation {
    /// Returns the forgetting in nats per token: the pretraining loss minus its value before finetuning.
    ///
    /// ```
    /// # let observation = mixdown_scaling::Observation {
    /// #     name: String::new(), model_size: 41e6, target_tokens: 3e5, p: 0.01, p_realised: Some(0.0125),
    /// #     target_loss: 2.0, pretraining_loss: 3.25, pretraining_loss_before: 3.0, target_tokens_seen: None,
    /// # };
    /// assert_eq!(observation.forgetting(), 0.25);
    /// assert_eq!(observation.share(), 0.0125);
    /// ```
    pub fn forgetting(&self) -> f64 {
        self.pretraining_loss - self.pretraining_loss_before
    }

    /// Returns the share that the laws use: the delivered share if it is known, the requested one otherwise.
    pub fn share(&self) -> f64 {
        self.p_realised.unwrap_or(self.p)
    }
}

/// Checks that every number is one that a run can have.
pub(crate) fn check_all(observations: &[Observation]) -> Result<(), Error> {
    for (number, observation) in (1_u64..).zip(observations) {
        check(number, observation)?;
    }
    Ok(())
}

fn check(number: u64, observation: &Observation) -> Result<(), Error> {
    let bad = |expected, got| Err(Error::BadObservation { observation: number, expected, got });
    for size in [observation.model_size, observation.target_tokens] {
        if !(size.is_finite() && size > 0.0) {
            return bad("a finite number above 0 of parameters and of target tokens", size);
        }
    }
    if !(0.0..1.0).contains(&observation.p) {
        return bad("a share p in [0, 1)", observation.p);
    }
    if let Some(p) = observation.p_realised.filter(|p| !(0.0..=1.0).contains(p)) {
        return bad("a realised share in [0, 1]", p);
    }
    let losses = [
        observation.target_loss,
        observation.pretraining_loss,
        observation.pretraining_loss_before,
    ];
    for loss in losses {
        if !(loss.is_finite() && loss > 0.0) {
            return bad("a finite loss above 0 nats per token", loss);
        }
    }
    if let Some(seen) =
        observation.target_tokens_seen.filter(|seen| !(seen.is_finite() && *seen > 0.0))
    {
        return bad("a finite number above 0 of target tokens seen", seen);
    }
    Ok(())
}

/// Returns the observations in an order that depends only on their contents.
///
/// Sums of floating point numbers, the draws of a bootstrap and a search between optima that are nearly equally
/// good all depend on the order of the rows, but the order of a table is not a property of its runs. Names are compared
/// last: they only order runs of equal numbers, whose order does not change any result.
pub(crate) fn canonical(observations: &[Observation]) -> Vec<Observation> {
    let mut sorted = observations.to_vec();
    sorted.sort_by(|left, right| {
        let numbers = sort_key(left).into_iter().zip(sort_key(right));
        let differs = numbers.map(|(left, right)| left.total_cmp(&right)).find(|one| one.is_ne());
        differs.unwrap_or_else(|| left.name.cmp(&right.name))
    });
    sorted
}

/// All numbers of an observation; an absent one comes before every other, and −0 equals 0.
fn sort_key(one: &Observation) -> [f64; 8] {
    let absent = f64::NEG_INFINITY;
    [
        one.model_size,
        one.target_tokens,
        one.p,
        one.p_realised.unwrap_or(absent),
        one.target_loss,
        one.pretraining_loss,
        one.pretraining_loss_before,
        one.target_tokens_seen.unwrap_or(absent),
    ]
    .map(|number| number + 0.0)
}

/// Returns for every observation the number of its configuration, counted from 0 in order of appearance.
pub(crate) fn configurations(observations: &[Observation]) -> Vec<usize> {
    let mut keys: Vec<[u64; 3]> = Vec::new();
    let key_of = |observation: &Observation| {
        // Adding 0 makes −0 the same share as 0.
        [observation.model_size, observation.target_tokens, observation.p + 0.0].map(f64::to_bits)
    };
    observations
        .iter()
        .map(|observation| {
            let key = key_of(observation);
            keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            })
        })
        .collect()
}

/// Returns the distinct values in rising order.
pub(crate) fn distinct(observations: &[Observation], of: impl Fn(&Observation) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = observations.iter().map(|one| of(one) + 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.dedup_by(|left, right| left.to_bits() == right.to_bits());
    values
}
