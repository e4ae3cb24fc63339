//! The progress lines of `sweep` on standard error.

use std::sync::OnceLock;

use mixdown_base::display::{duration, plural, signed};
use mixdown_experiments::{RateOrigin, SweepEvent, SweepPart, TimeLeft, bottom_is_reached};
use mixdown_runs::{RunRow, Summary};
use mixdown_train::Progress;

use crate::error::Error;
use crate::terminal::interrupt;
use crate::terminal::progress::{Meter, Unit, say};

/// The progress of a sweep: one meter over all of its operations, and a line for each part that has finished or
/// failed.
#[derive(Default)]
pub struct SweepProgress {
    /// Created with the first event, because its clock starts then.
    meter: OnceLock<Meter>,
}

impl SweepProgress {
    /// Prints an event.
    pub fn show(&self, event: SweepEvent<'_>) {
        let meter = self.meter.get_or_init(|| Meter::new("sweep", Unit::Work));
        match event {
            SweepEvent::BasesWereMade => meter.finish("base models already done"),
            SweepEvent::Announced { runs, planned, flops, seconds, rate } => say(&format!(
                "sweep: {} to do of {planned}, {flops:.2e} operations with their base models: at most {} {}",
                counted(runs),
                duration(seconds),
                match rate {
                    RateOrigin::Measured => "at the rate of the finished runs",
                    _ => "at half of this machine's rate",
                }
            )),
            SweepEvent::Working { part, done_flops, total_flops, progress } => {
                meter.set(whole(done_flops), whole(total_flops), &note(part, progress));
            }
            SweepEvent::ProgramBegan { id } => interrupt::end_together_with(id),
            SweepEvent::ProgramEnded => interrupt::end_together_with(0),
            SweepEvent::BaseMade { part, summary } => say(&made(part, summary)),
            SweepEvent::BaseFailed { part, error } => {
                say(&format!("{}: {}", label(part), Error::from(error).report()));
            }
            SweepEvent::RunDone { part, row, left } => {
                say(&format!("{}: {}{}", label(part), describe(row), in_words(left)));
            }
            SweepEvent::RunFailed { part, error, left } => {
                let report = Error::from(error).report();
                say(&format!("{}: {report}{}", label(part), in_words(left)));
            }
            SweepEvent::Ended { done: 0, failed: 0 } => meter.finish("already done"),
            SweepEvent::Ended { done, failed } => {
                meter.finish(&format!("{} done, {failed} failed", counted(done)));
            }
            _ => {}
        }
    }
}

fn label(part: SweepPart<'_>) -> String {
    match part {
        SweepPart::Base { name } => format!("base {name}"),
        SweepPart::Run { number, total, run_id } => format!("run {number} of {total}, {run_id}"),
    }
}

fn note(part: SweepPart<'_>, progress: Option<&Progress>) -> String {
    let label = label(part);
    let Some(at) = progress else { return label };
    let loss = at.train_loss.map_or_else(String::new, |loss| format!("loss {loss:.3}, "));
    format!(
        "{label}: step {} of {} at most, {loss}{:.0} tokens/s",
        at.step, at.steps, at.tokens_per_second
    )
}

fn made(part: SweepPart<'_>, summary: &Summary) -> String {
    let loss = summary.best.first().map_or(f64::NAN, |eval| eval.loss);
    format!(
        "{}: {} parameters, pretraining loss {loss:.4}, {:.0} tokens/s",
        label(part),
        summary.model_parameters,
        summary.tokens_per_second
    )
}

fn describe(row: &RunRow) -> String {
    let late =
        if bottom_is_reached(row) { "" } else { ", the last step: the minimum may lie beyond it" };
    format!(
        "best step {}{late}, target loss {:.4}, pretraining loss {:.4} ({})",
        row.best_step,
        row.target_loss,
        row.pretraining_loss,
        signed(row.forgetting(), 4)
    )
}

fn in_words(left: Option<TimeLeft>) -> String {
    left.map_or_else(String::new, |left| {
        format!("; {} left, about {}", counted(left.runs), duration(left.seconds))
    })
}

fn counted(runs: usize) -> String {
    plural(u64::try_from(runs).unwrap_or(u64::MAX), "run")
}

/// Millions of operations.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "above 0 and below 2^63"
)]
fn whole(flops: f64) -> u64 {
    (flops / 1e6).clamp(0.0, 9e18) as u64
}
