//! `mixdown tokenizer train`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mixdown_base::display::plural;
use mixdown_documents::{IgnoreRules, ReadOptions, Selection};
use mixdown_tokenize::{Progress, TrainTokenizerOptions, train_tokenizer};

use crate::commands::Context;
use crate::error::Error;
use crate::progress::{Meter, Unit, stage_name};

/// Work on tokenizers.
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
    /// JSON lines and texts (plain, zstd, gzip), Parquet, Arrow IPC, folders of them, 'patterns*', @LISTS, or -.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// Entries, special tokens counted.
    #[arg(long, default_value_t = 32_768)]
    vocab_size: u32,
    /// Where to write tokenizer.json (Hugging Face's format).
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// How records are read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadArgs {
    /// The field or column that holds a document's text; dots lead into nested ones (meta.text).
    #[arg(long, value_name = "FIELD", default_value = "text")]
    pub text_field: String,
    /// The field or column that holds a document's own id, a string or an integer.
    #[arg(long, value_name = "FIELD")]
    pub id_field: Option<String>,
    /// Bad records (no JSON, no text field) to skip before giving up.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: u64,
    /// Of folders, read only the files that a pattern matches, as in a .gitignore ('*.rs', docs/).
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Of folders, pass over the files and folders that a pattern matches.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Of folders, also read what their .gitignore and .ignore files leave out.
    #[arg(long)]
    pub no_ignore: bool,
}

impl From<ReadArgs> for ReadOptions {
    fn from(arguments: ReadArgs) -> Self {
        let ignore_rules =
            if arguments.no_ignore { IgnoreRules::Disregard } else { IgnoreRules::Obey };
        Self {
            text_field: arguments.text_field,
            id_field: arguments.id_field,
            skip_bad: arguments.skip_bad,
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
    let progress = |at: Progress| meter.set(at.done, at.total, stage_name(at.stage));
    let report =
        train_tokenizer(&arguments.input, &arguments.out, &options, &progress, context.stop)?;
    meter.finish("done");
    context.output.print(&report, |report| {
        format!(
            "{}: {} from {}",
            arguments.out.display(),
            plural(report.vocab_size, "entry"),
            plural(report.documents, "document")
        )
    })
}
