//! The demo's experiment: one base model, finetuned once for each p, and the page about it.

use std::path::{Path, PathBuf};

use mixdown_experiments::{Injection, Recipe, Training};
use mixdown_report::Report;
use mixdown_runs::{LossesRecord, RunFolder, RunsTable, Summary};
use mixdown_train::{
    AllowedChanges, FreshFamily, FreshModel, ModelChoice, RunConfig, Schedule, World,
};

use super::DemoSettings;
use super::corpora::Corpora;
use crate::commands::Context;
use crate::commands::laws::report::read_run;
use crate::error::Error;
use crate::runs::training::{Evaluations, run_name, train};

const BASE: &str = "runs/base";
const SEQUENCE_LENGTH: u64 = 128;
const BATCH_SIZE: u64 = 16;
const EVAL_SEQUENCES: u64 = 128;
/// The learning rate of pretraining and finetuning: high enough to overfit fifty thousand tokens within the steps of
/// the demo, so that the target's validation loss rises again.
const LEARNING_RATE: f64 = 2e-3;

/// A finished finetuning run, and its losses by sequence at the best step.
#[derive(Debug)]
pub struct FinishedRun {
    pub summary: Summary,
    pub losses: Option<LossesRecord>,
}

/// Trains the models that are not trained yet, and returns the finetuning runs.
///
/// # Errors
/// The errors of training.
pub fn run(
    settings: &DemoSettings,
    corpora: &Corpora,
    out: &Path,
    context: Context,
) -> Result<Vec<FinishedRun>, Error> {
    let trained = |config: &RunConfig, folder: &Path, name: &str| {
        let (name, changes, world) = (run_name(name), AllowedChanges::None, World::single());
        let training = Training { config, base: out, out: folder, name, changes, world };
        train(training, Evaluations::Hidden, context)
    };
    trained(&base_config(settings, corpora)?, &out.join(BASE), "base model")?;
    let mut runs = Vec::new();
    for inject in injections(settings)? {
        let config = finetuning_config(settings, corpora, inject)?;
        let folder = out.join(run_folder(inject));
        let summary = trained(&config, &folder, &format!("p = {inject}"))?;
        let losses = RunFolder::open(&folder)?.read_losses(&summary)?;
        runs.push(FinishedRun { summary, losses });
    }
    let rows = runs.iter().filter_map(|run| run.summary.row.clone()).collect();
    RunsTable::new(rows)?.write(&out.join("runs.jsonl"))?;
    Ok(runs)
}

fn injections(settings: &DemoSettings) -> Result<Vec<Injection>, Error> {
    settings.inject.iter().map(|text| Ok(text.parse()?)).collect()
}

fn run_folder(inject: Injection) -> PathBuf {
    Path::new("runs").join(format!("inject-{inject}").replace('/', "-over-"))
}

fn base_config(settings: &DemoSettings, corpora: &Corpora) -> Result<RunConfig, Error> {
    let hidden_size = 128;
    let family = FreshFamily::Llama;
    let model = FreshModel {
        family,
        vocab_size: settings.vocab_size.into(),
        hidden_size,
        intermediate_size: family.usual_intermediate_size(hidden_size),
        layers: 4,
        heads: 4,
        seed: settings.seed,
    };
    Recipe {
        model: ModelChoice::Fresh(model),
        target: None,
        steps: settings.pretraining_steps,
        warmup_steps: settings.pretraining_steps / 20,
        eval_every: settings.pretraining_steps.div_ceil(10).max(1),
        ..recipe(settings, corpora, Injection::NONE)
    }
    .run_config()
    .map_err(Error::from)
}

fn finetuning_config(
    settings: &DemoSettings,
    corpora: &Corpora,
    inject: Injection,
) -> Result<RunConfig, Error> {
    Ok(recipe(settings, corpora, inject).run_config()?)
}

fn recipe(settings: &DemoSettings, corpora: &Corpora, inject: Injection) -> Recipe {
    Recipe {
        model: ModelChoice::Init(Path::new(BASE).join("best")),
        target: Some(corpora.target.clone()),
        pretraining: corpora.pretraining.clone(),
        inject,
        target_tokens: Some(settings.target_tokens),
        sequence_length: SEQUENCE_LENGTH,
        batch_size: BATCH_SIZE,
        steps: settings.finetuning_steps,
        learning_rate: LEARNING_RATE,
        schedule: Schedule::Cosine,
        warmup_steps: settings.finetuning_steps / 20,
        eval_every: settings.finetuning_steps.div_ceil(20).max(1),
        eval_sequences: EVAL_SEQUENCES,
        seed: settings.seed,
    }
}

/// Writes the page.
///
/// # Errors
/// Runs that are not finished, an unwritable page.
pub fn report(settings: &DemoSettings, out: &Path) -> Result<PathBuf, Error> {
    let mut runs = vec![read_run(&out.join(BASE))?];
    for inject in injections(settings)? {
        runs.push(read_run(&out.join(run_folder(inject)))?);
    }
    let (pretraining, target) = text_names(settings);
    let report = Report {
        title: "Finetuning without forgetting".to_owned(),
        lead: format!(
            "A small Llama-style model was pretrained on {pretraining}, then finetuned from the same checkpoint on \
             {} tokens of {target}, once for each share p of pretraining data in the mix.",
            crate::terminal::output::thousands(settings.target_tokens)
        ),
        runs,
        notes: notes(settings),
        settings: vec![
            ("mixdown".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("pretraining text".to_owned(), pretraining),
            ("target text".to_owned(), target),
            ("tokenizer".to_owned(), format!("byte-level BPE, {} entries", settings.vocab_size)),
            ("seed".to_owned(), settings.seed.to_string()),
        ],
    };
    let path = out.join("report.html");
    mixdown_report::write(&report, &path)?;
    Ok(path)
}

fn text_names(settings: &DemoSettings) -> (String, String) {
    if settings.pretraining.is_empty() {
        return (
            "the prose (Markdown, doc comments) of mixdown's dependencies".to_owned(),
            "their Rust code".to_owned(),
        );
    }
    let list = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    (list(&settings.pretraining), list(&settings.target))
}

fn notes(settings: &DemoSettings) -> Vec<String> {
    vec![
        format!(
            "Every number on this page was measured in this run, with one seed ({}): a model of this size and \
             {} finetuning steps show the direction, not the figures of a large model.",
            settings.seed, settings.finetuning_steps
        ),
        "Losses are read where the target's validation loss is least, as in the scaling laws for forgetting \
         (Bethune et al., ICML 2025)."
            .to_owned(),
    ]
}
