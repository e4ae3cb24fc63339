//! `mixdown train`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use mixdown_experiments::{
    Injection, Override, Recipe, Training, apply_overrides, base_folder, finetuning_length,
    read_run, render_run, run_base,
};
use mixdown_mixer::{Mixer, Mixture, RunLength};
use mixdown_shards::{Access, Corpus};
use mixdown_train::{
    AllowedChanges, DeviceChoice, FreshFamily, FreshModel, LoraConfig, LoraPreset, LoraTargets,
    ModelChoice, ModelConfig, ModelPlace, Preview, RunConfig, Schedule, World, adapter_rate,
    finetuning_rate,
};

use crate::commands::Context;
use crate::commands::corpora::verify::{
    VerifyCorporaArgs, check_corpora, warn_of_missing_sketches,
};
use crate::commands::training::{train_preview, watch};
use crate::error::Error;
use crate::runs::training::{self, Evaluations, describe, run_name};
use crate::runs::{model_folder, processes};
use crate::terminal::args::ComputeArgs;

/// The headings of options in `--help`.
const DATA: &str = "Data";
const MODEL: &str = "Model";
const TRAINING: &str = "Training";
const EVALUATION: &str = "Evaluation";
const MACHINE: &str = "Machine";

/// The number of parameters that a template without a model assumes.
const TEMPLATE_PARAMETERS: u64 = 100_000_000;

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  Pretrain a small model:
    mixdown train --pretraining corpora/general --steps 500 --out base
  Finetune it with 1 % of pretraining data:
    mixdown train --init base/best --target corpora/math --pretraining corpora/general --inject 1% \
--target-tokens 50k --steps 200 --out runs/math-1
  Show what a GPT-2-like model of 41 million parameters would need, without training it:
    mixdown train --pretraining corpora/general --size 41M --steps '1 epoch of pretraining' --out base --dry-run
  Train adapters of all linear layers instead of all weights:
    mixdown train --init base/best --target corpora/math --pretraining corpora/general --lora-rank 8 \
--lora-targets all-linear --out runs/math-lora
  Write a description with all settings, then train it with one of them changed:
    mixdown train --init base/best --target corpora/math --pretraining corpora/general --print-config > run.toml
    mixdown train run.toml --set train.learning_rate=1e-4 --out runs/math-2
  Repeat a run:
    mixdown train runs/math-1/run.toml --out runs/again
  Train on all eight GPUs of this machine:
    mixdown train run.toml --gpus 8 --out runs/math-3

A stopped run continues from its last checkpoint when the same command is given again.")]
pub struct TrainArgs {
    /// Run description in TOML, instead of the flags for model, data and training.
    #[arg(conflicts_with_all = [
        "pretraining", "target", "inject", "target_tokens", "init", "size", "hidden_size", "layers",
        "heads", "sequence_length", "batch_size", "steps", "learning_rate", "schedule", "eval_every",
        "eval_sequences", "seed", "lora_rank", "lora_targets", "device", "precision",
    ])]
    run: Option<PathBuf>,
    /// Run folder.
    #[arg(long, value_name = "DIR", required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Change one setting of the description; may be repeated. Entries of lists are addressed by name or number:
    /// mixture.source.target.weight=95%.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Write the run's description, with every setting and its meaning, to standard output without training.
    #[arg(long, conflicts_with_all = ["dry_run", "watch"])]
    print_config: bool,
    /// Pretraining corpus: the one that the model was, or will be, pretrained on.
    #[arg(long, value_name = "CORPUS", required_unless_present_any = ["run", "print_config"], help_heading = DATA)]
    pretraining: Option<PathBuf>,
    /// Target corpus to finetune on; without it the run pretrains.
    #[arg(long, value_name = "CORPUS", help_heading = DATA)]
    target: Option<PathBuf>,
    /// Share p of pretraining data in finetuning.
    #[arg(long, default_value = "1%", value_name = "SHARE", requires = "target", help_heading = DATA)]
    inject: Injection,
    /// Number of unique target tokens to use [default: all].
    #[arg(long, value_name = "D", requires = "target", help_heading = DATA)]
    target_tokens: Option<u64>,
    /// Model to finetune: a Hugging Face folder, or a run's folder for its best/; without it the run trains a fresh
    /// model of the sizes below.
    #[arg(long, value_name = "MODEL", help_heading = MODEL)]
    init: Option<PathBuf>,
    /// Size of a fresh GPT-2-like model, instead of width, layers and heads.
    #[arg(
        long,
        help_heading = MODEL,
        value_parser = PossibleValuesParser::new(FreshModel::sizes()),
        conflicts_with_all = ["init", "hidden_size", "layers", "heads"]
    )]
    size: Option<String>,
    /// Width of a fresh Llama-like model.
    #[arg(long, default_value_t = 128, value_name = "N", conflicts_with = "init", help_heading = MODEL)]
    hidden_size: u64,
    /// Decoder blocks of a fresh model.
    #[arg(long, default_value_t = 4, value_name = "N", conflicts_with = "init", help_heading = MODEL)]
    layers: u64,
    /// Attention heads of a fresh model.
    #[arg(long, default_value_t = 4, value_name = "N", conflicts_with = "init", help_heading = MODEL)]
    heads: u64,
    /// Tokens per sequence [default: 128; with --init twice the mean document of the target, a power of two from 128
    /// to 1024 within the model's positions].
    #[arg(long, value_name = "T", help_heading = TRAINING)]
    sequence_length: Option<u64>,
    /// Sequences per batch.
    #[arg(long, value_name = "B", default_value_t = 16, help_heading = TRAINING)]
    batch_size: u64,
    /// Length of the run: optimizer steps, or a length such as '10M tokens' or '2 epochs of target'.
    #[arg(long, default_value = "200", value_name = "LENGTH", help_heading = TRAINING)]
    steps: RunLength,
    /// Peak learning rate (AdamW, warm-up over the first 5 % of the steps) [default: 1e-3; with --init by the model's
    /// parameters: 3e-4 below 10M, 1e-4 below 50M, 5e-5 below 500M, 2e-5 below 3B, then 1e-5; with --lora-rank ten
    /// times that].
    #[arg(long, value_name = "RATE", help_heading = TRAINING)]
    learning_rate: Option<f64>,
    /// Learning-rate schedule after the warm-up; wsd falls in the last fifth of the steps.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = ScheduleName::Cosine, help_heading = TRAINING)]
    schedule: ScheduleName,
    /// Steps between two evaluations.
    #[arg(long, value_name = "STEPS", default_value_t = 20, help_heading = EVALUATION)]
    eval_every: u64,
    /// Held-out sequences per corpus in an evaluation.
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = EVALUATION)]
    eval_sequences: u64,
    /// Random seed of a fresh model's weights and of the order of the data.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = TRAINING)]
    seed: u64,
    /// Train LoRA adapters of this rank (alpha 16) instead of all weights.
    #[arg(long, value_name = "RANK", requires = "init", help_heading = TRAINING)]
    lora_rank: Option<u64>,
    /// Matrices with adapters: all-linear, or names separated by commas [default: PEFT's choice].
    #[arg(long, value_name = "NAMES", requires = "lora_rank", help_heading = TRAINING)]
    lora_targets: Option<String>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Divide each batch among N processes on this machine; with --device cuda each gets one GPU, on the CPU its
    /// share of the cores. 1 ignores the variables of torchrun and Slurm.
    #[arg(long, value_name = "N", help_heading = MACHINE)]
    processes: Option<NonZeroU32>,
    /// Same as --processes N --device cuda; also overrides the device that a RUN.toml names.
    #[arg(long, value_name = "N", conflicts_with = "processes", help_heading = MACHINE)]
    gpus: Option<NonZeroU32>,
    /// Continue although the mixture has changed (other stages, more sources) from a step that the run has not
    /// reached.
    #[arg(long)]
    allow_change: bool,
    /// Show the run's curves in the terminal while it trains, as 'mixdown watch' does; q closes them.
    #[arg(long, conflicts_with_all = ["processes", "gpus"])]
    watch: bool,
    #[command(flatten)]
    verify: VerifyCorporaArgs,
    /// Show what the run would do and need, without training.
    #[arg(long)]
    dry_run: bool,
}

/// The schedules, as the command line spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScheduleName {
    Cosine,
    Linear,
    Constant,
    Wsd,
}

impl From<ScheduleName> for Schedule {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Cosine => Self::Cosine,
            ScheduleName::Linear => Self::Linear,
            ScheduleName::Constant => Self::Constant,
            ScheduleName::Wsd => Self::Wsd,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A run that cannot be configured, a folder that contains something else, NaN losses, an interruption.
pub fn run(arguments: TrainArgs, context: Context) -> Result<(), Error> {
    // clap requires it whenever a run is trained.
    let out = arguments.out.clone().unwrap_or_default();
    let name = run_name(&out.display().to_string());
    let changes =
        if arguments.allow_change { AllowedChanges::Stages } else { AllowedChanges::None };
    let (dry_run, verify) = (arguments.dry_run, arguments.verify);
    let watch = arguments.watch;
    let run = arguments.run.clone();
    let (gpus, count) =
        (arguments.gpus, arguments.gpus.or(arguments.processes).map(NonZeroU32::get));
    let (overrides, print_config) = (arguments.set.clone(), arguments.print_config);
    let (mut config, base) = match &run {
        Some(path) => (read_run(path, &overrides)?, base_folder(path)),
        None => (with_overrides(arguments.run_config()?, &overrides)?, Path::new("")),
    };
    if gpus.is_some() {
        config.train.device = DeviceChoice::Cuda(0);
    }
    if print_config {
        let text = render_run(&config)?;
        return context.output.print(&config, |_| text.trim_end().to_owned());
    }
    if dry_run {
        say_best_of_run(&config, base)?;
        let preview = Preview::new(&config, run_base(base), &out)?;
        return context.output.print(&preview, train_preview::describe);
    }
    let Some(world) = processes::world(count)? else {
        let count = count.unwrap_or(1);
        World::new(0, count)?.check(&config)?;
        return processes::launch(count, context.stop);
    };
    if world.is_main_process() {
        say_best_of_run(&config, base)?;
    }
    if world.is_main_process() {
        let sources = config.mixture.source.iter().map(|source| source.corpus.as_path());
        let measured = config.eval.corpus.iter().map(|eval| eval.corpus.as_path());
        let corpora = sources.chain(measured);
        check_corpora(verify, corpora.clone(), base, context)?;
        warn_of_missing_sketches("train", corpora, base);
    }
    let view = (watch && world.is_main_process()).then(|| watch::beside(&out));
    let training = Training { config: &config, base, out: &out, name, changes, world };
    let trained = training::train(training, Evaluations::Printed, context);
    drop(view);
    match world.is_main_process() {
        true => context.output.print(&trained?, describe),
        false => trained.map(|_| ()).map_err(|error| processes::of_rank(error, world)),
    }
}

impl TrainArgs {
    fn lora(&self) -> Option<LoraConfig> {
        let rank = self.lora_rank?;
        let names = |names: &str| names.split(',').map(|name| name.trim().to_owned()).collect();
        let targets = self.lora_targets.as_deref().map(|targets| match targets {
            "all-linear" => LoraTargets::Preset(LoraPreset::AllLinear),
            targets => LoraTargets::Names(names(targets)),
        });
        Some(LoraConfig { rank, targets, ..LoraConfig::default() })
    }

    /// The sequence length and the peak learning rate: those of the options, or else those that fit the model.
    fn defaults(&self) -> Result<(u64, f64), Error> {
        let Some(init) = &self.init else {
            return Ok((self.sequence_length.unwrap_or(128), self.learning_rate.unwrap_or(1e-3)));
        };
        let model = ModelConfig::read(&ModelPlace::find(Path::new(""), init)?.folder)?;
        let rate = if self.lora_rank.is_some() { adapter_rate } else { finetuning_rate };
        let learning_rate = self.learning_rate.unwrap_or_else(|| rate(model.parameters()));
        let corpora: Vec<&Path> =
            self.target.iter().chain(&self.pretraining).map(PathBuf::as_path).collect();
        let length = match self.sequence_length {
            Some(length) => length,
            None => finetuning_length(&model, &corpora)?,
        };
        Ok((length, learning_rate))
    }

    fn run_config(mut self) -> Result<RunConfig, Error> {
        let lora = self.lora();
        let is_template = self.print_config && self.pretraining.is_none();
        if is_template && self.init.is_none() {
            self.learning_rate.get_or_insert_with(|| finetuning_rate(TEMPLATE_PARAMETERS));
        }
        let (sequence_length, learning_rate) = self.defaults()?;
        if is_template {
            // A template for finetuning, in which the user fills in the names.
            self.pretraining = Some("corpora/pretraining".into());
            self.target.get_or_insert_with(|| "corpora/target".into());
            self.init.get_or_insert_with(|| "base/best".into());
        }
        let pretraining = self.pretraining.unwrap_or_default();
        let model = match self.init {
            Some(init) => ModelChoice::Init(init),
            None => {
                let vocab_size = Corpus::open(&pretraining, Access::Map)?.manifest().vocab_size;
                let family = FreshFamily::Llama;
                let named =
                    self.size.and_then(|size| FreshModel::of_size(&size, vocab_size, self.seed));
                ModelChoice::Fresh(named.unwrap_or(FreshModel {
                    family,
                    vocab_size,
                    hidden_size: self.hidden_size,
                    intermediate_size: family.usual_intermediate_size(self.hidden_size),
                    layers: self.layers,
                    heads: self.heads,
                    seed: self.seed,
                }))
            }
        };
        let recipe = Recipe {
            model,
            target: self.target,
            pretraining,
            inject: self.inject,
            target_tokens: self.target_tokens,
            sequence_length,
            batch_size: self.batch_size,
            steps: 0,
            learning_rate,
            schedule: self.schedule.into(),
            warmup_steps: 0,
            eval_every: self.eval_every,
            eval_sequences: self.eval_sequences,
            seed: self.seed,
        };
        let steps = match self.steps {
            RunLength::Steps(steps) => steps,
            length => {
                let mixture = Mixture::open_lazily(&recipe.mixture()?, Path::new(""))?;
                Mixer::new(mixture)?.steps(&length)?
            }
        };
        let mut config = Recipe { steps, warmup_steps: steps / 20, ..recipe }.run_config()?;
        config.train.lora = lora;
        (config.train.device, config.train.precision) =
            (self.compute.device, self.compute.precision);
        Ok(config)
    }
}

/// Prints a message if the run starts from best/ of another run whose folder was given.
fn say_best_of_run(config: &RunConfig, base: &Path) -> Result<(), Error> {
    match &config.model {
        ModelChoice::Init(init) => model_folder(base, init).map(|_| ()),
        ModelChoice::Fresh(_) => Ok(()),
    }
}

/// Applies the changed settings to a run that was described by options.
fn with_overrides(config: RunConfig, overrides: &[Override]) -> Result<RunConfig, Error> {
    if overrides.is_empty() {
        return Ok(config);
    }
    let refused = |error: toml::ser::Error| Error::usage(format!("the run: {error}"), "");
    Ok(apply_overrides("the run", &toml::Table::try_from(&config).map_err(refused)?, overrides)?)
}
