//! `mixdown train`.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use mixdown_mixer::{Mixer, Mixture, RunLength};
use mixdown_runs::{SampleRecord, Summary};
use mixdown_shards::{Access, Corpus};
use mixdown_train::{
    Changes, DeviceChoice, FreshFamily, FreshModel, LoraConfig, LoraPreset, LoraTargets,
    ModelChoice, ModelConfig, ModelPlace, Preview, Progress, RunConfig, RunName, Schedule, Trainer,
    World, adapter_rate, finetuning_rate,
};

use crate::commands::Context;
use crate::commands::compute_args::ComputeArgs;
use crate::commands::eval::eval_table;
use crate::commands::preview;
use crate::configuration::{base_folder, read_run};
use crate::error::Error;
use crate::injection::Injection;
use crate::models::{finetuning_length, model_folder, run_base};
use crate::output::{percent, table, thousands};
use crate::processes;
use crate::progress::{Meter, Unit};
use crate::recipe::Recipe;
use crate::text::Text;
use crate::watch::LiveView;

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pretrain a small model:
    mixdown train --pretraining corpora/general --steps 500 --out base
  finetune it with 1 % pretraining data:
    mixdown train --init base/best --target corpora/math --pretraining corpora/general \\
      --inject 1% --target-tokens 50000 --steps 200 --out runs/math-1
  a GPT-2-like model of 41 million parameters; what it would take, without a step:
    mixdown train --pretraining corpora/general --size 41M --steps '1 epoch of pretraining' --out base --dry-run
  train adapters of all linears instead of all weights:
    mixdown train --init base/best --target corpora/math --pretraining corpora/general \\
      --lora-rank 8 --lora-targets all-linear --out runs/math-lora
  on all eight GPUs of this machine:
    mixdown train RUN.toml --gpus 8 --out runs/math-1
  repeat a run, or run a description of your own:
    mixdown train runs/math-1/run.toml --out runs/again

A stopped run goes on from its last checkpoint when the same command is given again.")]
pub struct TrainArgs {
    /// A run's description in TOML, instead of the options below.
    #[arg(conflicts_with_all = [
        "pretraining", "target", "inject", "target_tokens", "init", "size", "hidden_size", "layers",
        "heads", "sequence_length", "batch_size", "steps", "learning_rate", "schedule", "eval_every",
        "eval_sequences", "seed", "lora_rank", "lora_targets", "device", "precision",
    ])]
    run: Option<PathBuf>,
    /// The run's folder.
    #[arg(long)]
    out: PathBuf,
    /// The corpus that the model was (or shall be) pretrained on.
    #[arg(long, required_unless_present = "run")]
    pretraining: Option<PathBuf>,
    /// The corpus to finetune on; without it the run pretrains.
    #[arg(long)]
    target: Option<PathBuf>,
    /// The share p of pretraining data in finetuning.
    #[arg(long, default_value = "1%", value_name = "SHARE", requires = "target")]
    inject: Injection,
    /// Use only this many unique tokens of the target.
    #[arg(long, value_name = "D", requires = "target")]
    target_tokens: Option<u64>,
    /// A Hugging Face folder to finetune, or a run's folder, whose best/ is taken; without it a fresh model of the
    /// sizes below.
    #[arg(long)]
    init: Option<PathBuf>,
    /// The size of a fresh GPT-2-like model, in the place of the sizes below.
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(FreshModel::sizes()),
        conflicts_with_all = ["init", "hidden_size", "layers", "heads"]
    )]
    size: Option<String>,
    /// Width of a fresh Llama-like model.
    #[arg(long, default_value_t = 128, conflicts_with = "init")]
    hidden_size: u64,
    /// Decoder blocks of a fresh model.
    #[arg(long, default_value_t = 4, conflicts_with = "init")]
    layers: u64,
    /// Attention heads of a fresh model.
    #[arg(long, default_value_t = 4, conflicts_with = "init")]
    heads: u64,
    /// Tokens a sequence [default: 128; with --init twice the mean document of the target, a power of two from 128 to
    /// 1024 within the model's positions].
    #[arg(long)]
    sequence_length: Option<u64>,
    /// Sequences a batch.
    #[arg(long, default_value_t = 16)]
    batch_size: u64,
    /// How long the run is: optimiser steps, or a length such as "10M tokens" or "2 epochs of target".
    #[arg(long, default_value = "200", value_name = "LENGTH")]
    steps: RunLength,
    /// Peak learning rate (AdamW, warm-up over the first 5 % of the steps) [default: 1e-3; with --init by the model's
    /// parameters: 3e-4 below 10M, 1e-4 below 50M, 5e-5 below 500M, 2e-5 below 3B, then 1e-5; with --lora-rank ten
    /// times that].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// What follows the warm-up; `wsd` falls in the last fifth of the steps.
    #[arg(long, value_enum, default_value_t = ScheduleName::Cosine)]
    schedule: ScheduleName,
    /// Steps between two evaluations.
    #[arg(long, default_value_t = 20)]
    eval_every: u64,
    /// Held-out sequences of each corpus in an evaluation.
    #[arg(long, default_value_t = 128)]
    eval_sequences: u64,
    /// Seed of a fresh model's weights and of the order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train LoRA adapters of this rank and alpha 16 in the place of all weights.
    #[arg(long, value_name = "RANK", requires = "init")]
    lora_rank: Option<u64>,
    /// The matrices that get adapters: `all-linear`, or names with commas between; PEFT's choice without it.
    #[arg(long, value_name = "NAMES", requires = "lora_rank")]
    lora_targets: Option<String>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Share out each batch among N processes of this machine. With `--device cuda` each has a GPU, on the CPU its
    /// share of the cores. 1: do not ask torchrun's or Slurm's variables.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    processes: Option<u32>,
    /// `--processes N --device cuda`; also of a RUN.toml, whatever device that names.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "processes")]
    gpus: Option<u32>,
    /// Go on although the mixture has other stages or more sources: from a step on that the run has not
    /// reached.
    #[arg(long)]
    allow_change: bool,
    /// Show the run's curves in the terminal while it trains, as `mixdown watch` does; q closes them. Of several
    /// processes `mixdown watch` shows them from another terminal.
    #[arg(long, conflicts_with_all = ["processes", "gpus"])]
    watch: bool,
    /// Say what the run would do and need, and do nothing.
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
/// A run that cannot be configured, a folder that holds something else, NaN losses, an interruption.
pub fn run(arguments: TrainArgs, context: Context) -> Result<(), Error> {
    let out = arguments.out.clone();
    let name = run_name(&out.display().to_string());
    let changes = if arguments.allow_change { Changes::Stages } else { Changes::None };
    let dry_run = arguments.dry_run;
    let watch = arguments.watch;
    let run = arguments.run.clone();
    let (gpus, count) = (arguments.gpus, arguments.gpus.or(arguments.processes));
    let (mut config, base) = match &run {
        Some(path) => (read_run(path)?, base_folder(path)),
        None => (arguments.run_config()?, Path::new("")),
    };
    if gpus.is_some() {
        config.train.device = DeviceChoice::Cuda(0);
    }
    if dry_run {
        say_best_of_run(&config, base)?;
        let preview = Preview::new(&config, run_base(base), &out)?;
        return context.output.print(&preview, preview::describe);
    }
    let Some(world) = processes::world(count)? else {
        let count = count.unwrap_or(1);
        World::new(0, count)?.check(&config)?;
        return processes::launch(count, context.stop);
    };
    if world.leads() {
        say_best_of_run(&config, base)?;
    }
    let view = (watch && world.leads()).then(|| LiveView::start(&out));
    let trained = train(&config, base, &out, name, changes, context, world);
    drop(view);
    match world.leads() {
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

    /// The length of a sequence and the peak learning rate: as they were given, or those of the model.
    fn defaults(&self) -> Result<(u64, f64), Error> {
        let Some(init) = &self.init else {
            return Ok((self.sequence_length.unwrap_or(128), self.learning_rate.unwrap_or(1e-3)));
        };
        let model = ModelConfig::read(&ModelPlace::find(Path::new(""), init)?.folder)?;
        let rate = if self.lora_rank.is_some() { adapter_rate } else { finetuning_rate };
        let learning_rate = self.learning_rate.unwrap_or_else(|| rate(model.parameters()));
        let corpora: Vec<&Path> =
            self.target.iter().chain(&self.pretraining).map(PathBuf::as_path).collect();
        let length =
            self.sequence_length.map_or_else(|| finetuning_length(&model, &corpora), Ok)?;
        Ok((length, learning_rate))
    }

    fn run_config(self) -> Result<RunConfig, Error> {
        let lora = self.lora();
        let (sequence_length, learning_rate) = self.defaults()?;
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

/// Says where a run starts from best/ of another run whose folder was named.
fn say_best_of_run(config: &RunConfig, base: &Path) -> Result<(), Error> {
    match &config.model {
        ModelChoice::Init(init) => model_folder(base, init).map(|_| ()),
        ModelChoice::Fresh(_) => Ok(()),
    }
}

/// A name that serves as id and title.
pub fn run_name(name: &str) -> RunName {
    RunName { run_id: name.to_owned(), title: name.to_owned() }
}

/// Trains as one of the run's processes, with a meter on standard error where it leads.
///
/// # Errors
/// As [`Trainer::open`] and [`Trainer::run`].
pub fn train(
    config: &RunConfig,
    base: &Path,
    out: &Path,
    name: RunName,
    changes: Changes,
    context: Context,
    world: World,
) -> Result<Summary, Error> {
    let meter = Meter::new(format!("train {}", name.title), Unit::Steps);
    let mut trainer =
        Trainer::open(config, run_base(base), out, name, changes, world, context.stop)?;
    if config.eval.samples.is_some() {
        trainer.set_text_codec(Box::new(text_of(config, base)?))?;
    }
    if !world.leads() {
        return Ok(trainer.run(&|_| {}, context.stop)?);
    }
    let progress = |at: Progress| {
        meter.set(at.step, at.steps, &note(&at));
        at.samples.iter().for_each(|sample| meter.line(&sampled(sample)));
    };
    let summary = trainer.run(&progress, context.stop)?;
    let losses: Vec<String> =
        summary.best.iter().map(|eval| format!("{} {:.4}", eval.corpus, eval.loss)).collect();
    meter.finish(&format!(
        "best step {} of {}: {}, {:.0} tokens/s",
        summary.best_step,
        summary.steps,
        losses.join(", "),
        summary.tokens_per_second
    ));
    Ok(summary)
}

/// The tokenizer of the corpus whose loss chooses best/, which is that of all corpora.
fn text_of(config: &RunConfig, base: &Path) -> Result<Text, Error> {
    let corpora = &config.eval.corpus;
    let chosen = corpora.iter().find(|corpus| corpus.name == config.eval.select);
    Text::load(&base.join(chosen.map_or(Path::new(""), |chosen| chosen.corpus.as_path())))
}

fn sampled(sample: &SampleRecord) -> String {
    format!("step {}: {}│{}", sample.step, sample.prompt, sample.text)
}

fn note(at: &Progress) -> String {
    let loss = at.train_loss.map_or_else(String::new, |loss| format!("loss {loss:.3}, "));
    format!("{loss}{:.0} tokens/s", at.tokens_per_second)
}

fn describe(summary: &Summary) -> String {
    let shares: Vec<Vec<String>> = summary
        .shares
        .iter()
        .map(|share| {
            vec![
                share.source.clone(),
                percent(share.requested),
                percent(share.realised),
                thousands(share.sequences),
                thousands(share.tokens),
                thousands(share.unique_tokens),
                format!("{:.2}", share.epochs),
            ]
        })
        .collect();
    let header =
        ["source", "requested", "realised", "sequences", "tokens", "unique tokens", "epochs"];
    let forgetting = summary.row.as_ref().map_or_else(String::new, |row| {
        format!("\nforgetting at the best step: {:+.4} nats/token", row.forgetting())
    });
    format!(
        "{}: {} parameters, best step {} of {}\nbefore\n{}\nat the best step\n{}{forgetting}\ndelivered\n{}",
        summary.title,
        thousands(summary.model_parameters),
        summary.best_step,
        summary.steps,
        eval_table(&summary.before),
        eval_table(&summary.best),
        table(&header, &shares)
    )
}
