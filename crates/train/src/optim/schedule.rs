//! The learning rate at every step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine from the peak down to the final share of it.
    #[default]
    Cosine,
    /// A straight line from the peak down to the final share of it.
    Linear,
    /// The peak to the end.
    Constant,
    /// Warm-up, stable, decay: the peak, then a straight line down to the final share of it in the last
    /// steps.
    Wsd,
}

impl Schedule {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::Wsd => "wsd",
        }
    }
}

/// A learning rate for every step of a run.
#[derive(Debug, Clone, Copy)]
pub struct LearningRate {
    /// What follows the warm-up.
    pub schedule: Schedule,
    /// The highest rate.
    pub peak: f64,
    /// The share of the peak that the last step would be followed by.
    pub final_share: f64,
    /// Steps of the linear rise.
    pub warmup_steps: u64,
    /// Steps of the fall of [`Schedule::Wsd`].
    pub decay_steps: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl LearningRate {
    /// The rate of step `step`, counted from 0: `peak · (step + 1) / warmup` while that is below the
    /// peak, then the schedule, which would reach its final share at step `steps`.
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
