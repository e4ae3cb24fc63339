//! The learning rate at every step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine from the peak down to the final share of the peak.
    #[default]
    Cosine,
    /// A straight line from the peak down to the final share of the peak.
    Linear,
    /// The peak until the end.
    Constant,
    /// Warm-up, stable, decay: the peak, then in the last steps a straight line down to the final share of the peak.
    Wsd,
}

impl Schedule {
    /// Returns the name in files.
    ///
    /// ```
    /// use mixdown_train::Schedule;
    ///
    /// assert_eq!(Schedule::Wsd.name(), "wsd");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::Wsd => "wsd",
        }
    }
}

/// The learning rates of a run's steps.
#[derive(Debug, Clone, Copy)]
pub struct LearningRate {
    /// The course of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// The highest rate.
    pub peak: f64,
    /// The share of the peak that a step after the last one would have.
    pub final_share: f64,
    /// The number of steps of the linear rise.
    pub warmup_steps: u64,
    /// The number of steps of the decay of [`Schedule::Wsd`].
    pub decay_steps: u64,
    /// The number of steps of the run.
    pub steps: u64,
}

impl LearningRate {
    /// Returns the rate of step `step`, counted from 0: `peak · (step + 1) / warmup` while that is below the
    /// peak, then the schedule, which would reach its final share at step `steps`.
    ///
    /// ```
    /// use mixdown_train::{LearningRate, Schedule};
    ///
    /// let rate = LearningRate {
    ///     schedule: Schedule::Linear,
    ///     peak: 1e-3,
    ///     final_share: 0.1,
    ///     warmup_steps: 10,
    ///     decay_steps: 0,
    ///     steps: 100,
    /// };
    /// assert!((rate.at(4) - 5e-4).abs() < 1e-12);
    /// assert!(rate.at(99) < 1.2e-4);
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let fall = match self.schedule {
            Schedule::Constant => return self.peak,
            Schedule::Cosine | Schedule::Linear => self.steps.saturating_sub(self.warmup_steps),
            Schedule::Wsd => self.decay_steps,
        };
        let done = step.saturating_sub(self.steps.saturating_sub(fall));
        let done = (done as f64 / fall.max(1) as f64).min(1.0);
        let left = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
            _ => 1.0 - done,
        };
        self.peak * (self.final_share + (1.0 - self.final_share) * left)
    }
}

/// The peak learning rates of full finetuning: a model with fewer parameters than the number gets the rate.
///
/// They are a tenth of the rates with which models of the size are pretrained (Brown et al., 2020, table 2.1: 6e-4 for
/// 125M, 2e-4 for 1.3B, 1.2e-4 for 6.7B), and agree with rates in use: 5e-5 for models of GPT-2's size (the default of
/// `transformers`), 2e-5 for 1B (the default of TRL), 1e-5 for 7B.
const RATES: [(u64, Rates); 4] = [
    (10_000_000, Rates { full: 3e-4, adapter: 3e-3 }),
    (50_000_000, Rates { full: 1e-4, adapter: 1e-3 }),
    (500_000_000, Rates { full: 5e-5, adapter: 5e-4 }),
    (3_000_000_000, Rates { full: 2e-5, adapter: 2e-4 }),
];
/// The rates of all larger models.
const LEAST_RATES: Rates = Rates { full: 1e-5, adapter: 1e-4 };

/// The peak learning rates for a size of models: for all weights, and for low-rank adapters.
#[derive(Clone, Copy)]
struct Rates {
    full: f64,
    adapter: f64,
}

fn rates(parameters: u64) -> Rates {
    let fits = |(below, _): &(u64, Rates)| parameters < *below;
    RATES.into_iter().find(fits).map_or(LEAST_RATES, |(_, rates)| rates)
}

/// Returns the default learning rate (its peak) for finetuning all weights of a model of `parameters` parameters.
///
/// ```
/// use mixdown_train::finetuning_rate;
///
/// assert!((finetuning_rate(135_000_000) - 5e-5).abs() < 1e-12);
/// ```
pub fn finetuning_rate(parameters: u64) -> f64 {
    rates(parameters).full
}

/// Returns the default learning rate (its peak) for low-rank adapters: ten times that of all weights (Biderman et al.,
/// LoRA Learns Less and Forgets Less, 2024).
///
/// ```
/// use mixdown_train::adapter_rate;
///
/// assert!((adapter_rate(135_000_000) - 5e-4).abs() < 1e-12);
/// ```
pub fn adapter_rate(parameters: u64) -> f64 {
    rates(parameters).adapter
}

#[cfg(test)]
mod tests {
    use super::{LearningRate, Schedule};

    #[test]
    fn it_rises_linearly_and_falls_as_told() {
        let mut rate = LearningRate {
            schedule: Schedule::Cosine,
            peak: 2.0,
            final_share: 0.1,
            warmup_steps: 4,
            decay_steps: 10,
            steps: 24,
        };
        let expect = |rate: LearningRate, values: &[(u64, f64)]| {
            for (step, value) in values {
                assert!((rate.at(*step) - value).abs() < 1e-12, "{:?} {step}", rate.schedule);
            }
        };
        expect(rate, &[(0, 0.5), (3, 2.0), (4, 2.0), (14, 1.1), (24, 0.2), (99, 0.2)]);
        rate.schedule = Schedule::Linear;
        expect(rate, &[(0, 0.5), (4, 2.0), (9, 1.55), (14, 1.1), (24, 0.2), (99, 0.2)]);
        rate.schedule = Schedule::Wsd;
        expect(rate, &[(0, 0.5), (4, 2.0), (14, 2.0), (19, 1.1), (24, 0.2), (99, 0.2)]);
        rate.schedule = Schedule::Constant;
        expect(rate, &[(0, 0.5), (4, 2.0), (20, 2.0)]);
        rate.warmup_steps = 0;
        expect(rate, &[(0, 2.0)]);
    }
}

#[cfg(test)]
mod finetuning_tests {
    use super::{adapter_rate, finetuning_rate};

    #[test]
    fn larger_models_get_lower_rates() {
        let millions = [1, 10, 49, 50, 135, 500, 1300, 3000, 70_000];
        let rates = millions.map(|millions| finetuning_rate(millions * 1_000_000));
        let expected = [3e-4_f64, 1e-4, 1e-4, 5e-5, 5e-5, 2e-5, 2e-5, 1e-5, 1e-5];
        assert_eq!(rates.map(f64::to_bits), expected.map(f64::to_bits));
        assert!((adapter_rate(135_000_000) - 5e-4).abs() < 1e-12);
    }
}
