//! The configuration of a run from a few choices.

use std::path::PathBuf;

use mixdown_mixer::{MixtureConfig, SourceConfig, Weight, WeightUnit, WindowOffset};
use mixdown_shards::{Access, Split};
use mixdown_train::{EvalConfig, EvalCorpus, ModelChoice, RunConfig, Schedule, TrainConfig};

use crate::error::Error;
use crate::runs::injection::Injection;

/// The name of the target's source and evaluation.
pub const TARGET: &str = "target";
/// The name of the pretraining data's source and evaluation.
pub const PRETRAINING: &str = "pretraining";

/// The few choices that determine the whole configuration of a run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The model that is trained.
    pub model: ModelChoice,
    /// The target corpus; without one, the run pretrains.
    pub target: Option<PathBuf>,
    /// The pretraining corpus.
    pub pretraining: PathBuf,
    /// p: the share of pretraining data.
    pub inject: Injection,
    /// The largest number of unique target tokens that are used.
    pub target_tokens: Option<u64>,
    /// The tokens of a sequence.
    pub sequence_length: u64,
    /// The sequences of a batch.
    pub batch_size: u64,
    /// The number of optimizer steps.
    pub steps: u64,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The learning-rate schedule after the warm-up.
    pub schedule: Schedule,
    /// The steps in which the learning rate rises.
    pub warmup_steps: u64,
    /// The steps between two evaluations.
    pub eval_every: u64,
    /// The number of held-out sequences of each corpus.
    pub eval_sequences: u64,
    /// The seed of the order of the data.
    pub seed: u64,
}

impl Recipe {
    /// Returns the configuration of the run; paths stay as they were given.
    ///
    /// ```
    /// use mixdown_experiments::{Injection, Recipe};
    /// use mixdown_train::{ModelChoice, Schedule};
    ///
    /// let recipe = Recipe {
    ///     model: ModelChoice::Init("base/best".into()),
    ///     target: Some("corpora/math".into()),
    ///     pretraining: "corpora/general".into(),
    ///     inject: "1%".parse::<Injection>()?,
    ///     target_tokens: Some(300_000),
    ///     sequence_length: 128,
    ///     batch_size: 16,
    ///     steps: 400,
    ///     learning_rate: 1e-3,
    ///     schedule: Schedule::Cosine,
    ///     warmup_steps: 20,
    ///     eval_every: 40,
    ///     eval_sequences: 64,
    ///     seed: 0,
    /// };
    /// let config = recipe.run_config()?;
    /// assert_eq!((config.train.steps, config.mixture.source.len()), (400, 2));
    /// # Ok::<(), mixdown_experiments::Error>(())
    /// ```
    ///
    /// # Errors
    /// Weights beyond the limits of a mixture.
    pub fn run_config(self) -> Result<RunConfig, Error> {
        Ok(RunConfig {
            mixture: self.mixture()?,
            train: TrainConfig {
                learning_rate: Some(self.learning_rate),
                warmup_steps: self.warmup_steps,
                schedule: self.schedule,
                ..TrainConfig::new(self.steps)
            },
            eval: self.eval(),
            model: self.model,
        })
    }

    /// Returns the run's mixture, which does not depend on its length.
    ///
    /// # Errors
    /// As [`Recipe::run_config`].
    pub fn mixture(&self) -> Result<MixtureConfig, Error> {
        Ok(MixtureConfig {
            sequence_length: self.sequence_length,
            batch_size: self.batch_size,
            seed: self.seed,
            window_offset: WindowOffset::default(),
            shuffle_block: None,
            weight_unit: WeightUnit::default(),
            access: Access::default(),
            source: self.sources()?,
            stage: Vec::new(),
        })
    }

    fn sources(&self) -> Result<Vec<SourceConfig>, Error> {
        let source =
            |name: &str, corpus: &PathBuf, weight, max_tokens| -> Result<SourceConfig, Error> {
                let (name, corpus, weight) =
                    (name.to_owned(), corpus.clone(), Some(Weight::from_integer(weight)?));
                Ok(SourceConfig { name, corpus, weight, max_tokens, max_epochs: None })
            };
        let Some(target) = &self.target else {
            return Ok(vec![source(PRETRAINING, &self.pretraining, 1, None)?]);
        };
        let (target_weight, pretraining_weight) = self.inject.weights();
        let mut sources = vec![source(TARGET, target, target_weight, self.target_tokens)?];
        if pretraining_weight > 0 {
            sources.push(source(PRETRAINING, &self.pretraining, pretraining_weight, None)?);
        }
        Ok(sources)
    }

    fn eval(&self) -> EvalConfig {
        let target = self.target.iter().map(|corpus| (TARGET, corpus));
        let corpora = target.chain([(PRETRAINING, &self.pretraining)]);
        EvalConfig {
            every_steps: self.eval_every,
            sequences: self.eval_sequences,
            select: if self.target.is_some() { TARGET } else { PRETRAINING }.to_owned(),
            pretraining: self.target.is_some().then(|| PRETRAINING.to_owned()),
            samples: None,
            corpus: corpora
                .map(|(name, corpus)| EvalCorpus {
                    name: name.to_owned(),
                    corpus: corpus.clone(),
                    split: Split::Holdout,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(target: Option<&str>, inject: &str) -> Recipe {
        Recipe {
            model: ModelChoice::Init("base".into()),
            target: target.map(PathBuf::from),
            pretraining: "general".into(),
            inject: inject.parse().unwrap(),
            target_tokens: Some(1000),
            sequence_length: 8,
            batch_size: 2,
            steps: 3,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup_steps: 1,
            eval_every: 1,
            eval_sequences: 1,
            seed: 0,
        }
    }

    fn names(recipe: Recipe) -> (Vec<String>, Vec<String>, String) {
        let config = recipe.run_config().unwrap();
        let sources = config.mixture.source.into_iter().map(|source| source.name).collect();
        let evals = config.eval.corpus.into_iter().map(|corpus| corpus.name).collect();
        (sources, evals, config.eval.select)
    }

    #[test]
    fn both_losses_are_measured_whatever_is_mixed() {
        let both = vec![TARGET.to_owned(), PRETRAINING.to_owned()];
        assert_eq!(names(recipe(Some("t"), "1%")), (both.clone(), both.clone(), TARGET.to_owned()));
        assert_eq!(
            names(recipe(Some("t"), "0")),
            (both[..1].to_vec(), both.clone(), TARGET.to_owned())
        );
        let only = both[1..].to_vec();
        assert_eq!(names(recipe(None, "0")), (only.clone(), only, PRETRAINING.to_owned()));
    }
}
