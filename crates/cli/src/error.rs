//! The error type of the binary: what went wrong, why, and what to do, with the exit code.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{Style, Styles};
use mixdown_base::display::escaped_lines;
use mixdown_base::error_kind::ErrorKind;
use mixdown_experiments::Hint;
use serde::Serialize;

/// An error that ends a command early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line or a configuration file asks for something that cannot be done.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do; empty if the message says it.
        hint: String,
    },
    /// Output that was stopped on request; the same command would start over.
    #[error("{message}")]
    Interrupted {
        /// What was stopped, and how to continue.
        message: String,
    },
    /// The user stopped work that the same command continues.
    #[error("{message}")]
    Stopped {
        /// What stopped, and where.
        message: String,
    },
    /// A run's results are damaged or do not fit together.
    #[error("{message}")]
    Data {
        /// What is wrong: path, expected, got.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Some parts of the work failed, and the rest was completed.
    #[error("{message}")]
    Incomplete {
        /// What failed, and why.
        message: String,
        /// Whether losses that are not finite are among the reasons.
        numerical: bool,
    },
    /// A process of a run of several ended.
    #[error("{message}")]
    Rank {
        /// Its report; empty if a process has already printed it.
        message: String,
        /// Its exit code.
        code: u8,
    },
    /// Reading or writing failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A corpus on disk.
    #[error(transparent)]
    Shards(#[from] mixdown_shards::Error),
    /// Raw input.
    #[error(transparent)]
    Documents(#[from] mixdown_documents::Error),
    /// Tokenizers and preparing.
    #[error(transparent)]
    Tokenize(#[from] mixdown_tokenize::Error),
    /// Mixing.
    #[error(transparent)]
    Mixer(#[from] mixdown_mixer::Error),
    /// Training and evaluation.
    #[error(transparent)]
    Train(Box<mixdown_train::Error>),
    /// A run's records.
    #[error(transparent)]
    Runs(#[from] mixdown_runs::Error),
    /// A scaling law.
    #[error("domain {domain:?}: {source}")]
    Scaling {
        /// The domain whose runs were fitted.
        domain: String,
        /// Why there is no law.
        #[source]
        source: mixdown_scaling::Error,
    },
    /// The report page.
    #[error(transparent)]
    Report(#[from] mixdown_report::Error),
}

impl From<mixdown_train::Error> for Error {
    fn from(error: mixdown_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

impl From<mixdown_experiments::Error> for Error {
    fn from(error: mixdown_experiments::Error) -> Self {
        use mixdown_experiments::Error as Experiments;
        match error {
            Experiments::Configuration { message, hint } => {
                Self::Usage { message, hint: hint_of(&hint) }
            }
            Experiments::Override { setting, message, hint } => {
                Self::Usage { message: format!("--set {setting}: {message}"), hint }
            }
            Experiments::Coefficient { .. } => Self::usage(format!("--{error}"), ""),
            Experiments::Data { message, hint } => Self::Data { message, hint: hint_of(&hint) },
            Experiments::Stopped { message } => Self::Stopped { message },
            Experiments::Incomplete { message, numerical } => {
                Self::Incomplete { message, numerical }
            }
            Experiments::Io { path, action, source } => Self::Io { path, action, source },
            Experiments::Scaling { domain, source } => Self::Scaling { domain, source },
            Experiments::Shards(error) => Self::Shards(error),
            Experiments::Tokenize(error) => Self::Tokenize(error),
            Experiments::Mixer(error) => Self::Mixer(error),
            Experiments::Train(error) => Self::Train(error),
            Experiments::Runs(error) => Self::Runs(error),
            other => Self::Data { message: other.to_string(), hint: String::new() },
        }
    }
}

impl From<mixdown_watch::Error> for Error {
    fn from(error: mixdown_watch::Error) -> Self {
        use mixdown_watch::Error as Watch;
        match error {
            Watch::Io { path, action, source } => Self::Io { path, action, source },
            Watch::Runs(error) => Self::Runs(error),
            Watch::File { .. } => {
                Self::usage(error.to_string(), "name the folder that the file is in")
            }
            Watch::OtherFolder { .. } => {
                Self::usage(error.to_string(), "name the folder given to --out of train or sweep")
            }
            _ => Self::Data { message: error.to_string(), hint: String::new() },
        }
    }
}

impl Error {
    /// A usage error with a hint.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// A failed `action` on `path`.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// Turns an interruption into one that the same command continues from; other errors stay the same.
    pub fn resumable(self) -> Self {
        match self.kind() {
            _ if matches!(self, Self::Rank { .. }) => self,
            ErrorKind::Interrupted => Self::Stopped { message: self.to_string() },
            _ => self,
        }
    }

    /// The exit code: 2 usage or configuration, 3 bad or damaged data, 4 numerical failure,
    /// 130 interrupted, 1 anything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The exit code as a number.
    pub fn code(&self) -> u8 {
        if let Self::Rank { code, .. } = self {
            return *code;
        }
        code_of(self.kind())
    }

    /// Message, causes and hint as text; empty if another process has printed the error.
    pub fn report(&self) -> String {
        self.painted(&Paint::none())
    }

    /// [`report`](Self::report) with or without the colors of a terminal.
    pub fn painted(&self, paint: &Paint) -> String {
        if let Self::Rank { message, .. } = self {
            return escaped_lines(message).into_owned();
        }
        let record = self.record();
        let Paint { error, hint } = paint;
        let mut text = format!("{error}error:{error:#} {}", escaped_lines(&record.message));
        for cause in &record.causes {
            text.push_str(&format!("\n  cause: {}", escaped_lines(cause)));
        }
        if let Some(way_out) = &record.hint {
            text.push_str(&format!("\n  {hint}hint:{hint:#} {}", escaped_lines(way_out)));
        }
        text
    }

    /// The error in the format of `--json`.
    pub fn record(&self) -> ErrorRecord {
        let mut causes = Vec::new();
        let mut source = match self {
            // The message already contains the cause.
            Self::Scaling { .. } => None,
            other => other.source(),
        };
        // A transparent variant's source is that of the inner error, so nothing is printed twice.
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        ErrorRecord {
            kind: name_of(self.kind()),
            exit_code: self.code(),
            message: self.to_string(),
            causes,
            hint: self.hint().map(str::to_owned),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage { hint, .. } | Self::Data { hint, .. } if !hint.is_empty() => Some(hint),
            Self::Stopped { .. } => {
                Some("run the same command again: it continues where it stopped")
            }
            Self::Incomplete { .. } => Some("run the same command again to try them again"),
            Self::Documents(error) | Self::Tokenize(mixdown_tokenize::Error::Documents(error)) => {
                input_hint(error)
            }
            Self::Tokenize(error) => tokenize_hint(error),
            Self::Mixer(error) if is_near_overlap(error) => Some(NEAR_OVERLAP_HINT),
            Self::Train(error) => match &**error {
                mixdown_train::Error::NearOverlap { .. } => Some(NEAR_OVERLAP_HINT),
                mixdown_train::Error::Mixer(error) if is_near_overlap(error) => {
                    Some(NEAR_OVERLAP_HINT)
                }
                _ => None,
            },
            Self::Mixer(mixdown_mixer::Error::Pack { .. }) => {
                Some("prepare --pack N packs documents for a sequence_length of N")
            }
            _ => None,
        }
    }

    /// Returns the kind, on which the exit code and the name in `--json` depend.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage { .. } => ErrorKind::Configuration,
            Self::Stopped { .. } | Self::Interrupted { .. } => ErrorKind::Interrupted,
            Self::Data { .. } => ErrorKind::Data,
            Self::Rank { code, .. } => [ErrorKind::Interrupted, ErrorKind::Numerical]
                .into_iter()
                .find(|kind| code_of(*kind) == *code)
                .unwrap_or(ErrorKind::Other),
            Self::Incomplete { numerical: true, .. } => ErrorKind::Numerical,
            Self::Incomplete { numerical: false, .. } => ErrorKind::Other,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Shards(error) => error.kind(),
            Self::Documents(error) => error.kind(),
            Self::Tokenize(error) => error.kind(),
            Self::Mixer(error) => error.kind(),
            Self::Train(error) => error.kind(),
            Self::Runs(error) => error.kind(),
            Self::Scaling { source, .. } => source.kind(),
            Self::Report(error) => error.kind(),
        }
    }
}

/// What to do about near-duplicates of held-out documents in another corpus.
const NEAR_OVERLAP_HINT: &str = "prepare --without CORPUS leaves near-duplicates of that corpus' held-out \
                                 documents out; `mixdown inspect CORPUS --overlap OTHER` shows some";

fn is_near_overlap(error: &mixdown_mixer::Error) -> bool {
    matches!(error, mixdown_mixer::Error::NearOverlap { .. })
}

/// The exit code of a kind of error.
const fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Configuration => 2,
        ErrorKind::Data => 3,
        ErrorKind::Numerical => 4,
        ErrorKind::Interrupted => 130,
        ErrorKind::Other => 1,
    }
}

/// The name of a kind of error, as `--json` gives it.
const fn name_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Configuration => "usage",
        ErrorKind::Data => "data",
        ErrorKind::Numerical => "numerical",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Other => "other",
    }
}

/// A library's hint in the words of the command line.
fn hint_of(hint: &Hint) -> String {
    match hint {
        Hint::FolderTaken => "name another folder with --out".to_owned(),
        Hint::OtherSweep => {
            "name another folder with --out; the lists of a grid may grow in this one".to_owned()
        }
        Hint::DamagedSettings => {
            "restore the file from a copy, or name another folder with --out".to_owned()
        }
        Hint::OtherRow => {
            "the row belongs to other data or settings: remove it, or name another folder with --out"
                .to_owned()
        }
        Hint::SweepBusy => {
            "wait for it, or name another folder with --out; tasks of an array (--task I/N) may work at the same time"
                .to_owned()
        }
        Hint::DifferentRecipes => {
            "the recipe affects forgetting, too: keep the runs of one recipe, or fit all together with --pool-recipes"
                .to_owned()
        }
        Hint::TableInsteadOfFit(table) => format!(
            "that is a table of runs: fit it first with `mixdown fit {} --out FIT.json`",
            table.display()
        ),
        Hint::NoFit => "write one with `mixdown fit RUNS --out FIT.json`".to_owned(),
        other => other.to_string(),
    }
}

/// The options that help with an input that cannot be read.
fn input_hint(error: &mixdown_documents::Error) -> Option<&'static str> {
    use mixdown_documents::Error;
    match error {
        Error::InFolder { .. } => {
            Some("--exclude NAME skips one file, --skip-unreadable leaves out all such files")
        }
        Error::EmptyFolder { .. } => Some("--no-ignore reads what .gitignore and .ignore exclude"),
        Error::NoColumn { .. } | Error::NoRecordField { .. } => {
            Some("--text-field NAME names the field with the text")
        }
        Error::NoFields { .. } => {
            Some("without --text-field, plain text files are read as they are")
        }
        Error::BadRecord { .. } => Some("--skip-bad N skips up to N bad records"),
        Error::RecordTooLong { .. } => Some(
            "--text-separator TEXT splits a text into documents ('\\n': at every line end); --max-record BYTES \
             allows longer ones",
        ),
        _ => None,
    }
}

/// The options that help with a tokenizer or with rows.
fn tokenize_hint(error: &mixdown_tokenize::Error) -> Option<&'static str> {
    use mixdown_tokenize::Error;
    match error {
        Error::NoEndOfText { .. } => Some("--end-of-text TOKEN names it"),
        Error::LongerThanRow { .. } => Some(
            "--too-long drop|truncate drops or truncates them, --pack N makes rows of N inputs",
        ),
        Error::LongPrefix { .. } | Error::UnknownPrefix { .. } => {
            Some("--bos ID chooses one, --bos none leaves it out")
        }
        Error::Option { option: "task", got, .. } if got == "auto" => {
            Some("--tasks N gives the number of tasks")
        }
        Error::DiskTooSmall { .. } => {
            Some("--work-dir FOLDER moves the unfinished work, --out FOLDER the corpus")
        }
        _ => None,
    }
}

/// An error in the format of `--json`: `{"error": {"kind": …, "exit_code": …, "message": …, "causes": […], "hint":
/// …}}`.
#[derive(Debug, Serialize)]
pub struct ErrorRecord {
    /// `usage`, `data`, `numerical`, `interrupted` or `other`.
    pub kind: &'static str,
    /// The exit code of the program.
    pub exit_code: u8,
    /// What went wrong.
    pub message: String,
    /// Why, from the nearest cause to the farthest.
    pub causes: Vec<String>,
    /// What to do, if the message does not say it.
    pub hint: Option<String>,
}

impl ErrorRecord {
    /// The record of arguments that no command takes, made from clap's message.
    pub fn of_usage(text: &str) -> Self {
        let mut lines = text.trim_end().lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        let (mut message, mut tips) = (vec![first], Vec::new());
        for line in lines.take_while(|line| !line.starts_with("For more information")) {
            match line.strip_prefix("tip: ") {
                Some(tip) => tips.push(tip),
                None if line.starts_with("Usage:") => {}
                None => message.push(line),
            }
        }
        Self {
            kind: name_of(ErrorKind::Configuration),
            exit_code: code_of(ErrorKind::Configuration),
            message: message.join(" "),
            causes: Vec::new(),
            hint: (!tips.is_empty()).then(|| tips.join("; ")),
        }
    }
}

/// The colors of an error's marks, the same as those of clap's errors.
#[derive(Debug)]
pub struct Paint {
    error: Style,
    hint: Style,
}

impl Paint {
    /// No colors.
    pub fn none() -> Self {
        Self { error: Style::new(), hint: Style::new() }
    }

    /// The colors if standard error is a terminal with colors, as `NO_COLOR`, `CLICOLOR` and similar variables
    /// decide.
    pub fn of_stderr() -> Self {
        if AutoStream::choice(&std::io::stderr()) == ColorChoice::Never {
            return Self::none();
        }
        let styles = Styles::styled();
        Self { error: *styles.get_error(), hint: *styles.get_valid() }
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod kind_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_arguments_keeps_message_and_tip_apart() {
        let text = "error: unexpected argument '--lr' found\n\n  tip: it is called '--learning-rate' here\n\nUsage: mixdown train\n\n\
                    For more information, try '--help'.\n";
        let record = ErrorRecord::of_usage(text);
        assert_eq!(record.message, "unexpected argument '--lr' found");
        assert_eq!(record.hint.as_deref(), Some("it is called '--learning-rate' here"));
    }

    #[test]
    fn nothing_of_a_message_steers_the_terminal_but_our_own_colors() {
        let error = Error::usage("\u{1b}[2J: no", "\u{7}");
        assert_eq!(error.report(), "error: \\u{1b}[2J: no\n  hint: \\u{7}");
        let styles = Styles::styled();
        let paint = Paint { error: *styles.get_error(), hint: *styles.get_valid() };
        let painted = error.painted(&paint);
        assert!(painted.starts_with("\u{1b}[") && painted.contains("\\u{1b}[2J"), "{painted:?}");
    }
}
