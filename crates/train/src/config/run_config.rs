//! A run as a user writes it: RUN.toml.

use std::path::PathBuf;

use mixdown_base::quantity::field::{self, optional_count, optional_steps};
use mixdown_mixer::MixtureConfig;
use mixdown_shards::{Corpus, Split};
use serde::{Deserialize, Serialize};

use crate::config::compute::DeviceChoice;
use crate::config::compute::Precision;
use crate::config::compute::{ComputePath, PassOptions, Recompute};
use crate::config::lora::LoraConfig;
use crate::config::model_choice::ModelChoice;
use crate::error::Error;
use crate::evaluate::{Attention, EvaluationPart};
use crate::generate::samples::SamplesConfig;
use crate::optim::adamw::AdamWOptions;
use crate::optim::schedule::{LearningRate, Schedule};
use crate::optim::schedule::{adapter_rate, finetuning_rate};

/// The whole of a RUN.toml: `[model]`, `[mixture]`, `[train]` and `[eval]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The model to train.
    pub model: ModelChoice,
    /// The data sources and their shares.
    pub mixture: MixtureConfig,
    /// The steps, the learning rate and the optimizer.
    pub train: TrainConfig,
    /// The evaluations during the run.
    pub eval: EvalConfig,
}

/// `[train]`: steps, learning rate and optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The number of optimizer steps.
    #[serde(deserialize_with = "field::steps")]
    pub steps: u64,
    /// The highest learning rate. The default is 1e-3 for a fresh model, and for a loaded one what
    /// [`finetuning_rate`](crate::finetuning_rate) or [`adapter_rate`](crate::adapter_rate) gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The number of steps of the warm-up, in which the learning rate rises.
    #[serde(default, deserialize_with = "field::steps")]
    pub warmup_steps: u64,
    /// The learning-rate schedule after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// The number of steps of the decay of `schedule = "wsd"`; the default is a fifth of all steps.
    #[serde(default, deserialize_with = "optional_steps", skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u64>,
    /// The final learning rate as a share of the highest one; `constant` has none.
    #[serde(default = "defaults::final_learning_rate_share")]
    pub final_learning_rate_share: f64,
    /// The decoupled weight decay of matrices.
    #[serde(default = "defaults::weight_decay")]
    pub weight_decay: f64,
    /// AdamW's β₁: the decay of the gradient's first moment.
    #[serde(default = "defaults::beta1")]
    pub beta1: f64,
    /// AdamW's β₂: the decay of the gradient's second moment.
    #[serde(default = "defaults::beta2")]
    pub beta2: f64,
    /// AdamW's ε, which is added to the root of the second moment.
    #[serde(default = "defaults::epsilon")]
    pub epsilon: f64,
    /// The largest global gradient norm, to which gradients are clipped; `inf` for no clipping.
    #[serde(default = "defaults::clip")]
    pub clip: f64,
    /// Rows of a micro-batch: the rows that are computed at once, whose gradients are accumulated. The default is as
    /// many as have 1,024 tokens. It changes memory and speed, and the loss only by rounding.
    #[serde(default, deserialize_with = "optional_count", skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<u64>,
    /// Whether the backward pass computes each block again (activation checkpointing): less memory, more time.
    #[serde(default)]
    pub recompute: bool,
    /// The implementation that computes: `fast`, or `reference` to check it against.
    #[serde(default)]
    pub path: ComputePath,
    /// The device: `cpu`, `cuda` or `cuda:N` (docs/guide/gpu.md).
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: DeviceChoice,
    /// The number format of matrix products: `f32`, or on a GPU `bf16`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Whether attention stays within documents, whose positions then start at 0. The default is yes for packed rows
    /// and no for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separate_documents: Option<bool>,
    /// The number of checkpoints that are kept beside best/.
    #[serde(default = "defaults::keep_checkpoints", deserialize_with = "field::count")]
    pub keep_checkpoints: u64,
    /// The number of steps between two checkpoints. Each new best/ comes with a checkpoint as well.
    #[serde(default = "defaults::checkpoint_every", deserialize_with = "field::steps")]
    pub checkpoint_every: u64,
    /// The number of evaluations in a row without a lower `eval.select` loss after which the run ends.
    #[serde(default, deserialize_with = "optional_count", skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Frozen tensors: patterns of their names in model.safetensors, in which `*` matches any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The decay of an exponential moving average of the trained weights; the average is then evaluated and saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Low-rank adapters that are trained instead of the model's own weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// `[eval]`: which corpora are measured, when, and which chooses the best checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// The number of steps between two evaluations. There is always one before the first step and one after the last.
    #[serde(deserialize_with = "field::steps")]
    pub every_steps: u64,
    /// The number of sequences of each corpus.
    #[serde(deserialize_with = "field::count")]
    pub sequences: u64,
    /// The evaluation whose loss chooses best/; also the name of the target's source.
    #[serde(default = "defaults::select")]
    pub select: String,
    /// The evaluation that shows forgetting; also the name of the pretraining data's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretraining: Option<String>,
    /// Prompts that the model continues at each evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesConfig>,
    /// The corpora.
    pub corpus: Vec<EvalCorpus>,
}

/// One corpus to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalCorpus {
    /// Its name in every record.
    pub name: String,
    /// Its folder, relative to the description's own folder.
    pub corpus: PathBuf,
    /// Its part.
    #[serde(default = "defaults::split")]
    pub split: Split,
}

/// The default for the highest learning rate of a fresh model.
const FRESH_RATE: f64 = 1e-3;

/// Keys that older run files lack are left out at their defaults, so that the fingerprints of old runs stay.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The defaults of `[train]`.
mod defaults {
    use mixdown_shards::Split;

    pub(crate) fn final_learning_rate_share() -> f64 {
        0.1
    }
    pub(crate) fn weight_decay() -> f64 {
        0.1
    }
    pub(crate) fn beta1() -> f64 {
        0.9
    }
    pub(crate) fn beta2() -> f64 {
        0.95
    }
    pub(crate) fn epsilon() -> f64 {
        1e-8
    }
    pub(crate) fn clip() -> f64 {
        1.0
    }
    /// With two, a run can continue from the other one if the last is damaged.
    pub(crate) fn keep_checkpoints() -> u64 {
        2
    }
    pub(crate) fn checkpoint_every() -> u64 {
        100
    }
    pub(crate) fn select() -> String {
        "target".to_owned()
    }
    pub(crate) fn split() -> Split {
        Split::Holdout
    }
}

impl TrainConfig {
    /// Returns the defaults for `steps` steps.
    ///
    /// ```
    /// use mixdown_train::TrainConfig;
    ///
    /// let train = TrainConfig { patience: Some(3), ..TrainConfig::new(1_000) };
    /// assert_eq!((train.steps, train.keep_checkpoints), (1_000, 2));
    /// ```
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            learning_rate: None,
            warmup_steps: 0,
            schedule: Schedule::Cosine,
            decay_steps: None,
            final_learning_rate_share: defaults::final_learning_rate_share(),
            weight_decay: defaults::weight_decay(),
            beta1: defaults::beta1(),
            beta2: defaults::beta2(),
            epsilon: defaults::epsilon(),
            clip: defaults::clip(),
            micro_batch_size: None,
            recompute: false,
            path: ComputePath::Fast,
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
            separate_documents: None,
            keep_checkpoints: defaults::keep_checkpoints(),
            checkpoint_every: defaults::checkpoint_every(),
            patience: None,
            freeze: Vec::new(),
            ema: None,
            lora: None,
        }
    }

    /// Returns the range of attention in a run whose sources are `corpora`: that of `separate_documents`, else within
    /// documents if the rows of a corpus are packed.
    pub fn attention<'a>(&self, corpora: impl IntoIterator<Item = &'a Corpus>) -> Attention {
        match self.separate_documents {
            Some(true) => Attention::Document,
            Some(false) => Attention::Row,
            None => Attention::usual(corpora),
        }
    }

    /// Fills in the defaults that depend on the model, because run.toml records every value.
    pub(crate) fn complete(&mut self, model: &ModelChoice, parameters: u64) {
        let usual = match (model, &self.lora) {
            (ModelChoice::Fresh(_), _) => FRESH_RATE,
            (ModelChoice::Init(_), None) => finetuning_rate(parameters),
            (ModelChoice::Init(_), Some(_)) => adapter_rate(parameters),
        };
        self.learning_rate.get_or_insert(usual);
    }

    pub(crate) fn rate(&self) -> LearningRate {
        LearningRate {
            schedule: self.schedule,
            peak: self.learning_rate.unwrap_or(FRESH_RATE),
            final_share: self.final_learning_rate_share,
            warmup_steps: self.warmup_steps,
            decay_steps: self.decay_steps.unwrap_or(self.steps.div_ceil(5)),
            steps: self.steps,
        }
    }

    pub(crate) fn pass(&self) -> PassOptions {
        let recompute = if self.recompute { Recompute::Blocks } else { Recompute::Nothing };
        PassOptions {
            micro_batch_size: self.micro_batch_size,
            recompute,
            path: self.path,
            device: self.device,
            precision: self.precision,
        }
    }

    pub(crate) fn adamw(&self) -> AdamWOptions {
        AdamWOptions {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            clip: self.clip,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let counts = [
            ("steps", Some(self.steps)),
            ("checkpoint_every", Some(self.checkpoint_every)),
            ("keep_checkpoints", Some(self.keep_checkpoints)),
            ("patience", self.patience),
            ("micro_batch_size", self.micro_batch_size),
            ("decay_steps", self.decay_steps),
        ];
        for (field, got) in counts.into_iter().filter_map(|(field, got)| Some((field, got?))) {
            if got == 0 {
                return Err(Error::setting(&format!("train.{field}"), "at least 1", got));
            }
        }
        self.pass().check()?;
        self.check_schedule()?;
        self.check_trained()?;
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..1.0).contains(&value);
        let numbers = [
            (
                "learning_rate",
                self.learning_rate.unwrap_or(FRESH_RATE),
                "above 0",
                positive as fn(f64) -> bool,
            ),
            ("final_learning_rate_share", self.final_learning_rate_share, "0 to 1", |value| {
                (0.0..=1.0).contains(&value)
            }),
            ("weight_decay", self.weight_decay, "0 or more", |v| v >= 0.0 && v.is_finite()),
            ("beta1", self.beta1, "at least 0, below 1", share),
            ("beta2", self.beta2, "at least 0, below 1", share),
            ("epsilon", self.epsilon, "above 0", positive),
            ("clip", self.clip, "above 0, or inf for no clipping", |value| value > 0.0),
        ];
        match numbers.into_iter().find(|(_, got, _, fits)| !fits(*got)) {
            None => Ok(()),
            Some((field, got, expected, _)) => {
                Err(Error::setting(&format!("train.{field}"), format!("a number {expected}"), got))
            }
        }
    }
}

impl TrainConfig {
    /// Returns the settings of what is trained and averaged.
    fn check_trained(&self) -> Result<(), Error> {
        if let Some(ema) = self.ema.filter(|ema| !(*ema > 0.0 && *ema < 1.0)) {
            return Err(Error::setting("train.ema", "a number between 0 and 1", ema));
        }
        let Some(lora) = &self.lora else { return Ok(()) };
        if !self.freeze.is_empty() {
            let expected = "none beside train.lora, which freezes the whole model";
            return Err(Error::setting("train.freeze", expected, format!("{:?}", self.freeze)));
        }
        lora.check()
    }

    /// Checks that warm-up and decay fit the run and that every setting has an effect.
    fn check_schedule(&self) -> Result<(), Error> {
        if self.warmup_steps > self.steps {
            let expected = format!("at most {} (train.steps)", self.steps);
            return Err(Error::setting("train.warmup_steps", expected, self.warmup_steps));
        }
        let Some(decay_steps) = self.decay_steps else { return Ok(()) };
        if self.schedule != Schedule::Wsd {
            let expected = "schedule = \"wsd\", which alone has it";
            let got = format!("schedule = {:?}", self.schedule.name());
            return Err(Error::setting("train.decay_steps", expected, got));
        }
        let limit = self.steps - self.warmup_steps;
        if decay_steps > limit {
            let expected = format!("at most {limit} (steps less warmup_steps)");
            return Err(Error::setting("train.decay_steps", expected, decay_steps));
        }
        Ok(())
    }
}

impl EvalConfig {
    /// Returns which sequences of the corpus with that name count for its loss. For the corpus that chooses the best
    /// step, the reported loss comes from other sequences than the choice.
    ///
    /// ```
    /// use mixdown_train::{EvalConfig, EvaluationPart};
    ///
    /// let eval: EvalConfig = toml::from_str(
    ///     r#"
    ///     every_steps = 10
    ///     sequences = 64
    ///     [[corpus]]
    ///     name = "target"
    ///     corpus = "math"
    ///     "#,
    /// )?;
    /// assert_eq!(eval.part("target"), EvaluationPart::Halves);
    /// assert_eq!(eval.part("pretraining"), EvaluationPart::All);
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub fn part(&self, name: &str) -> EvaluationPart {
        if name == self.select { EvaluationPart::Halves } else { EvaluationPart::All }
    }

    fn check(&self) -> Result<(), Error> {
        for (field, got) in [("every_steps", self.every_steps), ("sequences", self.sequences)] {
            if got == 0 {
                return Err(Error::setting(&format!("eval.{field}"), "at least 1", got));
            }
        }
        let names: Vec<&str> = self.corpus.iter().map(|corpus| corpus.name.as_str()).collect();
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || names[..index].contains(name) {
                let got = format!("{name:?} twice or empty");
                return Err(Error::setting("eval.corpus.name", "unique names", got));
            }
        }
        let chosen = [("select", Some(&self.select)), ("pretraining", self.pretraining.as_ref())];
        for (field, name) in chosen {
            if let Some(name) = name.filter(|name| !names.contains(&name.as_str())) {
                let expected = format!("one of the eval.corpus names {names:?}");
                let got = format!("{name:?}");
                return Err(Error::setting(&format!("eval.{field}"), expected, got));
            }
        }
        self.samples.as_ref().map_or(Ok(()), SamplesConfig::check)
    }
}

impl RunConfig {
    /// Reads the text of a RUN.toml.
    ///
    /// # Errors
    /// The text is not TOML, a key is unknown or missing, or a value has a wrong type; the error names line and column.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use mixdown_train::RunConfig;
    ///
    /// let config = RunConfig::parse(
    ///     r#"
    ///     [model]
    ///     vocab_size = 40
    ///     hidden_size = 8
    ///     intermediate_size = 12
    ///     layers = 1
    ///     heads = 2
    ///     [mixture]
    ///     sequence_length = 8
    ///     batch_size = 2
    ///     seed = 5
    ///     [[mixture.source]]
    ///     name = "target"
    ///     corpus = "math"
    ///     weight = "100%"
    ///     [train]
    ///     steps = 3
    ///     [eval]
    ///     every_steps = 2
    ///     sequences = 4
    ///     [[eval.corpus]]
    ///     name = "target"
    ///     corpus = "math"
    ///     "#,
    /// )?;
    /// config.check()?;
    /// assert_eq!((config.train.steps, config.train.checkpoint_every), (3, 100));
    /// assert!(RunConfig::parse("steps = 3").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let message = error.message().replace('\n', " ");
            Error::setting(&format!("run description, line {line}"), "a RUN.toml", message)
        })
    }

    /// Checks the settings that can be checked without a file.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), Error> {
        self.train.check()?;
        if let (Some(_), ModelChoice::Fresh(_)) = (&self.train.lora, &self.model) {
            let expected = "model.init, whose weights the adapters go with";
            return Err(Error::setting("train.lora", expected, "a fresh model"));
        }
        self.eval.check()
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::{RunConfig, TrainConfig};
    use crate::config::model_choice::{FreshFamily, ModelChoice};

    const TEXT: &str = r#"
        [model]
        vocab_size = 40
        hidden_size = 8
        layers = 2
        heads = 2
        [mixture]
        sequence_length = 8
        batch_size = 4
        [[mixture.source]]
        name = "target"
        corpus = "a"
        weight = "99%"
        [[mixture.source]]
        name = "pretraining"
        corpus = "b"
        weight = "1%"
        [train]
        steps = 10
        [eval]
        every_steps = 5
        sequences = 3
        [[eval.corpus]]
        name = "target"
        corpus = "a"
    "#;

    #[test]
    fn defaults_stand_in_and_all_comes_back() {
        let config = RunConfig::parse(TEXT).unwrap();
        config.check().unwrap();
        assert_eq!(config.train, TrainConfig::new(10));
        assert_eq!(config.eval.select, "target");
        let ModelChoice::Fresh(fresh) = &config.model else { panic!() };
        assert_eq!((fresh.intermediate_size, fresh.seed), (32, 0));
        assert_eq!(fresh.family, FreshFamily::Llama);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(RunConfig::parse(&text).unwrap(), config);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (from, to, words) in [
            ("steps = 10", "steps = 0", "train.steps: expected at least 1, got 0"),
            ("steps = 10", "steps = 1\nclip = 0.0", "train.clip: expected a number above 0"),
            (
                "steps = 10",
                "steps = 1\nbeta1 = 1.0",
                "train.beta1: expected a number at least 0, below 1",
            ),
            ("steps = 10", "steps = 1\nlearning_rate = nan", "train.learning_rate"),
            ("steps = 10", "steps = 1\npatience = 0", "train.patience"),
            ("steps = 10", "steps = 1\nwarmup_steps = 2", "train.warmup_steps: expected at most 1"),
            (
                "steps = 10",
                "steps = 9\ndecay_steps = 2",
                "which alone has it, got schedule = \"cos",
            ),
            (
                "steps = 10",
                "steps = 9\nwarmup_steps = 3\nschedule = \"wsd\"\ndecay_steps = 7",
                "train.decay_steps: expected at most 6",
            ),
            ("steps = 10", "steps = 1\nmicro_batch_size = 0", "train.micro_batch_size"),
            ("steps = 10", "steps = 1\nkeep_checkpoints = 0", "train.keep_checkpoints"),
            ("steps = 10", "steps = 1\nema = 1.0", "train.ema: expected a number between 0 and 1"),
            ("steps = 10", "steps = 1\nema = 0.0", "train.ema: expected a number between 0 and 1"),
            ("steps = 10", "steps = 1\nlora.rank = 4", "train.lora: expected model.init"),
            ("steps = 10", "steps = 1\nlora.rank = 0", "train.lora.rank: expected at least 1"),
            (
                "steps = 10",
                "steps = 1\nfreeze = [\"a\"]\n[train.lora]",
                "train.freeze: expected none beside train.lora",
            ),
            ("steps = 10", "steps = 1\nlora.rang = 4", "unknown field `rang`"),
            ("steps = 10", "stepps = 10", "unknown field `stepps`"),
            ("every_steps = 5", "every_steps = 0", "eval.every_steps: expected at least 1"),
            ("every_steps = 5", "every_steps = 5\nselect = \"x\"", "eval.select: expected one of"),
            ("every_steps = 5", "every_steps = 5\npretraining = \"x\"", "eval.pretraining"),
            (
                "layers = 2",
                "init = \"m\"",
                "expected either init or sizes, got init and hidden_size",
            ),
            ("layers = 2", "", "missing layers (or init = \"folder\""),
        ] {
            let result =
                RunConfig::parse(&TEXT.replace(from, to)).and_then(|config| config.check());
            let error = result.expect_err(to);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
