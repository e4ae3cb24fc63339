//! Progress on standard error: a bar with rate and remaining time in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mixdown_tokenize::Stage;

/// Time between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of input.
    Bytes,
    /// Optimiser steps.
    Steps,
}

/// One stage's progress.
pub struct Meter {
    label: String,
    unit: Unit,
    start: Instant,
    bar: Option<ProgressBar>,
    plain: Mutex<Plain>,
}

struct Plain {
    last: Instant,
    first_done: Option<u64>,
}

impl Meter {
    /// A meter that shows nothing until it is set.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        let label = label.into();
        let bar = std::io::stderr().is_terminal().then(|| bar(&label, unit));
        let start = Instant::now();
        Self { label, unit, start, bar, plain: Mutex::new(Plain { last: start, first_done: None }) }
    }

    /// Shows that `done` of `total` is finished, with a short note.
    pub fn set(&self, done: u64, total: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
            return;
        }
        let Ok(mut plain) = self.plain.lock() else { return };
        let first = *plain.first_done.get_or_insert(done);
        if plain.last.elapsed() < PLAIN_INTERVAL {
            return;
        }
        plain.last = Instant::now();
        self.plain_line(done, total, done.saturating_sub(first), note);
    }

    fn plain_line(&self, done: u64, total: u64, since_start: u64, note: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = to_f64(since_start) / seconds.max(1e-9);
        let remaining = to_f64(total.saturating_sub(done)) / rate.max(1e-9);
        let (done, total, rate) = match self.unit {
            Unit::Bytes => (megabytes(done), megabytes(total), format!("{:.1} MB/s", rate / 1e6)),
            Unit::Steps => (done.to_string(), total.to_string(), format!("{rate:.1} steps/s")),
        };
        say(&format!("{}: {done}/{total}, {rate}, {remaining:.0} s left  {note}", self.label));
    }

    /// Ends the stage with one line that stays.
    pub fn finish(&self, note: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        say(&format!("{}: {note} ({:.1} s)", self.label, self.start.elapsed().as_secs_f64()));
    }
}

fn bar(label: &str, unit: Unit) -> ProgressBar {
    let counts = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}",
        Unit::Steps => "{pos}/{len} {per_sec}",
    };
    let template = format!("{{prefix:28}} [{{bar:28}}] {counts}, {{eta}} left  {{wide_msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(label.to_owned())
}

/// A stage of tokenizing, for people.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Reading => "reading",
        Stage::Training => "training",
        Stage::Tokenizing => "tokenizing",
        Stage::Writing => "writing",
        _ => "",
    }
}

/// A line on standard error.
pub fn say(line: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", to_f64(bytes) / 1e6)
}
