//! The training of one run with a meter, and its summary as text.

use mixdown_base::display::{percent, percent_requested, thousands};
use mixdown_base::observer::Observer;
use mixdown_experiments::Training;
use mixdown_runs::{SampleRecord, Summary};
use mixdown_train::{Progress, RunName};

use crate::commands::Context;
use crate::error::Error;
use crate::runs::evaluations::{self, eval_table};
use crate::terminal::output::table;
use crate::terminal::progress::{Meter, Unit};

/// A run name whose id is also its title.
pub fn run_name(name: &str) -> RunName {
    RunName { run_id: name.to_owned(), title: name.to_owned() }
}

/// Whether evaluations are printed during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluations {
    /// One line per evaluation.
    Printed,
    /// No lines: the run is one of many.
    Hidden,
}

/// Trains as one of the run's processes; the first process has a meter on standard error.
///
/// # Errors
/// As [`Training::run`].
pub fn train(
    training: Training<'_>,
    evaluations: Evaluations,
    context: Context,
) -> Result<Summary, Error> {
    let world = training.world;
    let meter = Meter::new(format!("train {}", training.name.title), Unit::Steps);
    let mut trainer = training.open(context.stop)?;
    if !world.is_main_process() {
        return Ok(trainer.run(Observer::new(&|_| {}, context.stop))?);
    }
    let progress = |at: Progress| {
        meter.set(at.step, at.steps, &note(&at));
        if let Some(evals) = at.evals.as_ref().filter(|_| evaluations == Evaluations::Printed) {
            meter.line(&evaluations::line(&at, evals));
        }
        at.samples.iter().for_each(|sample| meter.line(&sampled(sample)));
    };
    let done = if trainer.is_finished() { "already done: " } else { "" };
    let summary = trainer.run(Observer::new(&progress, context.stop))?;
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

/// Describes a finished run.
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
