//! One run, trained with a meter and told as a person reads it.

use std::path::Path;

use mixdown_base::display::{percent, percent_requested, thousands};
use mixdown_runs::{SampleRecord, Summary};
use mixdown_train::{
    Changes, ModelChoice, ModelPlace, Progress, RunConfig, RunName, Trainer, World,
};

use crate::commands::Context;
use crate::error::Error;
use crate::runs::evaluations::{self, eval_table};
use crate::runs::models::run_base;
use crate::terminal::output::table;
use crate::terminal::progress::{Meter, Unit};
use crate::terminal::text::Text;

/// A name that serves as id and title.
pub fn run_name(name: &str) -> RunName {
    RunName { run_id: name.to_owned(), title: name.to_owned() }
}

/// A run to be trained.
pub struct Training<'a> {
    /// Its settings.
    pub config: &'a RunConfig,
    /// The folder that relative paths of the settings are taken from.
    pub base: &'a Path,
    /// The run's folder.
    pub out: &'a Path,
    /// What it is called.
    pub name: RunName,
    /// What may differ from the run that is in the folder.
    pub changes: Changes,
    /// Which of the run's processes this one is.
    pub world: World,
    /// Whether each evaluation is a line on standard error.
    pub evaluations: Evaluations,
}

/// Whether evaluations are told as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluations {
    /// A line each.
    Told,
    /// Not: the run is one of many.
    Untold,
}

impl Training<'_> {
    /// Trains as one of the run's processes, with a meter on standard error where it leads.
    ///
    /// # Errors
    /// As [`Trainer::open`] and [`Trainer::run`].
    pub fn run(self, context: Context) -> Result<Summary, Error> {
        let Self { config, base, out, name, changes, world, evaluations } = self;
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
            if let Some(evals) = at.evals.as_ref().filter(|_| evaluations == Evaluations::Told) {
                meter.line(&evaluations::line(&at, evals));
            }
            at.samples.iter().for_each(|sample| meter.line(&sampled(sample)));
        };
        let done = if trainer.is_finished() { "already done: " } else { "" };
        let summary = trainer.run(&progress, context.stop)?;
        let losses: Vec<String> =
            summary.best.iter().map(|eval| format!("{} {:.4}", eval.corpus, eval.loss)).collect();
        meter.finish(&format!(
            "{done}best step {} of {}: {}, {:.0} tokens/s",
            summary.best_step,
            summary.steps,
            losses.join(", "),
            summary.tokens_per_second
        ));
        Ok(summary)
    }
}

/// The tokenizer of the corpus whose loss chooses best/, which is that of all corpora. For chats that
/// of the model which the run starts from, as the chat template stands beside it.
fn text_of(config: &RunConfig, base: &Path) -> Result<Text, Error> {
    let chat = config.eval.samples.as_ref().is_some_and(|samples| samples.chat);
    if let (true, ModelChoice::Init(folder)) = (chat, &config.model) {
        return Text::load(&ModelPlace::find(base, folder)?.folder);
    }
    let corpora = &config.eval.corpus;
    let chosen = corpora.iter().find(|corpus| corpus.name == config.eval.select);
    Text::load(&base.join(chosen.map_or(Path::new(""), |chosen| chosen.corpus.as_path())))
}

fn sampled(sample: &SampleRecord) -> String {
    format!("step {}: {}│{}", sample.step, sample.prompt, sample.text)
}

fn note(at: &Progress) -> String {
    let loss = match at.train_loss {
        Some(loss) => format!("loss {loss:.3}, "),
        None if at.step > 0 => "no target in the batch, ".to_owned(),
        None => String::new(),
    };
    format!("{loss}{:.0} tokens/s", at.tokens_per_second)
}

/// A finished run as a person reads it.
pub fn describe(summary: &Summary) -> String {
    let shares: Vec<Vec<String>> = summary
        .shares
        .iter()
        .map(|share| {
            vec![
                share.source.clone(),
                percent_requested(share.requested),
                percent(share.realised),
                thousands(share.sequences),
                thousands(share.tokens),
                thousands(share.unique_tokens),
                format!("{:.2}", share.epochs),
            ]
        })
        .collect();
    let header =
        ["source", "requested", "realized", "sequences", "tokens", "unique tokens", "epochs"];
    format!(
        "{}: {} parameters, best step {} of {}\nbefore\n{}\nat the best step\n{}{}\ndelivered\n{}",
        summary.title,
        thousands(summary.model_parameters),
        summary.best_step,
        summary.steps,
        eval_table(&summary.before),
        eval_table(&summary.best),
        evaluations::remarks(summary),
        table(&header, &shares)
    )
}
