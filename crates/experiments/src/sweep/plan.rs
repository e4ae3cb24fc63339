//! The plan of a sweep: its settings as a list of base models and a list of runs.

use std::path::{Path, PathBuf};

use mixdown_mixer::{Mixer, Mixture, RunLength};
use mixdown_runs::Recipe as RunRecipe;
use mixdown_shards::{Access, Corpus, Fingerprint, Split};
use mixdown_train::{FreshFamily, FreshModel, ModelChoice, RunConfig, Schedule, TrainConfig};

use super::fingerprints::{Fingerprints, base_fingerprint, run_fingerprint};
use super::names::run_id;
use super::settings::{DomainSettings, ModelSettings, RunSettings, SweepConfig, setting};
use crate::error::Error;
use crate::runs::injection::Injection;
use crate::runs::recipe::{Recipe, TARGET};

/// The base models and runs of a sweep in the order in which they are done.
#[derive(Debug)]
pub struct SweepPlan {
    /// The base models.
    pub bases: Vec<BasePlan>,
    /// The runs.
    pub runs: Vec<RunPlan>,
}

/// A base model of a sweep.
#[derive(Debug)]
pub struct BasePlan {
    /// The name of the base model.
    pub name: String,
    /// Where it comes from.
    pub origin: BaseOrigin,
}

/// Where a base model comes from.
#[derive(Debug)]
pub enum BaseOrigin {
    /// An existing folder, with the number of tokens that it was pretrained on, if that is known.
    Given(PathBuf, Option<u64>),
    /// A pretraining run of the sweep.
    Pretrained(Box<RunConfig>),
}

/// One finetuning run.
#[derive(Debug)]
pub struct RunPlan {
    /// Its unique name, which is also that of its folder.
    pub run_id: String,
    /// The index of its base model in the plan.
    pub base: usize,
    /// The domain's name.
    pub domain: String,
    /// D: the unique targets of the run, those of the complete sequences of an epoch.
    pub target_tokens: u64,
    /// p.
    pub inject: Injection,
    /// Seed of the order.
    pub seed: u64,
    /// A hash of the data and all settings that change numbers.
    pub fingerprint: Fingerprint,
    /// The configuration of the trainer. The path of a base model that the sweep makes is that of its future folder.
    pub config: RunConfig,
}

impl RunPlan {
    /// Returns the settings of the training that the row of the run will record.
    pub fn recipe(&self) -> RunRecipe {
        let (train, mixture) = (&self.config.train, &self.config.mixture);
        RunRecipe {
            p: self.inject.share(),
            target_tokens: self.target_tokens,
            learning_rate: train.learning_rate,
            schedule: Some(train.schedule.name().to_owned()),
            horizon_steps: Some(train.steps),
            warmup_steps: Some(train.warmup_steps),
            batch_tokens: Some(mixture.batch_size.saturating_mul(mixture.sequence_length)),
            sequence_length: Some(mixture.sequence_length),
            weight_decay: Some(train.weight_decay),
            ..RunRecipe::default()
        }
    }
}

/// A run that the settings ask for, as far as it is known without the data.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Its unique name.
    pub run_id: String,
    /// D: the requested target tokens.
    pub target_tokens: u64,
    /// p: the share of pretraining data.
    pub inject: Injection,
    /// The seed of the order of the data.
    pub seed: u64,
}

/// Returns the runs of `settings` in the order in which they are done; no corpus is opened.
///
/// # Errors
/// A single run of a model or domain that is not in the lists.
pub fn runs_of(settings: &SweepConfig) -> Result<Vec<PlannedRun>, Error> {
    let mut runs: Vec<PlannedRun> = Vec::new();
    for point in points(settings)? {
        let GridPoint { target_tokens, inject, seed, .. } = point;
        let coordinates = (target_tokens, inject, seed);
        let run_id = run_id(&point.domain.name, &point.model.name, coordinates);
        if runs.iter().all(|run| run.run_id != run_id) {
            runs.push(PlannedRun { run_id, target_tokens, inject, seed });
        }
    }
    Ok(runs)
}

/// A run by its coordinates.
struct GridPoint<'a> {
    base: usize,
    model: &'a ModelSettings,
    domain: &'a DomainSettings,
    target_tokens: u64,
    inject: Injection,
    seed: u64,
}

/// Returns the folder with the best weights of a base model, inside that of the sweep.
pub fn base_weights(out: &Path, name: &str) -> PathBuf {
    base_folder(out, name).join("best")
}

/// Returns the folder of the run that makes a base model.
pub fn base_folder(out: &Path, name: &str) -> PathBuf {
    out.join("bases").join(name)
}

impl SweepPlan {
    /// Makes the plan of `settings`, whose paths are absolute, in the folder `out`.
    ///
    /// # Errors
    /// Corpora that cannot be opened or have fewer tokens than a run needs, sizes that no model has,
    /// settings that no run can have, two runs of one id.
    pub fn new(
        settings: &SweepConfig,
        fingerprints: &Fingerprints,
        out: &Path,
    ) -> Result<Self, Error> {
        let bases = settings.model.iter().map(|model| base(settings, model));
        let bases = bases.collect::<Result<Vec<_>, Error>>()?;
        check_lengths(settings)?;
        let mut runs: Vec<RunPlan> = Vec::new();
        for point in points(settings)? {
            let run = run(settings, fingerprints, &point, out)?;
            match runs.iter().find(|other| other.run_id == run.run_id) {
                None => runs.push(run),
                Some(other) if other.fingerprint == run.fingerprint => {}
                Some(_) => {
                    let expected = "names of domains and models that give each run its own id";
                    return Err(setting("domain.name and model.name", expected, run.run_id));
                }
            }
        }
        Ok(Self { bases, runs })
    }
}

/// Returns the grid and the single runs, small models first, so that first results come early.
fn points(settings: &SweepConfig) -> Result<Vec<GridPoint<'_>>, Error> {
    let mut points = Vec::new();
    for (base, model) in settings.model.iter().enumerate() {
        for domain in &settings.domain {
            for &target_tokens in &settings.target_tokens {
                for &inject in &settings.p {
                    let seeds = settings.seeds.iter();
                    points.extend(seeds.map(|&seed| GridPoint {
                        base,
                        model,
                        domain,
                        target_tokens,
                        inject,
                        seed,
                    }));
                }
            }
        }
    }
    for run in &settings.run {
        points.push(point(settings, run)?);
    }
    // The sort is stable: within a model the runs keep the order of the settings.
    points.sort_by_key(|point| point.base);
    Ok(points)
}

fn point<'a>(settings: &'a SweepConfig, run: &RunSettings) -> Result<GridPoint<'a>, Error> {
    let unknown = |field: &str, name: &String| setting(field, "a name of the list above", name);
    let base = settings.model.iter().position(|model| model.name == run.model);
    let base = base.ok_or_else(|| unknown("run.model", &run.model))?;
    let domain = settings.domain.iter().find(|domain| domain.name == run.domain);
    Ok(GridPoint {
        base,
        model: &settings.model[base],
        domain: domain.ok_or_else(|| unknown("run.domain", &run.domain))?,
        target_tokens: run.target_tokens,
        inject: run.p,
        seed: run.seed,
    })
}

/// Refuses runs that ask for more target tokens than the corpus has.
fn check_lengths(settings: &SweepConfig) -> Result<(), Error> {
    for domain in &settings.domain {
        let there = Corpus::open_lazily(&domain.corpus, Access::Map)?.tokens(Split::Train);
        let own = settings.run.iter().filter(|run| run.domain == domain.name);
        let asked = own.map(|run| run.target_tokens).chain(settings.target_tokens.iter().copied());
        let Some(most) = asked.max().filter(|most| *most > there) else { continue };
        let field = format!("target_tokens of domain {}", domain.name);
        return Err(setting(&field, &format!("at most {there}, those of its training part"), most));
    }
    Ok(())
}

fn base(settings: &SweepConfig, model: &ModelSettings) -> Result<BasePlan, Error> {
    let name = model.name.clone();
    let Some(folder) = &model.init else {
        let config = pretraining(settings, model)?;
        config.check()?;
        return Ok(BasePlan { name, origin: BaseOrigin::Pretrained(Box::new(config)) });
    };
    Ok(BasePlan { name, origin: BaseOrigin::Given(folder.clone(), model.tokens) })
}

fn fresh_model(settings: &SweepConfig, model: &ModelSettings) -> Result<FreshModel, Error> {
    let vocab_size = Corpus::open_lazily(&settings.pretraining, Access::Map)?.manifest().vocab_size;
    let seed = model.seed.unwrap_or(0);
    let field = |name: &str| format!("model {}: {name}", model.name);
    if let Some(size) = &model.size {
        let names = FreshModel::sizes().collect::<Vec<_>>().join(", ");
        return FreshModel::of_size(size, vocab_size, seed)
            .ok_or_else(|| setting(&field("size"), &format!("one of {names}"), size));
    }
    let family = model.family.unwrap_or(FreshFamily::Llama);
    let given = |name, value: Option<u64>| {
        value.ok_or_else(|| setting(&field(name), "a number above 0", "none"))
    };
    let hidden_size = given("hidden_size", model.hidden_size)?;
    let usual = family.usual_intermediate_size(hidden_size);
    Ok(FreshModel {
        family,
        vocab_size,
        hidden_size,
        intermediate_size: model.intermediate_size.unwrap_or(usual),
        layers: given("layers", model.layers)?,
        heads: given("heads", model.heads)?,
        seed,
    })
}

/// Returns the configuration of the run that makes a base model.
fn pretraining(settings: &SweepConfig, model: &ModelSettings) -> Result<RunConfig, Error> {
    let (train, pretrain) = (&settings.train, &settings.pretrain);
    let batch_size = pretrain.batch_size.unwrap_or(train.batch_size);
    let batch_tokens = batch_size.saturating_mul(train.sequence_length).max(1);
    let steps = model.tokens.unwrap_or(0).div_ceil(batch_tokens);
    let seed = model.seed.unwrap_or(0);
    let fresh = ModelChoice::Fresh(fresh_model(settings, model)?);
    let mut config = Recipe {
        model: fresh,
        target: None,
        pretraining: settings.pretraining.clone(),
        inject: Injection::NONE,
        target_tokens: None,
        sequence_length: train.sequence_length,
        batch_size,
        steps,
        learning_rate: model.learning_rate.or(pretrain.learning_rate).unwrap_or(1e-3),
        schedule: pretrain.schedule.unwrap_or(Schedule::Cosine),
        warmup_steps: pretrain.warmup_steps.unwrap_or(steps / 20),
        eval_every: steps.div_ceil(pretrain.evaluations.unwrap_or(10).max(1)).max(1),
        eval_sequences: settings.eval.sequences,
        seed,
    }
    .run_config()?;
    let own = &train.trainer;
    config.train = TrainConfig {
        weight_decay: pretrain.weight_decay.unwrap_or(own.weight_decay),
        checkpoint_every: pretrain.checkpoint_every.unwrap_or(own.checkpoint_every),
        // Settings that apply only to finetuning are replaced: its schedule and end, and which weights it trains.
        steps: config.train.steps,
        learning_rate: config.train.learning_rate,
        schedule: config.train.schedule,
        warmup_steps: config.train.warmup_steps,
        decay_steps: config.train.decay_steps,
        final_learning_rate_share: config.train.final_learning_rate_share,
        patience: None,
        freeze: Vec::new(),
        ema: None,
        lora: None,
        ..own.clone()
    };
    Ok(config)
}

fn run(
    settings: &SweepConfig,
    fingerprints: &Fingerprints,
    point: &GridPoint<'_>,
    out: &Path,
) -> Result<RunPlan, Error> {
    let (config, target_tokens) = finetuning(settings, point, out)?;
    config.check()?;
    let base = base_fingerprint(settings, fingerprints, point.model)?;
    let coordinates = (point.target_tokens, point.inject, point.seed);
    let domain = fingerprints.domain(&point.domain.name)?;
    let fingerprint = run_fingerprint(settings, fingerprints, base, domain, coordinates)?;
    Ok(RunPlan {
        run_id: run_id(&point.domain.name, &point.model.name, coordinates),
        base: point.base,
        domain: point.domain.name.clone(),
        target_tokens,
        inject: point.inject,
        seed: point.seed,
        fingerprint,
        config,
    })
}

/// Returns the configuration of the run that finetunes a base model to the minimum of the target's validation loss,
/// with its D.
fn finetuning(
    settings: &SweepConfig,
    point: &GridPoint<'_>,
    out: &Path,
) -> Result<(RunConfig, u64), Error> {
    let train = &settings.train;
    let weights = match &point.model.init {
        Some(folder) => folder.clone(),
        None => base_weights(out, &point.model.name),
    };
    let mut recipe = Recipe {
        model: ModelChoice::Init(weights),
        target: Some(point.domain.corpus.clone()),
        pretraining: settings.pretraining.clone(),
        inject: point.inject,
        target_tokens: Some(point.target_tokens),
        sequence_length: train.sequence_length,
        batch_size: train.batch_size,
        steps: 0,
        learning_rate: train.trainer.learning_rate.unwrap_or(1e-3),
        schedule: train.trainer.schedule,
        warmup_steps: train.trainer.warmup_steps,
        eval_every: 1,
        eval_sequences: settings.eval.sequences,
        seed: point.seed,
    };
    let mixer = Mixer::new(Mixture::open_lazily(&recipe.mixture()?, Path::new(""))?)?;
    let steps_of =
        |epochs: u64| mixer.steps(&RunLength::Epochs { epochs, source: Some(TARGET.to_owned()) });
    recipe.steps = steps_of(train.epochs)?;
    recipe.eval_every = steps_of(1)?.div_ceil(settings.eval.per_epoch).max(1);
    let mut config = recipe.run_config()?;
    config.train = TrainConfig { steps: config.train.steps, ..train.trainer.clone() };
    let sequences = mixer.mixture().sequences(0).unwrap_or(0);
    Ok((config, sequences.saturating_mul(train.sequence_length)))
}
