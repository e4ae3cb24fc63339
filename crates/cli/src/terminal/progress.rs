//! Progress on standard error: a bar with rate and remaining time in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
pub use mixdown_base::display::bytes as megabytes;
use mixdown_base::display::{bytes, duration, escaped, escaped_lines, percent, thousands};
use mixdown_base::quantity::to_f64;
use mixdown_documents::{Remark, summary};
use mixdown_tokenize::{InputRemarks, PrepareStage};

use crate::error::{Error, Paint};

/// Time between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two plain lines with `--verbose`.
const VERBOSE_INTERVAL: Duration = Duration::from_secs(1);

/// How much is printed on standard error beside errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Warnings: what was left out, changed or guessed.
    Quiet,
    /// Warnings and progress.
    Usual,
    /// Progress ten times as often, and complete lists of names instead of the first few.
    Verbose,
}

static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Usual as u8);

/// Sets how much is printed.
pub fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// Whether progress is hidden.
pub fn is_quiet() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == Verbosity::Quiet as u8
}

/// Whether more than usual is printed.
pub fn is_verbose() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == Verbosity::Verbose as u8
}

/// The lines that wait while a view uses the screen; none if no view uses it.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Holds back meters and lines, because a view uses the screen from now on.
pub fn hold() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default();
}

/// Prints the lines that waited, and shows meters again.
pub fn release() {
    let lines = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    lines.into_iter().flatten().for_each(|line| say(&line));
}

fn is_locked() -> bool {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of input.
    Bytes,
    /// Tokens of corpora.
    Tokens,
    /// Optimizer steps.
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
    window: Mutex<Option<RateWindow>>,
}

/// The window of work whose rate is shown. A new one begins when the total changes (another stage), and with the
/// first report, because the work of an earlier run has no rate.
struct RateWindow {
    total: u64,
    start: Instant,
    first_done: u64,
    last_line: Instant,
}

impl Meter {
    /// A meter that shows nothing until it is set.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        let label = escaped(&label.into()).into_owned();
        let bar = (std::io::stderr().is_terminal() && !is_quiet()).then(|| bar(&label, unit));
        Self { label, unit, start: Instant::now(), bar, window: Mutex::new(None) }
    }

    /// Shows that `done` of `total` is finished, with a short note.
    pub fn set(&self, done: u64, total: u64, note: &str) {
        let Ok(mut window) = self.window.lock() else { return };
        let now = Instant::now();
        let fresh =
            window.as_ref().is_none_or(|window| window.total != total || done < window.first_done);
        if fresh {
            let last_line = window.as_ref().map_or(now, |window| window.last_line);
            *window = Some(RateWindow { total, start: now, first_done: done, last_line });
        }
        if is_locked() || is_quiet() {
            return;
        }
        let interval = if is_verbose() { VERBOSE_INTERVAL } else { PLAIN_INTERVAL };
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(escaped_lines(note).into_owned());
            if fresh {
                bar.reset_eta();
            }
        } else if let Some(window) = window.as_mut()
            && now - window.last_line >= interval
        {
            window.last_line = now;
            say(&self.plain(done, window, note));
        }
    }

    fn plain(&self, done: u64, window: &RateWindow, note: &str) -> String {
        let seconds = window.start.elapsed().as_secs_f64();
        let rate = to_f64(done.saturating_sub(window.first_done)) / seconds.max(1e-9);
        let remaining = to_f64(window.total.saturating_sub(done)) / rate.max(1e-9);
        let (done, total, rate) = match self.unit {
            Unit::Bytes => (bytes(done), bytes(window.total), format!("{:.1} MB/s", rate / 1e6)),
            Unit::Tokens => {
                (thousands(done), thousands(window.total), format!("{rate:.0} tokens/s"))
            }
            Unit::Steps => (thousands(done), thousands(window.total), format!("{rate:.1} steps/s")),
            Unit::Work => {
                let share = percent(to_f64(done) / to_f64(window.total.max(1)));
                return format!("{}: {share}, {} left  {note}", self.label, duration(remaining));
            }
        };
        format!("{}: {done}/{total}, {rate}, {} left  {note}", self.label, duration(remaining))
    }

    /// Prints a permanent line above the bar.
    pub fn line(&self, line: &str) {
        if is_quiet() {
            return;
        }
        match &self.bar {
            Some(bar) if !is_locked() => bar.suspend(|| say(line)),
            _ => say(line),
        }
    }

    /// Ends the stage with one permanent line.
    pub fn finish(&self, note: &str) {
        if let Some(bar) = self.bar.as_ref().filter(|_| !is_locked()) {
            bar.finish_and_clear();
        }
        if !is_quiet() {
            say(&format!(
                "{}: {note} ({})",
                self.label,
                duration(self.start.elapsed().as_secs_f64())
            ));
        }
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

/// Warns of files in folders that are not read, or not as their names suggest.
pub fn say_inputs(label: &str, remarks: &InputRemarks) {
    let InputRemarks { left_out, read_as_text } = remarks;
    for (files, what) in [
        (left_out, "files of folders left out"),
        (read_as_text, "JSON files without records, each read as one text"),
    ] {
        if !files.is_empty() {
            let count = thousands(u64::try_from(files.len()).unwrap_or(u64::MAX));
            let named = |file: &Remark| format!("{} ({})", escaped(&file.name), file.reason);
            let names = match is_verbose() {
                true => files.iter().map(named).collect::<Vec<_>>().join(", "),
                false => summary(files),
            };
            say(&format!("{label}: warning: {what}: {count}: {names}"));
        }
    }
}

/// The name of a stage of tokenizing.
pub fn stage_name(stage: &PrepareStage) -> &'static str {
    match stage {
        PrepareStage::Reading => "reading",
        PrepareStage::Training => "training",
        PrepareStage::Tokenizing => "tokenizing",
        PrepareStage::Comparing => "comparing",
        PrepareStage::Writing => "writing",
        _ => "",
    }
}

/// Prints a line on standard error, as soon as no view uses the screen.
pub fn say(line: &str) {
    if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        held.push(line.to_owned());
        return;
    }
    write_line(&escaped_lines(line));
}

/// Prints an error's report on standard error; nothing if another process has printed it.
pub fn say_error(error: &Error) {
    let report = error.painted(&Paint::of_stderr());
    if !report.is_empty() {
        write_line(&report);
    }
}

fn write_line(line: &str) {
    // If standard error is closed, nobody can be told.
    let _ = writeln!(std::io::stderr(), "{line}");
}
