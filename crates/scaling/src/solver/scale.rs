//! Conversion between plain units and the normalized inputs of the search.

use crate::laws::ForgettingLaw;
use crate::laws::TargetLaw;
use crate::laws::forms::{COORDINATES, NormalizedRow, Point};
use crate::observation::{Observation, configurations};

/// The logarithms of N₀ and D₀, by which inputs are divided: geometric means, which remove the correlation between A
/// and the exponents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    ln_size: f64,
    ln_tokens: f64,
}

impl Scale {
    pub fn of(observations: &[Observation]) -> Self {
        let count = observations.len().max(1) as f64;
        let mean = |of: fn(&Observation) -> f64| {
            observations.iter().map(|one| of(one).ln()).sum::<f64>() / count
        };
        Self { ln_size: mean(|one| one.model_size), ln_tokens: mean(|one| one.target_tokens) }
    }

    /// Returns a row at N, D and p without a measured loss.
    pub fn row_at(&self, model_size: f64, target_tokens: f64, share: f64) -> NormalizedRow {
        NormalizedRow {
            base: 0.0,
            ln_size: model_size.ln() - self.ln_size,
            ln_tokens: target_tokens.ln() - self.ln_tokens,
            share,
            repetitions: 0.0,
            measured: 1.0,
            ln_measured: 0.0,
            configuration: 0,
        }
    }

    /// Returns the rows of pretraining losses with the losses before finetuning as their base.
    pub fn forgetting_rows(&self, observations: &[Observation]) -> Vec<NormalizedRow> {
        self.rows(observations, |one| (one.pretraining_loss_before, one.pretraining_loss))
    }

    /// Returns the rows of pretraining losses without a base, for laws that do not use the loss before finetuning.
    pub fn pretraining_rows(&self, observations: &[Observation]) -> Vec<NormalizedRow> {
        self.rows(observations, |one| (0.0, one.pretraining_loss))
    }

    /// Returns the rows of target losses.
    pub fn target_rows(&self, observations: &[Observation]) -> Vec<NormalizedRow> {
        self.rows(observations, |one| (0.0, one.target_loss))
    }

    fn rows(
        &self,
        observations: &[Observation],
        of: fn(&Observation) -> (f64, f64),
    ) -> Vec<NormalizedRow> {
        let configurations = configurations(observations);
        let row = |(one, configuration): (&Observation, usize)| {
            let (base, measured) = of(one);
            let epochs = one.target_tokens_seen.map(|seen| seen / one.target_tokens);
            NormalizedRow {
                base,
                repetitions: epochs.map_or(0.0, |epochs| (epochs - 1.0).max(0.0)),
                measured,
                ln_measured: measured.ln(),
                configuration,
                ..self.row_at(one.model_size, one.target_tokens, one.share())
            }
        };
        observations.iter().zip(configurations).map(row).collect()
    }

    /// Returns the forgetting law of a point (α, β, ln B, ln A on normalized inputs).
    pub fn forgetting_law(&self, at: &Point) -> ForgettingLaw {
        let [alpha, beta, ln_b, ln_a, ..] = *at;
        let ln_a = ln_a + alpha * self.ln_size - beta * self.ln_tokens;
        ForgettingLaw { ln_a, b: ln_b.exp(), alpha, beta }
    }

    /// Returns the point of a forgetting law.
    pub fn point(&self, law: &ForgettingLaw) -> Point {
        let ln_a = law.ln_a - law.alpha * self.ln_size + law.beta * self.ln_tokens;
        let mut at = [0.0; COORDINATES];
        for (place, value) in at.iter_mut().zip([law.alpha, law.beta, law.b.ln(), ln_a]) {
            *place = value;
        }
        at
    }

    /// Returns the target law of a point (α, β, ln A, ln E on normalized inputs).
    pub fn target_law(&self, at: &Point) -> TargetLaw {
        let [alpha, beta, ln_a, ln_e, ..] = *at;
        let ln_a = ln_a + alpha * self.ln_size + beta * self.ln_tokens;
        TargetLaw { ln_a, e: ln_e.exp(), alpha, beta }
    }

    /// Returns the logarithm of N₀, for the coefficients of other laws.
    pub fn ln_size(&self) -> f64 {
        self.ln_size
    }

    /// Returns the logarithm of D₀.
    pub fn ln_tokens(&self) -> f64 {
        self.ln_tokens
    }
}
