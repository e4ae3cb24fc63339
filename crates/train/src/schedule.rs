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
    /// The peak to the end.
    Constant,
}

impl Schedule {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Constant => "constant",
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
    /// The share of the peak that a cosine ends at.
    pub final_share: f64,
    /// Steps of the linear rise.
    pub warmup_steps: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl LearningRate {
    /// The rate of step `step`, counted from 0: `peak · (step + 1) / warmup` while that is below
    /// the peak, then the schedule; a cosine would reach its final share at step `steps`.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Constant => self.peak,
            Schedule::Cosine => {
                let all = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
                let done = ((step - self.warmup_steps) as f64 / all).min(1.0);
                let share = 0.5 * (1.0 + (PI * done).cos());
                self.peak * (self.final_share + (1.0 - self.final_share) * share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LearningRate, Schedule};

    #[test]
    fn it_rises_linearly_and_falls_like_a_cosine() {
        let mut rate = LearningRate {
            schedule: Schedule::Cosine,
            peak: 2.0,
            final_share: 0.1,
            warmup_steps: 4,
            steps: 24,
        };
        let expect = |step, value: f64| assert!((rate.at(step) - value).abs() < 1e-12);
        expect(0, 0.5);
        expect(3, 2.0);
        expect(4, 2.0);
        expect(14, 1.1);
        expect(24, 0.2);
        expect(99, 0.2);
        rate.schedule = Schedule::Constant;
        assert!((rate.at(20) - 2.0).abs() < 1e-12);
        rate.warmup_steps = 0;
        assert!((rate.at(0) - 2.0).abs() < 1e-12);
    }
}
