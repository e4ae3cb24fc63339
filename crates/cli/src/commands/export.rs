//! `mixdown export`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use mixdown_base::display::plural;
use mixdown_base::quantity;
use mixdown_shards::{
    Access, Corpus, ExportFormat, ExportOptions, ExportReport, Progress, Split, export,
};

use crate::commands::Context;
use crate::commands::inspect::SplitName;
use crate::error::Error;
use crate::output::{table, thousands};
use crate::progress::{Meter, Unit};

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
What is written into --out, beside tokenizer.json:
  nanogpt    train.bin and val.bin: 16-bit ids and nothing else
  llmc       train_000000.bin …: llm.c's header, then ids. Its scripts put the end-of-text token
             before each document; where documents end with it, the last one moves to the front
  olmo       train-00000.npy …: ids and nothing else; .csv.gz with start,end,id,src,loc a document
  datatrove  train/00000.ds …: ids, .ds.index, .ds.metadata, and .ds.loss where there are labels
  megatron   train-00000.bin …: ids and .idx, one sequence a document

Examples:
  mixdown export corpora/general --to olmo --out olmo/general
  mixdown export corpora/general --to llmc --split train --out llmc/general")]
pub struct ExportArgs {
    /// The corpus folder.
    corpus: PathBuf,
    /// Whose files to write.
    #[arg(long, value_enum)]
    to: FormatName,
    /// The folder to make; it must not exist.
    #[arg(long)]
    out: PathBuf,
    /// Only this part; both by default.
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Tokens of a file of llm.c; the others keep the corpus' shards.
    #[arg(long, value_name = "N", default_value = "100M")]
    shard_tokens: ShardTokens,
}

/// A format's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One array a split.
    Nanogpt,
    /// Arrays with a header.
    Llmc,
    /// .npy without header and .csv.gz.
    Olmo,
    /// .ds and .ds.index.
    Datatrove,
    /// .bin and .idx.
    Megatron,
}

impl From<FormatName> for ExportFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Nanogpt => Self::Nanogpt,
            FormatName::Llmc => Self::Llmc,
            FormatName::Olmo => Self::Olmo,
            FormatName::Datatrove => Self::Datatrove,
            FormatName::Megatron => Self::Megatron,
        }
    }
}

/// Tokens of a file of llm.c, whose header counts them in 31 bits.
#[derive(Debug, Clone, Copy)]
struct ShardTokens(u64);

impl FromStr for ShardTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens = quantity::positive_tokens(text).map_err(|error| error.to_string())?;
        match tokens {
            1..=LARGEST_SHARD => Ok(Self(tokens)),
            _ => Err(format!("expected at most {LARGEST_SHARD} tokens, got {text:?}")),
        }
    }
}

const LARGEST_SHARD: u64 = (1 << 31) - 1;

/// Runs the subcommand.
///
/// # Errors
/// A folder that is no corpus, an output that exists, a vocabulary that the format cannot hold,
/// damage, a full disk, an interruption.
pub fn run(arguments: ExportArgs, context: Context) -> Result<(), Error> {
    let corpus = Corpus::open(&arguments.corpus, Access::Map)?;
    let splits = arguments.split.map_or(Split::ALL.to_vec(), |split| vec![split.into()]);
    let options = ExportOptions {
        format: arguments.to.into(),
        splits,
        shard_tokens: arguments.shard_tokens.0,
    };
    let meter = Meter::new("export", Unit::Bytes);
    let progress = |at: Progress| meter.set(at.done_bytes, at.total_bytes, "");
    let report = export(&corpus, &arguments.out, &options, &progress, context.stop)?;
    meter.finish("done");
    context.output.print(&report, |report| {
        format!("{}: {} ids\n{}", arguments.out.display(), report.dtype, describe(report))
    })
}

fn describe(report: &ExportReport) -> String {
    const FILES: usize = 20;
    let files = report.files.iter().take(FILES);
    let rows: Vec<Vec<String>> =
        files.map(|file| vec![file.path.clone(), thousands(file.tokens)]).collect();
    let mut text = table(&["file", "tokens"], &rows);
    if report.files.len() > FILES {
        text.push_str(&format!("\n… {} in all", plural(report.files.len() as u64, "file")));
    }
    text
}
