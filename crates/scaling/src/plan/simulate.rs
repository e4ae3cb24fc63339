//! Simulated runs of known laws, for planning a grid and as the truth of the tests.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::laws::ForgettingLaw;
use crate::laws::TargetLaw;
use crate::observation::Observation;

/// The laws and the noise that runs are simulated from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation {
    /// The forgetting law.
    pub forgetting: ForgettingLaw,
    /// The target law.
    pub target: TargetLaw,
    /// Standard deviation of the noise of ln loss: 0.003 is 0.3 %.
    pub noise: f64,
}

/// A plausible pretraining loss of a model of N parameters before finetuning, in nats per token: 1.69 + 406/N^0.34. It
/// is used only for planned grids, where none was measured.
pub(crate) fn plausible_loss_before(model_size: f64) -> f64 {
    1.69 + 406.0 / model_size.powf(0.34)
}

impl Simulation {
    /// Simulates one run at every (N, D, p), in that order, with noise from a seed.
    ///
    /// ```
    /// use mixdown_scaling::{ForgettingLaw, Simulation, TargetLaw};
    ///
    /// let forgetting = ForgettingLaw { ln_a: 3.2, b: 1500.0, alpha: 0.45, beta: 0.3 };
    /// let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    /// let runs = Simulation { forgetting, target, noise: 0.0 }.runs(&[(41e6, 3e5, 0.01)], 7);
    /// assert!((runs[0].forgetting() - forgetting.forgetting(41e6, 3e5, 0.01)).abs() < 1e-12);
    /// ```
    pub fn runs(&self, configurations: &[(f64, f64, f64)], seed: u64) -> Vec<Observation> {
        let mut noise = Noise::new(seed, 0);
        let run = |(number, (model_size, target_tokens, p)): (usize, &(f64, f64, f64))| {
            let before = plausible_loss_before(*model_size);
            let after = before + self.forgetting.forgetting(*model_size, *target_tokens, *p);
            let target_loss = self.target.loss(*model_size, *target_tokens);
            Observation {
                name: format!("run-{number}"),
                model_size: *model_size,
                target_tokens: *target_tokens,
                p: *p,
                p_realised: None,
                target_loss: target_loss * (self.noise * noise.normal()).exp(),
                pretraining_loss: after * (self.noise * noise.normal()).exp(),
                pretraining_loss_before: before,
                target_tokens_seen: None,
            }
        };
        configurations.iter().enumerate().map(run).collect()
    }
}

/// Returns every combination of sizes, tokens and shares.
///
/// ```
/// let grid = mixdown_scaling::full_grid(&[41e6, 109e6], &[3e5], &[0.0, 0.01]);
/// assert_eq!(grid, [(41e6, 3e5, 0.0), (41e6, 3e5, 0.01), (109e6, 3e5, 0.0), (109e6, 3e5, 0.01)]);
/// ```
pub fn full_grid(
    model_sizes: &[f64],
    target_tokens: &[f64],
    shares: &[f64],
) -> Vec<(f64, f64, f64)> {
    let mut grid = Vec::with_capacity(model_sizes.len() * target_tokens.len() * shares.len());
    for model_size in model_sizes {
        for tokens in target_tokens {
            grid.extend(shares.iter().map(|p| (*model_size, *tokens, *p)));
        }
    }
    grid
}

/// Random numbers of one stream of a seed: draw k of a bootstrap does not depend on the thread that makes it.
pub(crate) struct Noise {
    generator: ChaCha8Rng,
}

impl Noise {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { generator }
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.generator.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Uniform among 0, …, count − 1.
    pub fn below(&mut self, count: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "floor of a number between 0 and a slice's length"
        )]
        let place = (self.uniform() * count as f64) as usize;
        place.min(count.saturating_sub(1))
    }

    /// +1 or −1.
    pub fn sign(&mut self) -> f64 {
        if self.uniform() < 0.5 { -1.0 } else { 1.0 }
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
