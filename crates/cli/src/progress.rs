//! Progress on standard error: a bar with rate and remaining time in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mixdown_documents::summary;
use mixdown_tokenize::{InputRemarks, Stage};

use crate::output::{duration, percent, thousands};

/// Time between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Lines that wait while a view has the screen; none where no view has it.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Lets meters rest and lines wait: a view has the screen from now on.
pub fn hold() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default();
}

/// Says what waited, and lets meters go on.
pub fn release() {
    let lines = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    lines.into_iter().flatten().for_each(|line| say(&line));
}

fn is_held() -> bool {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of input.
    Bytes,
    /// Tokens of corpora.
    Tokens,
    /// Optimiser steps.
    Steps,
    /// Operations of a whole sweep, shown as a share.
    Work,
}

/// One stage's progress.
pub struct Meter {
    label: String,
    unit: Unit,
    start: Instant,
    bar: Option<ProgressBar>,
    stretch: Mutex<Option<Stretch>>,
}

/// The stretch whose rate is shown: it begins anew where the total changes (another stage) and with the
/// first report (what an earlier run has done is no speed).
struct Stretch {
    total: u64,
    start: Instant,
    first_done: u64,
    last_line: Instant,
}

impl Meter {
    /// A meter that shows nothing until it is set.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        let label = label.into();
        let bar = std::io::stderr().is_terminal().then(|| bar(&label, unit));
        Self { label, unit, start: Instant::now(), bar, stretch: Mutex::new(None) }
    }

    /// Shows that `done` of `total` is finished, with a short note.
    pub fn set(&self, done: u64, total: u64, note: &str) {
        let Ok(mut stretch) = self.stretch.lock() else { return };
        let now = Instant::now();
        let fresh = stretch
            .as_ref()
            .is_none_or(|stretch| stretch.total != total || done < stretch.first_done);
        if fresh {
            let last_line = stretch.as_ref().map_or(now, |stretch| stretch.last_line);
            *stretch = Some(Stretch { total, start: now, first_done: done, last_line });
        }
        if is_held() {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
            if fresh {
                bar.reset_eta();
            }
        } else if let Some(stretch) = stretch.as_mut()
            && now - stretch.last_line >= PLAIN_INTERVAL
        {
            stretch.last_line = now;
            say(&self.plain(done, stretch, note));
        }
    }

    fn plain(&self, done: u64, stretch: &Stretch, note: &str) -> String {
        let seconds = stretch.start.elapsed().as_secs_f64();
        let rate = to_f64(done.saturating_sub(stretch.first_done)) / seconds.max(1e-9);
        let remaining = to_f64(stretch.total.saturating_sub(done)) / rate.max(1e-9);
        let (done, total, rate) = match self.unit {
            Unit::Bytes => {
                (megabytes(done), megabytes(stretch.total), format!("{:.1} MB/s", rate / 1e6))
            }
            Unit::Tokens => {
                (done.to_string(), stretch.total.to_string(), format!("{rate:.0} tokens/s"))
            }
            Unit::Steps => {
                (done.to_string(), stretch.total.to_string(), format!("{rate:.1} steps/s"))
            }
            Unit::Work => {
                let share = percent(to_f64(done) / to_f64(stretch.total.max(1)));
                return format!("{}: {share}, {} left  {note}", self.label, duration(remaining));
            }
        };
        format!("{}: {done}/{total}, {rate}, {remaining:.0} s left  {note}", self.label)
    }

    /// A line that stays, above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) if !is_held() => bar.suspend(|| say(line)),
            _ => say(line),
        }
    }

    /// Ends the stage with one line that stays.
    pub fn finish(&self, note: &str) {
        if let Some(bar) = self.bar.as_ref().filter(|_| !is_held()) {
            bar.finish_and_clear();
        }
        say(&format!("{}: {note} ({:.1} s)", self.label, self.start.elapsed().as_secs_f64()));
    }
}

fn bar(label: &str, unit: Unit) -> ProgressBar {
    let counts = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}",
        Unit::Tokens | Unit::Steps => "{pos}/{len} {per_sec}",
        Unit::Work => "{percent} %",
    };
    let template = format!("{{prefix:28}} [{{bar:28}}] {counts}, {{eta}} left  {{wide_msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(label.to_owned())
}

/// Says which files of folders are not read, or not as their names suggest.
pub fn say_inputs(label: &str, remarks: &InputRemarks) {
    let InputRemarks { left_out, read_as_text } = remarks;
    for (files, what) in [
        (left_out, "files of folders left out"),
        (read_as_text, "JSON files without records, each read as one text"),
    ] {
        if !files.is_empty() {
            let count = thousands(u64::try_from(files.len()).unwrap_or(u64::MAX));
            say(&format!("{label}: warning: {what}: {count}: {}", summary(files)));
        }
    }
}

/// A stage of tokenizing, for people.
pub fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Reading => "reading",
        Stage::Training => "training",
        Stage::Tokenizing => "tokenizing",
        Stage::Writing => "writing",
        _ => "",
    }
}

/// A line on standard error, when no view has the screen any more.
pub fn say(line: &str) {
    if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        held.push(line.to_owned());
        return;
    }
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

/// Bytes for people.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", to_f64(bytes) / 1e6)
}
