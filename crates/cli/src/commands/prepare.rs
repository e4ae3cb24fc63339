//! `mixdown prepare`.

use std::path::PathBuf;

use clap::Args;
use mixdown_tokenize::{
    BeginningOfText, Holdout, PrepareOptions, PrepareReport, Progress, Shuffle, SpecialText,
    prepare,
};

use crate::commands::Context;
use crate::commands::tokenizer::ReadArgs;
use crate::error::Error;
use crate::output::thousands;
use crate::progress::{Meter, Unit, stage_name};

/// Arguments of `prepare`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mixdown prepare docs/ --tokenizer tokenizer.json --out corpora/docs --holdout 1%
  mixdown prepare part-*.jsonl.zst --tokenizer gpt2/ --out corpora/web --holdout '500k tokens'

A killed run goes on where it stopped when the same command is given again.")]
pub struct PrepareArgs {
    /// JSON lines and texts (plain, zstd, gzip), Parquet, Arrow IPC, folders of them, 'patterns*', @LISTS, or -.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// A tokenizer.json, or a model folder that holds one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// The corpus folder to make.
    #[arg(long)]
    out: PathBuf,
    /// Documents kept for validation: a share (1%), a number of tokens ('500k tokens'), or 0.
    #[arg(long, default_value = "1%")]
    holdout: Holdout,
    /// Seed of the global document order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the documents in the order of the input.
    #[arg(long)]
    no_shuffle: bool,
    /// Worker threads, 0 for all cores; the bytes are the same for any number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u32,
    /// Token before each document: auto (what the tokenizer's post-processor adds), none, or an id.
    #[arg(long, default_value = "auto", value_name = "auto|none|ID")]
    bos: BeginningOfText,
    /// The end-of-text token, where the tokenizer does not name it.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// Let special tokens written in the text (a literal <|endoftext|>) count as special tokens.
    #[arg(long)]
    parse_special: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// Bad input, an output folder that holds something else, a full disk, or an interruption.
pub fn run(arguments: PrepareArgs, context: Context) -> Result<(), Error> {
    let options = PrepareOptions {
        read: arguments.read.into(),
        holdout: arguments.holdout,
        seed: arguments.seed,
        shuffle: if arguments.no_shuffle { Shuffle::Keep } else { Shuffle::Global },
        threads: arguments.threads,
        beginning_of_text: arguments.bos,
        special_text: if arguments.parse_special { SpecialText::Parse } else { SpecialText::Plain },
        end_of_text: arguments.end_of_text,
    };
    let meter = Meter::new("prepare", Unit::Bytes);
    let progress = |at: Progress| meter.set(at.done, at.total, stage_name(at.stage));
    let report = prepare(
        &arguments.input,
        &arguments.tokenizer,
        &arguments.out,
        &options,
        &progress,
        context.stop,
    )?;
    meter.finish("done");
    context
        .output
        .print(&report, |report| format!("{}: {}", arguments.out.display(), describe(report)))
}

/// One sentence about a finished corpus.
pub fn describe(report: &PrepareReport) -> String {
    let mut text = format!(
        "{} tokens in {} documents, {} tokens in {} held-out documents",
        thousands(report.train_tokens),
        thousands(report.train_documents),
        thousands(report.holdout_tokens),
        thousands(report.holdout_documents)
    );
    for (count, what) in [
        (report.counts.bad_records, "bad records skipped"),
        (report.counts.empty_documents, "empty documents skipped"),
        (report.counts.special_text_documents, "documents with the text of a special token"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {what}: {}", thousands(count)));
        }
    }
    text
}
