//! `mixdown tokenizer train`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mixdown_base::display::plural;
use mixdown_base::observer::Observer;
use mixdown_documents::{IgnoreRules, ReadOptions, Selection, Unreadable};
use mixdown_tokenize::{PrepareProgress, PrepareStage, TrainTokenizerOptions, train_tokenizer};

use crate::commands::Context;
use crate::error::Error;
use crate::terminal::progress::{Meter, Unit, say_inputs, stage_name};

/// The subcommands of `tokenizer`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Train a byte-level BPE tokenizer (GPT-2's pre-tokenizer) on documents.
    Train(TrainTokenizerArgs),
}

/// Arguments of `tokenizer train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mixdown tokenizer train text/ more.jsonl.zst --vocab-size 32768 --out tokenizer.json"
)]
pub struct TrainTokenizerArgs {
    /// Files, folders, 'patterns*' or @LISTS of JSON lines, JSON, CSV, TSV or text (plain, zstd, gzip), Parquet or
    /// Arrow; - for standard input.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// Vocabulary size in entries, including special tokens.
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    vocab_size: u32,
    /// File to write: a tokenizer.json in Hugging Face's format.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// How records are read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadArgs {
    /// Field or column with a document's text; dots reach into nested fields (meta.text) [default: text; plain text
    /// files are read, too].
    #[arg(long, value_name = "FIELD")]
    pub text_field: Option<String>,
    /// Separator between documents in plain text: <|endoftext|>, or '\n' for one document per line; '\t', '\r' and
    /// '\\' work, too.
    #[arg(long, value_name = "TEXT", value_parser = unescaped)]
    pub text_separator: Option<String>,
    /// Field or column with a document's id, a string or an integer.
    #[arg(long, value_name = "FIELD")]
    pub id_field: Option<String>,
    /// Number of bad records (invalid JSON or UTF-8, no text field) to skip before stopping with an error.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: u64,
    /// Largest record in bytes: a line, a row, or a text that is one document. Reading takes six times the longest
    /// record in memory [default: 256M].
    #[arg(long, value_name = "BYTES")]
    pub max_record: Option<NonZeroU64>,
    /// In folders, read only the files that match the pattern, written as in .gitignore ('*.rs', docs/).
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// In folders, skip the files and folders that match the pattern.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// In folders, also read what .gitignore and .ignore files exclude.
    #[arg(long)]
    pub no_ignore: bool,
    /// In folders, leave out files that cannot be read or whose beginning is damaged; they are counted and named.
    #[arg(long)]
    pub skip_unreadable: bool,
}

/// Replaces the escapes of a separator: a shell passes on a backslash and a letter.
fn unescaped(text: &str) -> Result<String, String> {
    let mut separator = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        separator.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('\\') => '\\',
                other => {
                    let got = other.map(String::from).unwrap_or_default();
                    return Err(format!(
                        "expected n, r, t or a backslash after a backslash, got {got:?}"
                    ));
                }
            },
            other => other,
        });
    }
    if separator.is_empty() {
        Err("expected at least one character".to_owned())
    } else {
        Ok(separator)
    }
}

impl From<ReadArgs> for ReadOptions {
    fn from(arguments: ReadArgs) -> Self {
        let ignore_rules =
            if arguments.no_ignore { IgnoreRules::Disregard } else { IgnoreRules::Obey };
        Self {
            text_field: arguments.text_field,
            text_separator: arguments.text_separator,
            unreadable: if arguments.skip_unreadable {
                Unreadable::LeaveOut
            } else {
                Unreadable::Refuse
            },
            id_field: arguments.id_field,
            skip_bad: arguments.skip_bad,
            max_record_bytes: arguments.max_record.map(NonZeroU64::get),
            selection: Selection {
                include: arguments.include,
                exclude: arguments.exclude,
                ignore_rules,
            },
            ..Self::default()
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Bad input, an unwritable output, or an interruption.
pub fn run(command: TokenizerCommand, context: Context) -> Result<(), Error> {
    let TokenizerCommand::Train(arguments) = command;
    let options =
        TrainTokenizerOptions { vocab_size: arguments.vocab_size, read: arguments.read.into() };
    let meter = Meter::new("train tokenizer", Unit::Bytes);
    let progress = |at: PrepareProgress| match at.stage {
        PrepareStage::Inputs(remarks) => say_inputs("train tokenizer", &remarks),
        stage => meter.set(at.done, at.total, stage_name(&stage)),
    };
    let report = train_tokenizer(
        &arguments.input,
        &arguments.out,
        &options,
        Observer::new(&progress, context.stop),
    )?;
    meter.finish("done");
    context.output.print(&report, |report| {
        format!(
            "{}: {}{} from {}",
            arguments.out.display(),
            if report.already_done { "already done: " } else { "" },
            plural(report.vocab_size, "entry"),
            plural(report.documents, "document")
        )
    })
}
